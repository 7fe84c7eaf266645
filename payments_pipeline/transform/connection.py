"""The connection to DuckDB: locked down, and run in a thread of its own so that signals are heard."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

import duckdb

from payments_pipeline.errors import ModelError, StorageError
from payments_pipeline.transform.engine import Result
from payments_pipeline.transform.models import ModelSpec
from payments_pipeline.transform.statements import text

if TYPE_CHECKING:
    from payments_pipeline.transform.lazy import LazyDataset


_BESIDE = 8
"""At most so many statements run side by side: each needs memory of its own."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What DuckDB may use: memory (a DuckDB size such as `2GB`; beyond it, it spills to scratch) and threads."""

    memory_limit: str = "2GB"
    threads: int | None = None


class Connection:
    """An in-memory DuckDB that reads and writes only below `folders`, spills to `scratch` and loads nothing."""

    def __init__(self, folders: Sequence[Path], scratch: Path, options: EngineOptions) -> None:
        self._connection = _hardened(folders, scratch, options)
        self._unordered = _session(self._connection, "preserve_insertion_order = false")
        [(threads,)] = self._connection.execute("select current_setting('threads')").fetchall()
        self._beside = [_session(self._connection) for _ in range(min(threads, _BESIDE))]
        self._connection.execute("set lock_configuration = true")
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="duckdb")
        self._lazy: dict[str, LazyDataset] = {}

    def run(self, sql: str, parameters: Mapping[str, object], *, in_any_order: bool = False) -> Result:
        """Run statements in the worker thread: this one stays open to signals, which would wait for DuckDB else.

        The answer is that of the last one; raises what DuckDB raises, or a registered dataset while it was scanned.
        Rows that no `order by` sorts keep the order of what is read, which takes longer, unless they may come `in_any_order`.
        """
        connection = self._unordered if in_any_order else self._connection
        running = self._worker.submit(_answer, connection, sql, parameters)
        try:
            return running.result()
        except duckdb.Error:
            for dataset in self._lazy.values():
                dataset.explain()
            raise
        except BaseException:
            for dataset in self._lazy.values():
                dataset.stop()
            if not running.done():
                connection.interrupt()
            raise

    def run_all(self, statements: Mapping[str, str]) -> Generator[str, None, None]:
        """Run statements that do not depend on each other, about as many at once as DuckDB has threads; their names as they end."""
        idle = SimpleQueue[duckdb.DuckDBPyConnection]()
        for connection in self._beside:
            idle.put(connection)

        def run(name: str) -> str:
            connection = idle.get()
            try:
                connection.execute(statements[name])
            finally:
                idle.put(connection)
            return name

        with ThreadPoolExecutor(len(self._beside), thread_name_prefix="duckdb") as pool:
            running = [pool.submit(run, name) for name in statements]
            try:
                for ended in as_completed(running):
                    yield ended.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                # A statement that is about to begin hears only the next interrupt.
                while not all(each.done() for each in running):
                    for connection in self._beside:
                        connection.interrupt()
                    wait(running, timeout=0.01)
                raise

    def register(self, relation: str, dataset: LazyDataset) -> None:
        """Let SQL see the dataset under that name, which it may have had before; what it cannot fetch, `run` raises."""
        self._connection.register(relation, dataset)
        self._lazy[relation] = dataset

    def is_one_select(self, sql: str) -> bool:
        """Whether the text is a single statement that only reads."""
        kinds = [statement.type for statement in self._connection.extract_statements(sql)]
        return kinds == [duckdb.StatementType.SELECT]

    def close(self) -> None:
        """Give back memory and temporary files."""
        self._worker.shutdown()
        for connection in (*self._beside, self._unordered, self._connection):
            connection.close()


_OF_EACH_SESSION = ("timezone = 'UTC'", "parquet_metadata_cache = true")


def _session(connection: duckdb.DuckDBPyConnection, *settings: str) -> duckdb.DuckDBPyConnection:
    """One more connection to the same database; what is set for a connection is set for it, too."""
    session = connection.cursor()
    for setting in (*_OF_EACH_SESSION, *settings):
        session.execute(f"set session {setting}")
    return session


def _hardened(folders: Sequence[Path], scratch: Path, options: EngineOptions) -> duckdb.DuckDBPyConnection:
    """A connection that reads and writes only below `folders` and loads nothing from elsewhere; to be locked."""
    connection = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
            "python_enable_replacements": "false",
        },
    )
    allowed = ", ".join(text(f"{folder}/") for folder in folders)
    settings = [
        *_OF_EACH_SESSION,
        f"memory_limit = {text(options.memory_limit)}",
        *([f"threads = {options.threads}"] if options.threads else []),
        f"temp_directory = {text(str(scratch / 'spill'))}",
        f"allowed_directories = [{allowed}]",
        "allow_persistent_secrets = false",
        "enable_external_access = false",
        "enable_progress_bar = false",
    ]
    for setting in settings:
        connection.execute(f"set {setting}")
    return connection


def _answer(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, object]) -> Result:
    cursor = connection.execute(sql, dict(parameters))
    columns = tuple(str(column[0]) for column in cursor.description or ())
    return Result(columns, cursor.fetchall())


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Say what to do if DuckDB runs out of memory, disk or files."""
    try:
        yield
    except (duckdb.OutOfMemoryException, duckdb.IOException) as error:
        remedy = "free space"
        if isinstance(error, duckdb.OutOfMemoryException):
            remedy = "raise DUCKDB_MEMORY_LIMIT"
        elif "Too many open files" in str(error):
            remedy = "raise the limit on open files (ulimit -n)"
        raise StorageError(
            f"{what} could not be processed: {in_one_line(error)}. Nothing was published; {remedy} and run again."
        ) from error


def in_one_line(error: duckdb.Error) -> str:
    """DuckDB's message without line breaks."""
    return " ".join(str(error).split())


@contextmanager
def about(model: ModelSpec) -> Iterator[None]:
    """Name the model file in whatever the engine says is wrong with its SQL."""
    try:
        yield
    except duckdb.Error as error:
        raise ModelError(
            f"sql/{model.layer}/{model.name}.sql cannot be run: {in_one_line(error)}. "
            "Nothing was published; correct the file."
        ) from error
