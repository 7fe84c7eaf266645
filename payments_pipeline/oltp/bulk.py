"""Makes loading a mostly empty table quick: its references and indexes are taken off and put back in one transaction.

Checking 200,000 references one by one takes many times what one join takes when the constraint is added again.
Nobody sees the table without them: until the transaction ends, who wants to read it waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import psycopg
from sqlalchemy import Table

from payments_pipeline.oltp.stage import execute, name, staging

_WORTH_IT = 10_000


def take_off(connection: psycopg.Connection, tables: Sequence[Table]) -> list[str]:
    """Drop references and plain indexes of the tables that will mostly consist of staged rows; what puts them back."""
    filling = [table for table in tables if _is_mostly_new(connection, table)]
    statements = [
        pair for table in filling for pair in (*_references(connection, table), *_indexes(connection, table))
    ]
    for drop, _ in statements:
        execute(connection, drop)
    return [create for _, create in reversed(statements)]


def put_back(connection: psycopg.Connection, statements: Iterable[str]) -> None:
    """Create them again, which checks every reference; deferred ones of other tables are checked first."""
    execute(connection, "set constraints all immediate")
    for statement in statements:
        execute(connection, statement)


def _is_mostly_new(connection: psycopg.Connection, table: Table) -> bool:
    found = execute(connection, f"select count(*) from {staging(table)} where not gone").fetchone()
    staged = int(found[0]) if found else 0
    if staged < _WORTH_IT:
        return False
    half = f"select 1 from {table.name} offset {staged // 2} limit 1"
    return execute(connection, half).fetchone() is None


def _references(connection: psycopg.Connection, table: Table) -> list[tuple[str, str]]:
    found = execute(
        connection,
        "select conname, pg_get_constraintdef(oid) from pg_constraint "
        "where conrelid = %s::regclass and contype = 'f' order by conname",
        table.name,
    )
    alter = f"alter table {table.name}"
    return [
        (f"{alter} drop constraint {name(key)}", f"{alter} add constraint {name(key)} {definition}")
        for key, definition in found
    ]


def _indexes(connection: psycopg.Connection, table: Table) -> list[tuple[str, str]]:
    """Those that are no constraint's."""
    found = execute(
        connection,
        "select indexrelid::regclass::text, pg_get_indexdef(indexrelid) from pg_index "
        "where indrelid = %s::regclass and not indisunique "
        "and not exists (select from pg_constraint where conindid = indexrelid) order by 1",
        table.name,
    )
    return [(f"drop index {index}", definition) for index, definition in found]
