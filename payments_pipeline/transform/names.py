"""Which relations a query names, told from DuckDB's own syntax tree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_KNOWN_FUNCTIONS = {"generate_series", "range", "unnest"}
"""Table functions that name no relation; others may (`query_table('gold.fct_payments')`)."""


def relations_in(tree: dict[str, Any]) -> frozenset[str] | None:
    """The `schema.table` names in what `json_serialize_sql` returned, in lower case; None if there may be others."""
    if tree.get("error"):
        return None
    nodes = list(_nodes(tree))
    if any(
        node["type"] == "TABLE_FUNCTION" and node["function"]["function_name"] not in _KNOWN_FUNCTIONS
        for node in nodes
    ):
        return None
    tables = [node for node in nodes if node["type"] == "BASE_TABLE" and node["schema_name"]]
    return frozenset(f"{node['schema_name']}.{node['table_name']}".lower() for node in tables)


def _nodes(value: object) -> Iterator[dict[str, Any]]:
    """Every table reference in the tree."""
    if isinstance(value, dict):
        if value.get("type") in {"BASE_TABLE", "TABLE_FUNCTION"}:
            yield value
        for inner in value.values():
            yield from _nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _nodes(inner)
