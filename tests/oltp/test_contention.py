"""Others at work in the same database: the loader gives way, tries again, or stops with nothing changed."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import psycopg
import pytest

from payments_pipeline.errors import StorageError
from payments_pipeline.oltp.database import Database
from tests.oltp.objects import SOME_TIME, charge, customer, load, rows, write_all


def _write(folder: Path, amount: int, *, at: int) -> None:
    objects = {
        "customers": {"cus_1": customer(1, balance=amount)},
        "charges": {f"ch_{n}": charge(n, customer="cus_1", amount=amount) for n in range(2000)},
    }
    write_all(folder, objects, at=at)


class _Loader(threading.Thread):
    """Loads the folder on a connection of its own; `error` is what stopped it."""

    def __init__(self, database: Database, folder: Path) -> None:
        super().__init__()
        self.error: StorageError | None = None
        self._database, self._folder = database, folder
        self.start()

    def run(self) -> None:
        try:
            with self._database.connect() as connection:
                load(connection, self._folder)
        except StorageError as error:
            self.error = error


def _seen(connection: psycopg.Connection, loader: _Loader, condition: str) -> int:
    """The loader's process on the server, as soon as the condition is true of it."""
    question = (
        "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() "
        f"and backend_type = 'client backend' and {condition}"
    )
    while (found := connection.execute(question.encode()).fetchone()) is None:
        assert loader.is_alive(), f"never seen: {condition}"
        time.sleep(0.001)
    return int(found[0])


@pytest.fixture
def filled(database: Database, files: Path) -> Database:
    """A database that holds an older state than the files."""
    with database.connect() as connection:
        _write(files, 1, at=SOME_TIME)
        load(connection, files)
    _write(files, 2, at=SOME_TIME + 1)
    return database


def test_j5_a_loader_that_loses_a_deadlock_tries_again(filled: Database, files: Path) -> None:
    """Another session locks in the other order; the server stops the loader, which begins its transaction anew."""
    with filled.connect() as other, filled.connect() as watching:
        watching.execute(f"alter database {filled.name} set deadlock_timeout = '3s'".encode())
        other.execute("set deadlock_timeout = '60s'")
        with other.transaction():
            other.execute("update charges set description = 'mine' where id = 'ch_7'")
            loader = _Loader(filled, files)
            _seen(watching, loader, "wait_event_type = 'Lock'")
            other.execute("update customers set description = 'mine' where id = 'cus_1'")
        loader.join()
        assert loader.error is None
        assert {row[0] for row in rows(watching, "charges", "amount")} == {2}
        assert rows(watching, "customers", "balance, description") == [(2, None)]


def test_a_first_load_waits_for_who_writes_to_the_table(database: Database, files: Path) -> None:
    """Another session's row is not to be seen yet when an empty table is to be filled: the load waits, and keeps it."""
    products = {
        f"prod_{n}": {
            "id": f"prod_{n}",
            "object": "product",
            "created": SOME_TIME,
            "name": "From the file",
            "active": True,
        }
        for n in range(10_500)
    }
    write_all(files, {"products": products}, at=SOME_TIME)
    with database.connect() as other, database.connect() as watching:
        with other.transaction():
            other.execute("insert into products (id) values ('prod_7'), ('prod_of_another')")
            loader = _Loader(database, files)
            _seen(watching, loader, "wait_event_type = 'Lock'")
        loader.join()
        assert loader.error is None
        assert watching.execute("select count(*), count(name) from products").fetchone() == (10_501, 10_500)


@pytest.mark.parametrize("doing", ["copy pg_temp.", "insert into charges"])
def test_j8_a_cut_connection_changes_nothing(filled: Database, files: Path, doing: str) -> None:
    """The server ends the loader's session: the error says so, the tables are as they were, a rerun mends it."""
    with filled.connect() as watching, filled.connect() as other:
        other.execute("begin")
        other.execute("lock table charges in share mode")
        loader = _Loader(filled, files)
        victim = _seen(watching, loader, f"position('{doing}' in query) > 0")
        watching.execute("select pg_terminate_backend(%s)", (victim,))
        loader.join()
        other.execute("rollback")
        assert loader.error is not None
        assert "What was not finished is undone" in str(loader.error)
        assert {row[0] for row in rows(watching, "charges", "amount")} == {1}
        load(watching, files)
        assert {row[0] for row in rows(watching, "charges", "amount")} == {2}
