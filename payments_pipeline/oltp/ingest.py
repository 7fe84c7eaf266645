"""The story of an ingest: read the source into staging, complete it where it can be asked, merge it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psycopg
from sqlalchemy import Table

from payments_pipeline.errors import CorruptObject, ObjectMissing, QualityError, StorageError
from payments_pipeline.oltp.merge import Merged, link_charges, merge, missing_parents
from payments_pipeline.oltp.source import Source
from payments_pipeline.oltp.sql import execute
from payments_pipeline.oltp.stage import (
    Rejects,
    fill,
    fill_by_id,
    settle,
    staging,
)
from payments_pipeline.oltp.tables import TABLES

_READS, _PAUSE_SECONDS = 20, 0.5


@dataclass(frozen=True, slots=True)
class Staged:
    """What is in the staging tables now: how many objects of each table were read from the source of that name."""

    source: str
    tables: tuple[Table, ...]
    read: dict[str, int]


def ingest(
    connection: psycopg.Connection, source: Callable[[], Source], rejects: Rejects, *, max_share: float
) -> tuple[Staged, list[Merged]]:
    """Bring all that the source holds into its tables; what was staged, and what became of it.

    `QualityError` if a greater share than `max_share` of the objects cannot be rows. Whatever is raised, the tables
    are as they were.
    """
    staged = stage(connection, source, rejects)
    total = sum(staged.read.values())
    if rejects.count > max_share * total:
        raise QualityError(
            f"{rejects.count} of {total} objects cannot be rows, more than the share of {max_share} that is tolerated "
            f"(MAX_QUARANTINE_SHARE): {'; '.join(rejects.shown[:3])}. They are in {rejects.file}. "
            "The database is as it was."
        )
    return staged, merge(connection, staged.tables)


def stage(
    connection: psycopg.Connection,
    source: Callable[[], Source],
    rejects: Rejects,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> Staged:
    """Read one state of the source into staging, again if it changed meanwhile."""
    execute(connection, "set work_mem = '64MB'")  # ids of some 100,000 objects are compared without a file
    before = rejects.count, rejects.size()
    for _ in range(_READS):
        opened = source()
        try:
            staged = _stage(connection, opened, rejects)
        except (CorruptObject, ObjectMissing):
            if not opened.has_changed():
                raise
        else:
            if not opened.has_changed():
                return staged
        rejects.rewind(*before)
        sleep(_PAUSE_SECONDS)
    raise StorageError(
        f"{opened.name} keeps changing, or a run was killed while it published: there is no complete state to read. "
        "The database is as it was; run again later."
    )


def _stage(connection: psycopg.Connection, source: Source, rejects: Rejects) -> Staged:
    tables = tuple(TABLES[name] for name in source.tables)
    read = {}
    for table in tables:
        read[table.name] = fill(connection, source, table, rejects)
        settle(connection, table)
    if source.retrieves:
        _complete(connection, source, tables, rejects)
    return Staged(source.name, tables, read)


def _complete(
    connection: psycopg.Connection, source: Source, tables: Sequence[Table], rejects: Rejects
) -> None:
    """Ask for every object that lists do not show: those that the tables hold as living, and those referred to."""
    asked: set[tuple[str, str]] = set()
    link_charges(connection, tables)
    referred = {table.name: missing_parents(table, tables, tables, held=False) for table in tables}
    queries = {table.name: f"{_unlisted(table)} union {referred[table.name]}" for table in tables}
    while (
        wanted := {(table, key) for table, query in queries.items() for key in _ids(connection, query)}
        - asked
    ):
        asked |= wanted
        for table in tables:
            ids = sorted(key for name, key in wanted if name == table.name)
            fill_by_id(connection, source, table, ids, rejects)
            settle(connection, table)
        link_charges(connection, tables)
        queries = referred


def _unlisted(table: Table) -> str:
    return (
        f"select id from {table.name} as held where not deleted "
        f"and not exists (select from {staging(table)} as staged where staged.id = held.id)"
    )


def _ids(connection: psycopg.Connection, statement: str) -> list[str]:
    return [str(object_id) for (object_id,) in execute(connection, statement)]
