"""Makes loading a mostly empty table quick: its references and indexes are taken off and put back in one transaction.

Checking 200,000 references one by one takes many times what one join takes when the constraint is added again.
Nobody sees the table without them: until the transaction ends, who wants to read it waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from sqlalchemy import Table

from payments_pipeline.oltp.sql import execute, execute_all, name
from payments_pipeline.oltp.stage import staging

_WORTH_IT = 10_000


@dataclass(frozen=True, slots=True)
class TakenOff:
    """The statements that put references and indexes back; `empty`: the filled tables without rows.

    Every filled table is locked until the transaction ends: what is empty stays so for everybody else.
    """

    references: tuple[str, ...]
    indexes: tuple[str, ...]
    empty: tuple[Table, ...]


def take_off(connection: psycopg.Connection, tables: Sequence[Table]) -> TakenOff:
    """Lock the tables that will mostly consist of staged rows, and drop their references and plain indexes."""
    filling = [table for table in tables if _is_mostly_new(connection, table)]
    if filling:
        # Not left to the drops: a table may have nothing to drop. Whoever is writing to one is waited for, and seen.
        execute(connection, f"lock table {', '.join(table.name for table in filling)}")
    references = [pair for table in filling for pair in _references(connection, table)]
    indexes = [pair for table in filling for pair in _indexes(connection, table)]
    execute_all(connection, [drop for drop, _ in (*references, *indexes)])
    empty = tuple(table for table in filling if not _has_row(connection, table, 0))
    execute_all(connection, [statement for table in empty for statement in _new_file(table)])
    return TakenOff(
        references=tuple(create for _, create in references),
        indexes=tuple(create for _, create in indexes),
        empty=empty,
    )


def _new_file(table: Table) -> tuple[str, str]:
    """Give an empty table a file of this transaction's own.

    A server with `wal_level = minimal` then writes the rows once, to that file, and not to its log besides. The usual
    way, TRUNCATE, refuses tables that others refer to.
    """
    return (
        f"cluster {table.name} using {table.primary_key.name}",
        f"alter table {table.name} set without cluster",
    )


def _is_mostly_new(connection: psycopg.Connection, table: Table) -> bool:
    found = execute(
        connection, "select reltuples from pg_class where oid = %s::regclass", staging(table)
    ).fetchone()
    staged = int(found[0]) if found else 0  # `settle` has just estimated it
    return staged >= _WORTH_IT and not _has_row(connection, table, staged // 2)


def _has_row(connection: psycopg.Connection, table: Table, number: int) -> bool:
    """Whether the table has more rows than `number`."""
    return execute(connection, f"select 1 from {table.name} offset {number} limit 1").fetchone() is not None


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
