"""Compares the tables with their source, column by column; both sides as rows of the same database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import psycopg
from sqlalchemy import Table

from payments_pipeline.oltp.ingest import Staged
from payments_pipeline.oltp.merge import expected, link_charges
from payments_pipeline.oltp.sql import execute, name
from payments_pipeline.oltp.stage import staging
from payments_pipeline.oltp.tables import content_columns, parents


@dataclass(frozen=True, slots=True)
class ColumnCheck:
    """One column: in how many objects the two sides differ, and a hash of all its values on each side."""

    column: str
    different: int
    source_hash: str
    table_hash: str


@dataclass(frozen=True, slots=True)
class TableCheck:
    """One table: `missing` objects are in the source only, `extra` ones in the table only, `different_rows` in both.

    `example` is the id of one of them.

    Deleted rows that the source no longer shows are kept on purpose and not extra. `stubs` wait for their object.
    `orphans` are references to rows that do not exist, which the constraints should make impossible.
    """

    table: str
    source_rows: int
    table_rows: int
    missing: int
    extra: int
    different_rows: int
    deleted: int
    stubs: int
    orphans: int
    example: str | None
    columns: tuple[ColumnCheck, ...]

    @property
    def different(self) -> tuple[str, ...]:
        """The columns that differ."""
        return tuple(
            each.column for each in self.columns if each.different or each.source_hash != each.table_hash
        )

    @property
    def passed(self) -> bool:
        """Whether the table holds what its source shows, and nothing else."""
        return not (self.missing or self.extra or self.orphans or self.different)

    def as_json(self) -> dict[str, object]:
        """The same as JSON values."""
        return {**asdict(self), "passed": self.passed}


def check(connection: psycopg.Connection, staged: Staged) -> list[TableCheck]:
    """Compare each staged table with its real one, all of them in one state of the database."""
    link_charges(connection, staged.tables)
    with connection.transaction():
        execute(connection, "set transaction isolation level repeatable read, read only")
        return [_check(connection, table) for table in staged.tables]


def _check(connection: psycopg.Connection, table: Table) -> TableCheck:
    columns = [column.name for column in content_columns(table)[1:]] + ["deleted"]
    found = execute(connection, _comparison(table, columns)).fetchone()
    assert found is not None, "aggregates without groups give one row"
    source_rows, table_rows, missing, extra, different, deleted, example, *rest = found
    triples = zip(columns, rest[0::3], rest[1::3], rest[2::3], strict=True)
    return TableCheck(
        table=table.name,
        source_rows=source_rows,
        table_rows=table_rows,
        missing=missing,
        extra=extra,
        different_rows=different,
        deleted=deleted,
        stubs=_number(connection, f"select count(*) from {table.name} where is_stub and not deleted"),
        orphans=sum(_number(connection, query) for query in _orphans(table)),
        example=example,
        columns=tuple(
            ColumnCheck(column, different, _hex(source), _hex(held))
            for column, different, source, held in triples
        ),
    )


def _comparison(table: Table, columns: Sequence[str]) -> str:
    """One row: counts, the id of an object that differs, then for each column differences and both hashes."""
    differs = " or ".join(f"source.{name(column)} is distinct from held.{name(column)}" for column in columns)
    kept = "source.id is null and held.deleted"
    aggregates = ", ".join(
        f"count(*) filter (where both_sides and source.{name(column)} is distinct from held.{name(column)}), "
        f"{_hash('source', column)} filter (where source.id is not null), "
        f"{_hash('held', column)} filter (where held.id is not null and not ({kept}))"
        for column in columns
    )
    return f"""
        with source as ({_source(table, columns[:-1])}),
        held as (
            select id, {", ".join(map(name, columns))} from {table.name} where not is_stub or deleted
        )
        select
            count(source.id),
            count(held.id) filter (where not ({kept})),
            count(*) filter (where held.id is null),
            count(*) filter (where source.id is null and not held.deleted),
            count(*) filter (where both_sides and ({differs})),
            count(*) filter (where held.deleted),
            min(coalesce(source.id, held.id)) filter (where not ({kept}) and (not both_sides or {differs})),
            {aggregates}
        from source full join held on source.id = held.id
        cross join lateral (select source.id is not null and held.id is not null as both_sides) as sides
    """


def _source(table: Table, columns: Sequence[str]) -> str:
    """What the table should hold: the newest states, and whether the object was seen deleted since."""
    listed = ", ".join(f"live.{name(column)}" for column in columns)
    return f"""
        select coalesce(live.id, marks.id) as id, {listed},
            marks.id is not null and (live.id is null or marks.observed_at >= live.observed_at) as deleted
        from ({expected(table)}) as live
        full join (select id, observed_at from {staging(table)} where gone) as marks on marks.id = live.id
    """


def _hash(relation: str, column: str) -> str:
    """A sum over the rows, so that their order does not matter; the id is in it, so that swapped values do."""
    return f"sum(hashtextextended({relation}.id || ' ' || quote_nullable({relation}.{name(column)}::text), 0)::numeric)"


def _hex(total: Any) -> str:
    return f"{int(total or 0) % 2**64:016x}"


def _orphans(table: Table) -> list[str]:
    return [
        f"select count(*) from {table.name} as child where child.{name(column.name)} is not null "
        f"and not exists (select from {parent.name} as parent where parent.id = child.{name(column.name)})"
        for column, parent in parents(table)
    ]


def _number(connection: psycopg.Connection, statement: str) -> int:
    found = execute(connection, statement).fetchone()
    return int(found[0]) if found else 0
