"""What is declared about entities, held against Stripe's official SDK of the same API version."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, ForwardRef, Literal, Union, get_args, get_origin

import duckdb
import pytest
import stripe
from stripe._stripe_object import UntypedStripeObject

from payments_pipeline.entities import (
    ENTITIES,
    EntitySpec,
    SchemaNode,
    duckdb_type,
    entity,
    entity_of_id,
    fields,
    referenced_ids,
)
from payments_pipeline.errors import UsageError
from payments_pipeline.transform.models import discover, sql_root

each_entity = pytest.mark.parametrize("spec", ENTITIES.values(), ids=lambda spec: spec.name)

LEAVES: dict[object, str] = {
    str: "VARCHAR",
    int: "BIGINT",
    bool: "BOOLEAN",
    float: "DOUBLE",
    Decimal: "VARCHAR",
}


def _resource(spec: EntitySpec) -> Any:
    return getattr(stripe, spec.object.title().replace("_", ""))


def _members(annotation: object) -> Iterator[Any]:
    """What a value may be, optional and union parts told apart; an expandable field is its id."""
    if get_origin(annotation) in {Union, types.UnionType}:
        for argument in get_args(annotation):
            yield from _members(argument)
    elif get_origin(annotation) is Literal:
        yield type(get_args(annotation)[0])
    elif isinstance(annotation, str | ForwardRef):
        yield getattr(stripe, getattr(annotation, "__forward_arg__", str(annotation)), None)
    elif annotation is not type(None):
        yield annotation


def _undeclared(node: SchemaNode, annotation: object, path: str) -> Iterator[str]:
    """Paths at which a declared node is not what the SDK's annotation allows."""
    members = list(_members(annotation))
    if isinstance(node, str):
        if node != "JSON" and node not in {LEAVES.get(member) for member in members}:
            yield f"{path}: {node} is none of {members}"
    elif isinstance(node, list):
        [element] = [get_args(member)[0] for member in members if get_origin(member) is list]
        yield from _undeclared(node[0], element, f"{path}[]")
    else:
        for name, inner in node.items():
            found = [_annotation(member, name) for member in members]
            known = [field for field in found if field is not None]
            if not known:
                yield f"{path}.{name}: no such field"
            for field in known:
                yield from _undeclared(inner, field, f"{path}.{name}")


def _annotation(member: Any, name: str) -> Any:
    if get_origin(member) is stripe.ListObject:
        return {"has_more": bool, "data": list[get_args(member)[0]]}.get(name)  # type: ignore[misc]  # a type made at run time
    if get_origin(member) is UntypedStripeObject:
        return str
    return getattr(member, "__annotations__", {}).get(name)


@each_entity
def test_declared_fields_are_those_of_the_sdk(spec: EntitySpec) -> None:
    """Every declared field exists in the pinned API version, with the declared type, at every depth."""
    assert list(_undeclared(spec.columns, _resource(spec), spec.object)) == []


@each_entity
def test_list_parameters_are_those_of_the_sdk(spec: EntitySpec) -> None:
    """The endpoint takes the parameters sent, and takes `created` exactly where the spec says so."""
    params = getattr(stripe.params, _resource(spec).__name__ + "ListParams").__annotations__
    assert {name for listing in spec.listings for name in listing} <= set(params)
    assert ("created" in params) == spec.created_filter


@each_entity
def test_objects_are_listed_under_their_name(spec: EntitySpec) -> None:
    """The entity's name is the last part of the path the SDK lists it under."""
    assert _resource(spec).class_url() == f"/v1/{spec.name}"


@each_entity
def test_columns_are_a_duckdb_type(spec: EntitySpec) -> None:
    """DuckDB accepts the declared columns as one struct, names that are keywords included."""
    with duckdb.connect() as connection:
        rows = connection.execute(f"select cast(null as {duckdb_type(spec.columns)})").fetchall()
    assert rows == [(None,)]


@each_entity
def test_references_are_declared_text(spec: EntitySpec) -> None:
    """Every reference leads to a declared id, and to an entity that exists."""
    for reference in spec.references:
        node: SchemaNode = spec.columns
        for step in reference.path.replace("[]", ".[]").split("."):
            node = node[0] if isinstance(node, list) else node[step]  # type: ignore[index]  # a node is a struct here
        assert node == "VARCHAR"
        assert reference.target is None or reference.target in ENTITIES


