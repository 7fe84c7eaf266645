"""Loads the lake's gold models and marts into PostgreSQL, so that dashboards can read them there."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import psycopg
import pyarrow.compute
import pyarrow.parquet

from payments_pipeline.errors import ModelError, StorageError
from payments_pipeline.flow import Partition
from payments_pipeline.inspect import consistently
from payments_pipeline.lake import Lake
from payments_pipeline.oltp.sql import execute, name
from payments_pipeline.state.head import read_head
from payments_pipeline.state.snapshot import snapshot_of
from payments_pipeline.transform.models import ModelSpec

_LAYERS = ("gold", "marts")
_LOCK = 0x676F6C64  # one publisher at a time in a database
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
_NOTE = "gold.publication"
_DRAFT = " draft"
_EXCHANGES, _LOCK_SECONDS = 6, 1  # so long do others wait at most for a table whose place is to be taken


@dataclass(frozen=True, slots=True)
class GoldTable:
    """One table: its rows, whether they had to be written, and whether there was no such table before."""

    model: str
    rows: int
    written: bool
    new: bool = False


@dataclass(frozen=True, slots=True)
class Published:
    """Which run's publication PostgreSQL shows now, and the models whose tables went because they are no more."""

    run_id: str
    models: tuple[GoldTable, ...]
    removed: tuple[str, ...]


def publish(
    connection: psycopg.Connection, lake: Lake, *, sleep: Callable[[float], None] = time.sleep
) -> Published:
    """Make the tables of the schemas `gold` and `marts` equal to what the lake publishes, in one transaction.

    A table whose content has not changed is left alone, another is refilled: views on it, and grants, stay, and
    readers are not blocked. If its columns changed, a new table takes its place at the end; if its model is gone, it
    goes. `StorageError` if somebody's view needs such a table, or somebody reads it for half a minute; `ModelError`
    for a type that has no equal here.
    """
    return consistently(
        lake, lambda: _publish(connection, lake, sleep), within=connection.transaction, sleep=sleep
    )


def _publish(connection: psycopg.Connection, lake: Lake, sleep: Callable[[float], None]) -> Published:
    run_id = read_head(lake.storage).published
    if run_id is None:
        raise StorageError(
            f"nothing is published in {lake.storage.url} yet; 'payments-pipeline run-pipeline' publishes. "
            "PostgreSQL is as it was."
        )
    execute(connection, "select pg_advisory_xact_lock(%s)", _LOCK)
    for layer in _LAYERS:
        execute(connection, f"create schema if not exists {layer}")
    execute(
        connection,
        f"create table if not exists {_NOTE} "
        "(model text primary key, run_id text not null, digest text not null, rows bigint not null)",
    )
    known: dict[str, str] = dict(execute(connection, f"select model, digest from {_NOTE}").fetchall())
    models = [model for model in lake.models.built if model.layer in _LAYERS]
    snapshot = snapshot_of(lake.latest([model.qualified for model in models]))
    lake.show(snapshot, lake.models.built)  # the other layers without rows: none of their files is read
    contents = [_content(lake, model, snapshot.get(model.qualified, {})) for model in models]
    tables = tuple(
        _load(connection, lake, content, known.get(content.model.qualified)) for content in contents
    )
    removed = tuple(sorted(known.keys() - {table.model for table in tables}))
    _exchange(connection, [model for model in models if _has_draft(connection, model)], removed, sleep)
    for model in removed:
        execute(connection, f"delete from {_NOTE} where model = %s", model)
    execute(connection, f"update {_NOTE} set run_id = %s where run_id <> %s", run_id, run_id)
    return Published(run_id, tables, removed)


@dataclass(frozen=True, slots=True)
class _Content:
    """What a table is to hold: its columns with their PostgreSQL types, the partitions, and a digest of both."""

    model: ModelSpec
    columns: Mapping[str, str]
    partitions: Mapping[str, Partition]
    digest: str


def _content(lake: Lake, model: ModelSpec, partitions: Mapping[str, Partition]) -> _Content:
    described = lake.engine.query(f"describe {model.qualified}").pairs()
    columns = {column: _sql_type(model, column, kind) for column, kind in described.items()}
    layout = repr((sorted(columns.items()), model.grain, model.description))
    lines = [layout, *(f"{dt} {partitions[dt].digest}" for dt in sorted(partitions))]
    return _Content(model, columns, partitions, sha256("\n".join(lines).encode()).hexdigest())


def _load(connection: psycopg.Connection, lake: Lake, content: _Content, known: str | None) -> GoldTable:
    """Bring one table up to date; `known` is the digest of what was loaded into it last."""
    table, rows = content.model.qualified, sum(partition.rows for partition in content.partitions.values())
    columns, key = _layout(connection, table)
    if known is None and columns:
        raise StorageError(
            f"{table} was not made by 'oltp publish-gold', so it is not overwritten. PostgreSQL is as it was; rename "
            "that table, or name another database in DATABASE_URL, and publish again."
        )
    if columns and known == content.digest:
        return GoldTable(table, rows, written=False)
    if (columns, key) == (content.columns, set(content.model.grain)):
        execute(connection, f"delete from {table}")
        _fill(connection, lake, content, table)
    else:
        _draft(connection, content)
        _fill(connection, lake, content, _draft_of(content.model))
    execute(
        connection,
        f"insert into {_NOTE} values (%s, '', %s, %s) "
        "on conflict (model) do update set digest = excluded.digest, rows = excluded.rows",
        table,
        content.digest,
        rows,
    )
    return GoldTable(table, rows, written=True, new=not columns)


