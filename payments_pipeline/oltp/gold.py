"""Loads the lake's gold models and marts into PostgreSQL, so that dashboards can read them there."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

import psycopg
import pyarrow.parquet

from payments_pipeline.errors import CorruptObject, ObjectMissing, StorageError
from payments_pipeline.flow import Partition
from payments_pipeline.lake import Lake
from payments_pipeline.oltp.sql import execute, name
from payments_pipeline.state.head import Head, read_head
from payments_pipeline.state.snapshot import snapshot_of
from payments_pipeline.transform.models import ModelSpec

_LAYERS = ("gold", "marts")
_LOCK = 0x676F6C64  # one publisher at a time in a database
_READS, _PAUSE_SECONDS = 20, 0.5
_TYPES = {
    "VARCHAR": "text",
    "JSON": "text",
    "BIGINT": "bigint",
    "INTEGER": "integer",
    "HUGEINT": "numeric(38, 0)",
    "DOUBLE": "double precision",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "TIMESTAMP": "timestamptz",
}
_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")
_NOTE = "publication"


@dataclass(frozen=True, slots=True)
class GoldTable:
    """One table: its rows, and whether they had to be written."""

    model: str
    rows: int
    written: bool


@dataclass(frozen=True, slots=True)
class Published:
    """Which run's publication PostgreSQL shows now."""

    run_id: str
    models: tuple[GoldTable, ...]


def publish(
    connection: psycopg.Connection, lake: Lake, *, sleep: Callable[[float], None] = time.sleep
) -> Published:
    """Make the tables of the schemas `gold` and `marts` equal to what the lake publishes, in one transaction.

    Tables are refilled rather than replaced, so that views on them, and grants, stay; readers are never blocked. One
    whose content has not changed is left alone. A model whose columns changed gets a new table.
    """
    for _ in range(_READS):
        head = read_head(lake.storage)
        if head.publishing is None:
            try:
                with connection.transaction():
                    published = _publish(connection, lake, head)
                    if read_head(lake.storage).published == head.published:
                        return published
                    raise psycopg.Rollback
            except (CorruptObject, ObjectMissing):
                if read_head(lake.storage).published == head.published:
                    raise
        sleep(_PAUSE_SECONDS)
    raise StorageError(
        f"a run is publishing in {lake.storage.url}, or was killed while it did: there is no complete state to load. "
        "PostgreSQL is as it was; run again later."
    )


def _publish(connection: psycopg.Connection, lake: Lake, head: Head) -> Published:
    if head.published is None:
        raise StorageError(
            f"nothing is published in {lake.storage.url} yet; 'payments-pipeline run-pipeline' publishes. "
            "PostgreSQL is as it was."
        )
    execute(connection, "select pg_advisory_xact_lock(%s)", _LOCK)
    for layer in _LAYERS:
        execute(connection, f"create schema if not exists {layer}")
    execute(
        connection,
        f"create table if not exists gold.{_NOTE} "
        "(model text primary key, run_id text not null, digest text not null, rows bigint not null)",
    )
    lake.show_published()
    snapshot = snapshot_of(lake.latest())
    models = [model for model in lake.models.built if model.layer in _LAYERS]
    tables = tuple(_load(connection, lake, model, snapshot.get(model.qualified, {})) for model in models)
    execute(
        connection, f"update gold.{_NOTE} set run_id = %s where run_id <> %s", head.published, head.published
    )
    return Published(head.published, tables)


def _load(
    connection: psycopg.Connection, lake: Lake, model: ModelSpec, partitions: Mapping[str, Partition]
) -> GoldTable:
    columns = {
        column: _sql_type(kind)
        for column, kind in lake.engine.query(f"describe {model.qualified}").pairs().items()
    }
    layout = repr((sorted(columns.items()), model.grain, model.description))
    digest = sha256(
        "\n".join([layout, *(f"{dt} {partitions[dt].digest}" for dt in sorted(partitions))]).encode()
    )
    rows = sum(partition.rows for partition in partitions.values())
    known = execute(
        connection, f"select digest from gold.{_NOTE} where model = %s", model.qualified
    ).fetchone()
    if known == (digest.hexdigest(),) and _columns(connection, model):
        return GoldTable(model.qualified, rows, written=False)
    _prepare(connection, model, columns)
    listed = ", ".join(map(name, columns))
    with (
        connection.cursor() as cursor,
        cursor.copy(f"copy {model.qualified} ({listed}) from stdin".encode()) as copy,
    ):
        for row in _rows(lake, partitions, list(columns)):
            copy.write_row(row)
    execute(
        connection,
        f"insert into gold.{_NOTE} values (%s, '', %s, %s) "
        "on conflict (model) do update set digest = excluded.digest, rows = excluded.rows",
        model.qualified,
        digest.hexdigest(),
        rows,
    )
    return GoldTable(model.qualified, rows, written=True)


def _prepare(connection: psycopg.Connection, model: ModelSpec, columns: Mapping[str, str]) -> None:
    """An empty table of these columns: the one that is there if it fits, else a new one."""
    if _columns(connection, model) == dict(columns):
        execute(connection, f"delete from {model.qualified}")
        return
    execute(connection, f"drop table if exists {model.qualified}")
    listed = ", ".join(f"{name(column)} {kind}" for column, kind in columns.items())
    key = ", ".join(map(name, model.grain))
    execute(connection, f"create table {model.qualified} ({listed}, primary key ({key}))")
    execute(connection, f"comment on table {model.qualified} is {_text(model.description)}")
    for column, description in model.columns.items():
        execute(connection, f"comment on column {model.qualified}.{name(column)} is {_text(description)}")


def _columns(connection: psycopg.Connection, model: ModelSpec) -> dict[str, str]:
    """The columns of the table that is there, with their types as `_TYPES` writes them."""
    found = execute(
        connection,
        """
        select attname, replace(replace(format_type(atttypid, atttypmod), 'timestamp with time zone', 'timestamptz'),
            ',', ', ')
        from pg_attribute where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped
        """,
        model.qualified,
    )
    return {str(column): str(kind) for column, kind in found}


def _rows(
    lake: Lake, partitions: Mapping[str, Partition], columns: list[str]
) -> Iterator[tuple[object, ...]]:
    """The partitions' rows, one batch in memory at a time; a time without a zone is UTC, as the connection is."""
    for dt in sorted(partitions):
        with pyarrow.parquet.ParquetFile(lake.verified(partitions[dt])) as file:
            for batch in file.iter_batches(columns=columns):
                found = batch.to_pydict()
                yield from zip(*(found[column] for column in columns), strict=True)


def _sql_type(kind: str) -> str:
    decimal = _DECIMAL.fullmatch(kind)
    return f"numeric({decimal[1]}, {decimal[2]})" if decimal else _TYPES[kind]


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
