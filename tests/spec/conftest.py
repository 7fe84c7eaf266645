"""A warehouse of empty tables shaped as the pipeline shapes them, and a way to try a model on a few rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import duckdb
import pytest

from payments_pipeline.entities import ENTITIES, SchemaNode, duckdb_type
from payments_pipeline.transform.models import Models, discover, sql_root
from tests.spec.spec_files import Case, Table

LANDING = {"_observed_at": "TIMESTAMP", "_is_deleted": "BOOLEAN", "_deleted_at": "TIMESTAMP"}
SCHEMAS: dict[str, dict[str, SchemaNode]] = {
    f"bronze.{name}": {**spec.columns, **LANDING} for name, spec in ENTITIES.items()
}


@dataclass(frozen=True, slots=True)
class Warehouse:
    """Every relation of the pipeline, empty, in one in-memory database."""

    connection: duckdb.DuckDBPyConnection
    models: Models

    def columns_of(self, query: str) -> dict[str, str]:
        """Column name to type of a query's result."""
        return {row[0]: row[1] for row in self.connection.execute(f"describe {query}").fetchall()}

    def run(self, case: Case, *, backwards: bool = False) -> list[dict[str, str | None]]:
        """The rows, as text, that the case's model makes of what is given; leaves the tables empty."""
        self.connection.begin()
        try:
            for relation, content in case.given:
                self._fill(relation, content)
                if backwards:
                    self._reverse(relation)
            sql = self.models.get(case.model).sql
            columns = list(self.columns_of(sql))
            text = ", ".join(f'cast("{column}" as varchar)' for column in columns)
            rows = self.connection.execute(f"select {text} from ({sql})").fetchall()
            return [dict(zip(columns, row, strict=True)) for row in rows]
        finally:
            self.connection.rollback()

    def typed(self, model: str, table: Table) -> list[dict[str, str | None]]:
        """Expected cells, rewritten as the text of their column's type."""
        types = self.columns_of(self.models.get(model).sql)
        cast = ", ".join(f"cast(cast(? as {types[column]}) as varchar)" for column in table.columns)
        rows = [self.connection.execute(f"select {cast}", list(row)).fetchall()[0] for row in table.rows]
        return [dict(zip(table.columns, row, strict=True)) for row in rows]

    def _fill(self, relation: str, content: Table | str) -> None:
        if isinstance(content, Table):
            names = ", ".join(f'"{name}"' for name in content.columns)
            marks = ", ".join("?" for _ in content.columns)
            self.connection.executemany(
                f"insert into {relation} ({names}) values ({marks})", [*map(list, content.rows)]
            )
        else:
            schema = SCHEMAS[relation]
            records = [_completed(schema, {"_is_deleted": False, **record}) for record in json.loads(content)]
            # The cast refuses keys that are not declared, so a case cannot speak of what silver never sees.
            self.connection.execute(
                f"insert into {relation} select unnest(record) from (select "
                f"unnest(cast(cast(? as json) as {duckdb_type([schema])})) as record)",
                [json.dumps(records)],
            )

    def _reverse(self, relation: str) -> None:
        self.connection.execute(f"create temp table reversed as select * from {relation} order by rowid desc")
        self.connection.execute(f"truncate {relation}")
        self.connection.execute(f"insert into {relation} select * from reversed")
        self.connection.execute("drop table reversed")


@pytest.fixture(scope="session")
def warehouse() -> Iterator[Warehouse]:
    """The tables of every layer, built by running every model on nothing."""
    models = discover(sql_root())
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("set timezone = 'UTC'")
        for layer in ("bronze", "silver", "gold", "marts"):
            connection.execute(f"create schema {layer}")
        for relation, schema in SCHEMAS.items():
            columns = ", ".join(f'"{name}" {duckdb_type(node)}' for name, node in schema.items())
            connection.execute(f"create table {relation} ({columns})")
        for model in models.built:
            connection.execute(f"create table {model.qualified} as {model.sql}")
            if "is_deleted" in model.columns:
                connection.execute(f"alter table {model.qualified} alter is_deleted set default false")
        yield Warehouse(connection, models)


def _completed(node: SchemaNode, value: object) -> object:
    """`value` with NULL for every declared field it lacks, as a reader of declared columns sees it."""
    if isinstance(node, list) and isinstance(value, list):
        return [_completed(node[0], element) for element in value]
    if isinstance(node, Mapping) and isinstance(value, dict):
        return {name: _completed(inner, value.get(name)) for name, inner in node.items()} | {
            name: extra for name, extra in value.items() if name not in node
        }
    return value
