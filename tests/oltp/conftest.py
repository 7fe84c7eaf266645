"""A real PostgreSQL server for the tests of one process, and a migrated database for each test."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from payments_pipeline.oltp import migrate
from payments_pipeline.oltp.database import Database, database_of, recreate
from payments_pipeline.oltp.server import Server
from payments_pipeline.settings import Settings

_TEMPLATE = "migrated"
_numbers = itertools.count()


@pytest.fixture(scope="session")
def places() -> Iterator[Path]:
    """A folder outside pytest's: every pytest that starts closes that one to all other accounts, the server's too."""
    with tempfile.TemporaryDirectory(prefix="oltp-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def server(places: Path) -> Iterator[Server]:
    """A running server; nobody but this process knows it."""
    found = Server(places / "server" / "oltp")
    found.up()
    yield found
    found.down()


@pytest.fixture(scope="session")
def template(server: Server) -> Database:
    """A database of the newest schema, to be copied only."""
    found = database_of(Settings.from_env({"DATABASE_URL": server.url(_TEMPLATE)}))
    recreate(found)
    migrate.upgrade(found)
    return found


@pytest.fixture
def database(template: Database) -> Iterator[Database]:
    """An empty database of the newest schema, the test's own."""
    found = template.named(f"test_{next(_numbers)}")
    with template.named("postgres").connect() as connection:
        connection.execute(f"create database {found.name} template {_TEMPLATE}".encode())
        yield found
        connection.execute(f"drop database {found.name} with (force)".encode())


@pytest.fixture
def connection(database: Database) -> Iterator[psycopg.Connection]:
    """A connection to `database`."""
    with database.connect() as opened:
        yield opened


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder for JSON files."""
    folder = tmp_path / "json"
    folder.mkdir()
    return folder
