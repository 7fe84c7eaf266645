"""The shape of what is known about an entity, and the types its declared fields become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

__all__ = [
    "ADDRESS",
    "ChildList",
    "EntitySpec",
    "Reference",
    "Schema",
    "SchemaNode",
    "duckdb_type",
    "fields",
]

SchemaNode: TypeAlias = "str | Mapping[str, SchemaNode] | list[SchemaNode]"
Schema: TypeAlias = Mapping[str, SchemaNode]
"""Field name to leaf type (VARCHAR BIGINT BOOLEAN DOUBLE JSON), nested Schema, or [element] for a list."""


def fields(
    *, text: str = "", integer: str = "", flag: str = "", json: str = "", **nested: SchemaNode
) -> dict[str, SchemaNode]:
    """Build a Schema from space-separated names per leaf type; keyword arguments beyond those are nested."""
    leaves = {"VARCHAR": text, "BIGINT": integer, "BOOLEAN": flag, "JSON": json}
    flat: dict[str, SchemaNode] = {name: leaf for leaf, names in leaves.items() for name in names.split()}
    return flat | nested


def duckdb_type(node: SchemaNode) -> str:
    """The DuckDB type of a node: a leaf as it is, STRUCT("name" type, …) for a Schema, element[] for a list."""
    if isinstance(node, str):
        return node
    if isinstance(node, list):
        return f"{duckdb_type(node[0])}[]"
    return "STRUCT(" + ", ".join(f'"{name}" {duckdb_type(inner)}' for name, inner in node.items()) + ")"


@dataclass(frozen=True, slots=True)
class Reference:
    """A field that holds the id of another object.

    `path` is dotted, with `[]` after a list (`items.data[].price.id`). `target` names the entity; None means
    that the id's prefix tells it, and ids with a prefix of no known entity are not references. `changes_it`: what happens
    to this object changes the other, and no event of the other may say so.
    """

    path: str
    target: str | None
    changes_it: bool = False


@dataclass(frozen=True, slots=True)
class ChildList:
    """A nested list envelope that may arrive incomplete, and the list endpoint that holds the rest.

    `{id}` in `path` and in the values of `params` stands for the id of the object that holds the list.
    """

    column: str
    path: str
    params: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class EntitySpec:
    """How one Stripe entity is listed, typed, kept current and connected.

    `listings` are the parameters of the lists to be read: together they undo the API's defaults that would hide
    objects. `retention_days` is how far back the API lists.
    `mutable_days` is how long after `created` an object may still change without an event saying so;
    None: changes are announced by events, or there are none. `settled` are the values of `status` after which it
    does not, however young it is; before, it may also change with any object that it refers to. `amount` names the (amount, currency) fields that reconciliation sums.
    """

    name: str
    object: str
    prefixes: tuple[str, ...]
    columns: Schema
    references: tuple[Reference, ...] = ()
    amount: tuple[str, str] | None = None
    listings: tuple[Mapping[str, str], ...] = ({},)
    created_filter: bool = True
    retention_days: int | None = None
    mutable_days: int | None = None
    settled: tuple[str, ...] = ()
    child_list: ChildList | None = None


ADDRESS: Schema = fields(text="country")
"""What is declared of a postal address: the rest is personal and stays in bronze."""