def _draft(connection: psycopg.Connection, content: _Content) -> None:
    """An empty table beside the one that is to go, so that readers have that one until all tables are filled."""
    model, draft = content.model, _draft_of(content.model)
    listed = ", ".join(f"{name(column)} {kind}" for column, kind in content.columns.items())
    key = ", ".join(map(name, model.grain))
    constraint = f"constraint {name(model.name + ' key')} primary key ({key})"
    execute(connection, f"create table {draft} ({listed}, {constraint})")
    execute(connection, f"comment on table {draft} is {_text(model.description)}")
    for column, description in model.columns.items():
        execute(connection, f"comment on column {draft}.{name(column)} is {_text(description)}")


def _exchange(
    connection: psycopg.Connection,
    drafted: Sequence[ModelSpec],
    removed: Sequence[str],
    sleep: Callable[[float], None],
) -> None:
    """Every draft takes its table's place, and the tables of `removed` go.

    All that go are locked, or none: who waits for a reader keeps other readers waiting, so it gives way and tries again.
    """
    for attempt in range(_EXCHANGES):
        try:
            with connection.transaction():
                execute(connection, f"set local lock_timeout = '{_LOCK_SECONDS}s'")
                for table in (*(model.qualified for model in drafted), *removed):
                    _drop(connection, table)
            break
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
            if attempt + 1 == _EXCHANGES:
                raise StorageError(
                    f"{table} has to go, for its model has other columns now or is no more, but somebody's transaction "
                    "has been using it for half a minute. PostgreSQL is as it was; end that transaction "
                    "(pg_stat_activity shows it), and publish again."
                ) from error
            sleep(2**attempt)
    for model in drafted:
        draft, key = _draft_of(model), name(model.name + "_pkey")
        execute(connection, f"alter table {draft} rename constraint {name(model.name + ' key')} to {key}")
        execute(connection, f"alter table {draft} rename to {name(model.name)}")


def _has_draft(connection: psycopg.Connection, model: ModelSpec) -> bool:
    return execute(connection, "select to_regclass(%s)", _draft_of(model)).fetchone() != (None,)


def _draft_of(model: ModelSpec) -> str:
    return f"{model.layer}.{name(model.name + _DRAFT)}"


def _fill(connection: psycopg.Connection, lake: Lake, content: _Content, table: str) -> None:
    listed = ", ".join(map(name, content.columns))
    with (
        connection.cursor() as cursor,
        cursor.copy(f"copy {table} ({listed}) from stdin".encode()) as copy,
    ):
        for row in _rows(lake, content.partitions, list(content.columns)):
            copy.write_row(row)


def _drop(connection: psycopg.Connection, table: str) -> None:
    """The table goes, if it is there; `StorageError` naming what needs it."""
    try:
        execute(connection, f"drop table if exists {table}")
    except psycopg.errors.DependentObjectsStillExist as error:
        needed = "; ".join((error.diag.message_detail or "").splitlines())
        raise StorageError(
            f"{table} has to go, for its model has other columns now or is no more, but something needs it: {needed}. "
            "PostgreSQL is as it was; drop what needs it, publish again, and make it anew."
        ) from error


def _layout(connection: psycopg.Connection, table: str) -> tuple[dict[str, str], set[str]]:
    """The columns of the table that is there, with their types as `_TYPES` writes them, and those of its key."""
    found = execute(
        connection,
        """
        select attname, replace(replace(format_type(atttypid, atttypmod), 'timestamp with time zone', 'timestamptz'),
            ',', ', '), coalesce(attnum = any (indkey), false)
        from pg_attribute left join pg_index on indrelid = attrelid and indisprimary
        where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped
        """,
        table,
    ).fetchall()
    columns = {str(column): str(kind) for column, kind, _ in found}
    return columns, {str(column) for column, _, in_key in found if in_key}


def _rows(
    lake: Lake, partitions: Mapping[str, Partition], columns: list[str]
) -> Iterator[tuple[object, ...]]:
    """The partitions' rows, one batch in memory at a time; a time without a zone is UTC, as the connection is."""
    for dt in sorted(partitions):
        with pyarrow.parquet.ParquetFile(lake.verified(partitions[dt])) as file:
            for batch in file.iter_batches(columns=columns):
                yield from zip(
                    *(_storable(batch.column(column)).to_pylist() for column in columns), strict=True
                )


def _storable(values: pyarrow.Array) -> pyarrow.Array:
    """The values, with U+FFFD in the place of the character NUL, which no text of PostgreSQL can hold."""
    is_text = pyarrow.types.is_string(values.type)
    return pyarrow.compute.replace_substring(values, "\0", "\ufffd") if is_text else values


def _sql_type(model: ModelSpec, column: str, kind: str) -> str:
    decimal = _DECIMAL.fullmatch(kind)
    if decimal:
        return f"numeric({decimal[1]}, {decimal[2]})"
    if kind not in _TYPES:
        raise ModelError(
            f"{model.qualified}.{column} is {kind}, which has no equal in PostgreSQL here; cast it to one of "
            f"{', '.join(_TYPES)} or DECIMAL in sql/{model.layer}/{model.name}.sql. PostgreSQL is as it was."
        )
    return _TYPES[kind]


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
