"""The contestants of the loading benchmark, each run in a process of its own: `… <name> <file> <rows>`.

Each brings the first charges of a JSON file into the database of DATABASE_URL, in one transaction. All of them get
their values from our own reader, so that only the way into the database differs. Prints one JSON line: rows, rows
written, wall seconds, CPU seconds of this process, its peak memory.
"""

from __future__ import annotations

import json
import re
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import click
import sqlalchemy
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from payments_pipeline.oltp.database import Database, database_of
from payments_pipeline.oltp.files import JsonFiles, fetched_at, read_objects
from payments_pipeline.oltp.ingest import ingest
from payments_pipeline.oltp.record import Reader, Value
from payments_pipeline.oltp.stage import Rejects
from payments_pipeline.oltp.tables import TABLES, Charge, content_columns
from payments_pipeline.settings import Settings

_BATCH = 1000
_TABLE = TABLES["charges"]
_COLUMNS = [*content_columns(_TABLE), _TABLE.c.observed_at]
_NAMES = ", ".join(f'"{column.name}"' for column in _COLUMNS)

Work = Callable[[Database, Path, int], int]


def plain_copy(database: Database, file: Path, rows: int) -> int:
    """The floor: COPY into an unlogged table without keys, checks or indexes."""
    with database.connect() as connection, connection.transaction(), connection.cursor() as cursor:
        with cursor.copy(f"copy plain ({_NAMES}) from stdin".encode()) as copy:
            for values in _values(file, rows):
                copy.write_row(values)
        return cursor.rowcount


def ours(database: Database, file: Path, rows: int) -> int:
    """`oltp ingest charge`: COPY to staging, references looked up, guarded upsert."""
    with database.connect() as connection:
        rejects = Rejects(file.with_name("rejects.jsonl"))
        _, merged = ingest(connection, lambda: JsonFiles({"charges": file}), rejects, max_share=0)
    return sum(line.inserted + line.updated for line in merged)


def executemany(database: Database, file: Path, rows: int) -> int:
    """psycopg's executemany, a thousand rows at a time, with the same guard."""
    updates = ", ".join(f'"{column.name}" = excluded."{column.name}"' for column in _COLUMNS[1:])
    statement = (
        f"insert into charges as held ({_NAMES}) values ({', '.join(['%s'] * len(_COLUMNS))}) "
        f"on conflict (id) do update set {updates} where held.observed_at <= excluded.observed_at"
    )
    written = 0
    with database.connect() as connection, connection.transaction(), connection.cursor() as cursor:
        for batch in _batches(_values(file, rows)):
            cursor.executemany(statement.encode(), batch)
            written += cursor.rowcount
    return written


def bulk(database: Database, file: Path, rows: int) -> int:
    """SQLAlchemy's bulk insert, a thousand rows at a time."""
    written = 0
    with database.engine().begin() as connection:
        for batch in _batches(_decoded(file, rows)):
            connection.execute(sqlalchemy.insert(_TABLE), batch)
            written += len(batch)
    return written


def orm(database: Database, file: Path, rows: int) -> int:
    """SQLAlchemy's ORM, object by object: merge looks each up first, as a guard must."""
    attributes = {each.columns[0].name: each.key for each in sqlalchemy.inspect(Charge).column_attrs}
    written = 0
    with Session(database.engine()) as session, session.begin():
        for values in _decoded(file, rows):
            session.merge(Charge(**{attributes[name]: value for name, value in values.items()}))
            session.flush()
            session.expunge_all()
            written += 1
    return written


def _values(file: Path, rows: int) -> Iterator[tuple[Value | object, ...]]:
    reader, observed_at = Reader(_TABLE), fetched_at(file)
    for _, text in islice(read_objects(file), rows):
        yield *(reader(text).values or ()), observed_at


def _decoded(file: Path, rows: int) -> Iterator[dict[str, Any]]:
    """The same by name, with nested data as SQLAlchemy wants it."""
    nested = {column.name for column in _COLUMNS if isinstance(column.type, JSONB)}
    names = [column.name for column in _COLUMNS]
    for values in _values(file, rows):
        found: dict[str, Any] = dict(zip(names, values, strict=True))
        yield found | {name: json.loads(found[name]) for name in nested if found[name] is not None}


def _batches(rows: Iterator[Any]) -> Iterator[list[Any]]:
    while batch := list(islice(rows, _BATCH)):
        yield batch


CONTESTANTS: Mapping[str, Work] = {
    "plain-copy": plain_copy,
    "ours": ours,
    "executemany": executemany,
    "bulk": bulk,
    "orm": orm,
}


def _peak_mib() -> float:
    """The peak of this program alone: what `getrusage` says contains the process that started it."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text("ascii"))
    assert found is not None, "Linux says so"
    return int(found[1]) / 1024


@click.command()
@click.argument("name", type=click.Choice(list(CONTESTANTS)))
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("rows", type=int)
@click.option("--url", envvar="DATABASE_URL", required=True)
def main(*, name: str, file: Path, rows: int, url: str) -> None:
    """Run one contestant."""
    database = database_of(Settings.from_env({"DATABASE_URL": url}))
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    written = CONTESTANTS[name](database, file, rows)
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found = {
        "rows": rows,
        "written": written,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "peak_mib": _peak_mib(),
    }
    click.echo(json.dumps(found))


if __name__ == "__main__":
    main()
