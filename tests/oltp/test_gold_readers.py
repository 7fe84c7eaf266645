"""Who reads gold tables while they are published: what is seen, who waits, and who gives way."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from payments_pipeline.errors import StorageError
from payments_pipeline.flow import Partition
from payments_pipeline.lake import VerifiedFiles
from payments_pipeline.oltp import gold
from payments_pipeline.oltp.database import Database
from payments_pipeline.storage import Storage
from tests.oltp.sales import BOTH_CHANGED, TWO, Shop, everything


@pytest.fixture
def shop(folder: Path) -> Shop:
    """Nothing sold yet."""
    return Shop(folder / "lake")


def test_readers_see_the_old_publication_until_the_new_one_is_whole(
    connection: psycopg.Connection, database: Database, shop: Shop
) -> None:
    """While tables are refilled nobody waits, and nobody sees one table of the new publication and one of the old."""
    question = "select (select count(*) from gold.fct_sales), (select count(*) from gold.fct_highest)"
    with shop.lake(TWO) as lake, database.connect() as reader:
        shop.sell(0, lake=lake)
        gold.publish(connection, lake)
        shop.sell(1, lake=lake)
        reader.execute("set statement_timeout = '5s'")
        with connection.transaction():
            gold.publish(connection, lake)
            assert everything(connection, question) == [(2, 2)]
            assert everything(reader, question) == [(1, 1)]
        assert everything(reader, question) == [(2, 2)]


class _Asked(VerifiedFiles):
    """Files that tell when they are asked for, which is also before each part of a table is filled."""

    def __init__(self, storage: Storage, tell: Callable[[], None]) -> None:
        super().__init__(storage)
        self._tell = tell

    def __call__(self, partition: Partition) -> Path:
        self._tell()
        return super().__call__(partition)


def test_readers_do_not_wait_while_new_tables_are_filled(
    connection: psycopg.Connection, database: Database, shop: Shop
) -> None:
    """Where columns changed, too, the old tables are there to be read until the last new one is full."""
    question = "select (select count(*) from gold.fct_sales), (select count(*) from gold.fct_highest)"
    with shop.lake(TWO) as lake:
        shop.sell(0, lake=lake)
        gold.publish(connection, lake)
    with shop.lake(BOTH_CHANGED) as lake, database.connect() as reader:
        shop.sell(1, lake=lake)
        reader.execute("set statement_timeout = '5s'")
        seen: list[tuple[int, int]] = []
        files = _Asked(lake.storage, lambda: seen.extend(everything(reader, question)))
        gold.publish(connection, replace(lake, verified=files))
        assert set(seen) == {(1, 1)}
        assert everything(reader, question) == [(2, 2)]
        assert everything(reader, "select sum(charges) from gold.fct_highest") == [(2,)]


class _Publisher(threading.Thread):
    """Publishes gold on a connection of its own, never asleep for long; `error` is what stopped it."""

    def __init__(self, database: Database, shop: Shop) -> None:
        super().__init__()
        self.error: StorageError | None = None
        self._database, self._shop = database, shop
        self.start()

    def run(self) -> None:
        try:
            with self._shop.lake(BOTH_CHANGED) as lake, self._database.connect() as connection:
                gold.publish(connection, lake, sleep=lambda seconds: time.sleep(0.01))
        except StorageError as error:
            self.error = error


@pytest.fixture
def changed(connection: psycopg.Connection, shop: Shop) -> Shop:
    """Two tables of gold, one row each, and a publication of two rows each in which both have another column."""
    with shop.lake(TWO) as lake:
        shop.sell(0, lake=lake)
        gold.publish(connection, lake)
    with shop.lake(BOTH_CHANGED) as lake:
        shop.sell(1, lake=lake)
    return shop


def _wait_for_lock(connection: psycopg.Connection, publisher: _Publisher) -> None:
    """Until the publisher waits for somebody else's lock."""
    question = (
        b"select 1 from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() "
        b"and wait_event_type = 'Lock' and query like 'drop table%'"
    )
    while connection.execute(question).fetchone() is None:
        assert publisher.is_alive(), f"never seen to wait: {publisher.error}"
        time.sleep(0.001)


def test_a_publisher_that_loses_a_deadlock_exchanges_again(
    connection: psycopg.Connection, database: Database, changed: Shop
) -> None:
    """A dashboard reads the tables in the other order, in one transaction: it gets its answer, and then all is exchanged."""
    with database.connect() as dashboard:
        dashboard.execute("set deadlock_timeout = '60s'")
        with dashboard.transaction():
            assert everything(dashboard, "select count(*) from gold.fct_sales") == [(1,)]
            publisher = _Publisher(database, changed)
            _wait_for_lock(connection, publisher)
            assert everything(dashboard, "select count(*) from gold.fct_highest") == [(1,)]
        publisher.join()
        assert publisher.error is None
        question = (
            "select sum(charges) from gold.fct_sales union all select sum(charges) from gold.fct_highest"
        )
        assert everything(dashboard, question) == [(2,), (2,)]


def test_a_reader_that_never_ends_stops_the_exchange(
    connection: psycopg.Connection, database: Database, changed: Shop
) -> None:
    """Others wait a moment at most, the error says what to do, and all tables are as they were; later it works."""
    with database.connect() as forgotten, database.connect() as reader:
        reader.execute("set statement_timeout = '5s'")
        with forgotten.transaction():
            everything(forgotten, "select from gold.fct_sales")
            publisher = _Publisher(database, changed)
            _wait_for_lock(connection, publisher)
            while publisher.is_alive():
                assert everything(reader, "select count(*) from gold.fct_sales") == [(1,)]
                time.sleep(0.05)
            publisher.join()
            assert publisher.error is not None
            assert re.search(r"gold\.fct_sales .*as it was.*publish again", str(publisher.error))
            assert everything(reader, "select count(*) from gold.fct_highest") == [(1,)]
        again = _Publisher(database, changed)
        again.join()
        assert again.error is None
        assert everything(reader, "select sum(charges) from gold.fct_sales") == [(2,)]


def test_of_two_publishers_one_waits(
    connection: psycopg.Connection, database: Database, changed: Shop
) -> None:
    """Both end well, whoever comes first."""
    publishers = [_Publisher(database, changed) for _ in range(4)]
    for publisher in publishers:
        publisher.join()
    assert [publisher.error for publisher in publishers] == [None] * 4
    assert everything(connection, "select sum(charges) from gold.fct_highest") == [(2,)]