@each_entity
def test_every_object_has_id_and_created(spec: EntitySpec) -> None:
    """Landing, windows and partitions rely on these two fields."""
    assert spec.columns["id"] == "VARCHAR"
    assert spec.columns["created"] == "BIGINT"
    if spec.amount is not None:
        assert [spec.columns[name] for name in spec.amount] == ["BIGINT", "VARCHAR"]


def test_prefixes_tell_entities_apart() -> None:
    """No id can belong to two entities."""
    prefixes = [prefix for spec in ENTITIES.values() for prefix in spec.prefixes]
    assert [
        p for p in prefixes if sum(other.startswith(p) or p.startswith(other) for other in prefixes) > 1
    ] == []


def test_defaults_that_hide_objects_are_undone() -> None:
    """Stripe lists only subscriptions that are not canceled, and (by its word) active prices, unless asked."""
    assert entity("subscriptions").listings == ({"status": "all"},)
    assert entity("prices").listings == ({"active": "true"}, {"active": "false"})
    assert [spec.name for spec in ENTITIES.values() if not spec.created_filter] == ["payment_methods"]
    assert [spec.name for spec in ENTITIES.values() if spec.retention_days] == ["events"]


def test_unknown_entity_names_the_known_ones() -> None:
    """A typing mistake is answered with what could have been meant."""
    with pytest.raises(UsageError, match=r"entity 'refund' is not known; known: .*disputes.*, refunds"):
        entity("refund")


def test_fields_builds_a_schema() -> None:
    """The compact notation names leaves by type and nests the rest."""
    nested: Mapping[str, SchemaNode] = fields(text="b", integer="select")
    schema = fields(
        text="id", integer="amount created", flag="paid", json="metadata", a=nested, l=[nested], r="DOUBLE"
    )
    assert duckdb_type(schema) == (
        'STRUCT("id" VARCHAR, "amount" BIGINT, "created" BIGINT, "paid" BOOLEAN, "metadata" JSON, '
        '"a" STRUCT("b" VARCHAR, "select" BIGINT), "l" STRUCT("b" VARCHAR, "select" BIGINT)[], "r" DOUBLE)'
    )


def _paths(node: SchemaNode, path: str = "") -> Iterator[str]:
    """Every declared leaf, dotted."""
    if isinstance(node, Mapping):
        for name, inner in node.items():
            yield from _paths(inner, f"{path}.{name}".lstrip("."))
    elif isinstance(node, str):
        yield path
    else:
        yield from _paths(node[0], path)


@each_entity
def test_every_declared_field_is_used(spec: EntitySpec) -> None:
    """By a silver model, as a reference or as the amount that is reconciled: others would be parsed for nothing."""
    used = {"id", "object", *(spec.amount or ()), *(each.path.replace("[]", "") for each in spec.references)}
    silver = [model.sql for model in discover(sql_root()).silver(spec.name)]
    named = {*re.findall(r"\w+", " ".join(silver))}
    assert [
        path for path in _paths(spec.columns) if path not in used and path.split(".")[-1] not in named
    ] == []


def test_references_are_found_at_any_depth() -> None:
    """Ids are found through lists and nested objects; what is missing, null or expanded is no reference."""
    record = {
        "id": "in_1",
        "customer": "cus_1",
        "default_payment_method": None,
        "from_invoice": {"invoice": {"id": "in_0"}},
        "lines": {"data": [{"pricing": {"price_details": {"price": "price_1"}}}, {"pricing": None}, None]},
    }
    assert list(referenced_ids(entity("invoices"), record)) == [("customers", "cus_1"), ("prices", "price_1")]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("ch_1", "charges"),
        ("py_1", "charges"),
        ("re_1", "refunds"),
        ("pyr_1", "refunds"),
        ("du_1", "disputes"),
        ("dp_1", "disputes"),
        ("po_1", "payouts"),
        ("tr_1", None),
        ("", None),
    ],
)
def test_the_source_of_a_transaction_is_known_by_its_prefix(source: str, target: str | None) -> None:
    """A ledger transaction leads to its cause where the lake holds such objects, else nowhere."""
    assert entity_of_id(source) == target
    expected = [(target, source)] if target else []
    assert list(referenced_ids(entity("balance_transactions"), {"id": "txn_1", "source": source})) == expected
