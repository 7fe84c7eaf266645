"""Brings objects into staging tables, which only this connection sees and which vanish with it."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format
from sqlalchemy import Table

from payments_pipeline.errors import StorageError
from payments_pipeline.oltp.record import Reader, Row, WrongObject
from payments_pipeline.oltp.source import Observation, Source
from payments_pipeline.oltp.sql import execute, name, sql_type
from payments_pipeline.oltp.tables import content_columns
from payments_pipeline.screen import Rejected

_SHOWN = 20
_OBSERVATION = {"observed_at": "timestamptz", "position": "bigint", "gone": "boolean"}
"""What a staging table knows of each object, besides the object."""


@dataclass(slots=True)
class Rejects:
    """The objects that cannot be rows. They are kept in `file`, bytes and reason, which is made with the first."""

    file: Path
    count: int = 0
    shown: list[str] = field(default_factory=list)

    def add(self, table: str, observation: Observation, reason: str) -> None:
        """Keep one; the first few are also told."""
        line = {
            "table": table,
            "place": observation.place,
            "reason": reason,
            "record_base64": base64.b64encode(observation.text).decode(),
        }
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")
        except OSError as error:
            raise StorageError(
                f"{self.file} cannot be written: {error.strerror}. The database is as it was."
            ) from error
        self.count += 1
        if self.count <= _SHOWN:
            self.shown.append(f"{observation.place}: {reason}")

    def size(self) -> int:
        """How many bytes the file has."""
        return self.file.stat().st_size if self.count else 0

    def rewind(self, count: int, size: int) -> None:
        """Forget all but the first `count`, which took `size` bytes."""
        if self.count > count:
            os.truncate(self.file, size)
            self.count = count
            del self.shown[count:]


class _JsonText(Dumper):
    """Text that is JSON already, as PostgreSQL's binary form of JSONB: the form's version, then the text."""

    format = Format.BINARY
    oid = psycopg.adapters.types["jsonb"].oid

    def dump(self, obj: str) -> bytes:
        return b"\x01" + obj.encode()


def staging(table: Table) -> str:
    """The name of a table's staging table."""
    return f"pg_temp.{name('stage_' + table.name)}"


def fill(connection: psycopg.Connection, source: Source, table: Table, rejects: Rejects) -> int:
    """Copy every object of the table to a new staging table, those that cannot be rows to `rejects`; how many were read.

    The server refuses some numbers that are valid JSON. Only then is every number looked at, in a second pass.
    """
    before = rejects.count, rejects.size()
    try:
        return _fill_new(connection, source, Reader(table), rejects)
    except psycopg.DataError:
        rejects.rewind(*before)
        return _fill_new(connection, source, Reader(table, strict=True), rejects)


def fill_by_id(
    connection: psycopg.Connection, source: Source, table: Table, ids: list[str], rejects: Rejects
) -> int:
    """The same for single objects, added to what is staged; how many the source gave."""
    reader = Reader(table, strict=True)
    return _copy(connection, reader, source.retrieve(table.name, ids), rejects)


def settle(connection: psycopg.Connection, table: Table) -> None:
    """Of each object keep the newest state and the newest mark of deletion, and let the planner know the size."""
    stage = staging(table)
    repeated = f"select id from {stage} group by id, gone having count(*) > 1"
    if execute(connection, f"{repeated} limit 1").fetchone():
        execute(
            connection,
            f"""
            delete from {stage} as staged using (
                select ctid, row_number() over (
                    partition by id, gone order by observed_at desc, position desc
                ) as place
                from {stage}
                where id in ({repeated})
            ) as ranked
            where staged.ctid = ranked.ctid and ranked.place > 1
            """,
        )
    execute(connection, f"analyze {stage} (id)")


def _fill_new(connection: psycopg.Connection, source: Source, reader: Reader, rejects: Rejects) -> int:
    """In a transaction that made the table rows need no mark, later, that they were committed: pages are written once."""
    with connection.transaction():
        _create(connection, reader.table)
        return _copy(connection, reader, source.read(reader.table.name), rejects, options=", freeze")


def _create(connection: psycopg.Connection, table: Table) -> None:
    """An empty staging table: the columns that hold the object, and what is known of the observation.

    A row with `gone` says only that the object was seen to be deleted.
    """
    # What every statement asks of each row comes first, where it is found without reading the others.
    columns = [f"{column} {kind} not null" for column, kind in _OBSERVATION.items()]
    columns += [f"{name(column.name)} {sql_type(column)}" for column in content_columns(table)]
    execute(connection, f"drop table if exists {staging(table)}")
    execute(connection, f"create temporary table {name('stage_' + table.name)} ({', '.join(columns)})")
    # For the planner a sample of some thousand ids is enough; the default would read most of the table.
    execute(connection, f"alter table {staging(table)} alter column id set statistics 10")


def _copy(
    connection: psycopg.Connection,
    reader: Reader,
    observations: Iterator[Observation],
    rejects: Rejects,
    *,
    options: str = "",
) -> int:
    columns = content_columns(reader.table)
    names = ", ".join(name(column) for column in [*(column.name for column in columns), *_OBSERVATION])
    statement = f"copy {staging(reader.table)} ({names}) from stdin (format binary{options})"
    empty: tuple[None, ...] = (None,) * (len(columns) - 1)
    read = 0
    with connection.cursor() as cursor:
        # `set_types` finds it by its oid, whatever the values are.
        cursor.adapters.register_dumper(dict, _JsonText)
        with cursor.copy(statement.encode()) as copy:
            copy.set_types([*(sql_type(column).lower() for column in columns), *_OBSERVATION.values()])
            for observation in observations:
                read += 1
                row = _row(reader, observation, rejects)
                if row is not None:
                    values = row.values or (row.id, *empty)
                    copy.write_row(
                        (*values, observation.observed_at, observation.position, row.values is None)
                    )
    return read


def _row(reader: Reader, observation: Observation, rejects: Rejects) -> Row | None:
    try:
        return reader(observation.text)
    except Rejected as reason:
        rejects.add(reader.table.name, observation, str(reason))
    except WrongObject as error:
        raise WrongObject(
            f"{observation.place} {error}. Nothing was kept; the database is as it was."
        ) from error
    return None
