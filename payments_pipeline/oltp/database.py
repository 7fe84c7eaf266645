"""Finds, makes and opens the PostgreSQL database, and says what its failures mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import psycopg
import sqlalchemy
from psycopg import sql

from payments_pipeline.errors import StorageError, UsageError
from payments_pipeline.oltp.server import Server
from payments_pipeline.settings import Settings

DATABASE, TEST_DATABASE = "stripe_db", "stripe_test"
"""The database that the commands work on, and one beside it for experiments."""

Connection: TypeAlias = psycopg.Connection
"""An open connection, for whoever only passes it on."""

_MAINTENANCE = "postgres"
_CONNECT_SECONDS = 10
_GONE = (psycopg.OperationalError, psycopg.InterfaceError)


@dataclass(frozen=True, slots=True)
class Database:
    """Where a database is; `url` holds the password and is never shown, `str()` hides it."""

    url: sqlalchemy.URL

    def __str__(self) -> str:
        return self.url.set(drivername="postgresql").render_as_string(hide_password=True)

    @property
    def name(self) -> str:
        """The database's own name."""
        return self.url.database or DATABASE

    def named(self, name: str) -> Database:
        """Another database of the same server."""
        return Database(self.url.set(database=name))

    @contextmanager
    def connect(self) -> Iterator[psycopg.Connection]:
        """A connection in autocommit mode, UTC; `StorageError` for whatever the server does to it meanwhile."""
        with storage_errors(self):
            connection = psycopg.connect(
                self.url.set(drivername="postgresql").render_as_string(hide_password=False),
                autocommit=True,
                connect_timeout=_CONNECT_SECONDS,
                options="-c timezone=UTC",
                application_name="payments-pipeline",
            )
            with connection:
                yield connection

    def engine(self) -> sqlalchemy.Engine:
        """The same for SQLAlchemy, connecting when first used."""
        return sqlalchemy.create_engine(self.url, poolclass=sqlalchemy.NullPool)


def local_folder(settings: Settings) -> Path:
    """What the commands keep on this machine: `oltp` in the lake's folder, in `_local_data` if the lake is in a bucket."""
    return Path(settings.local_data_dir.removeprefix("file://")).resolve() / "oltp"


def own_server(settings: Settings) -> Server:
    """The server whose data lies in `local_folder`."""
    return Server(local_folder(settings))


def database_of(settings: Settings) -> Database:
    """The database that DATABASE_URL names, else `stripe_db` of one's own server."""
    given = settings.database_url.get_secret_value() if settings.database_url else None
    try:
        url = sqlalchemy.make_url(given or own_server(settings).url(DATABASE))
    except sqlalchemy.exc.ArgumentError as error:
        raise _bad_url() from error
    if url.get_backend_name() not in {"postgresql", "postgres"}:
        raise _bad_url()
    return Database(url.set(drivername="postgresql+psycopg", database=url.database or DATABASE))


def create_missing(database: Database) -> list[str]:
    """Create the database and `stripe_test` beside it; the names of those that were not there."""
    created = []
    with database.named(_MAINTENANCE).connect() as connection:
        for name in dict.fromkeys((database.name, TEST_DATABASE)):
            if not _exists(connection, name):
                connection.execute(
                    sql.SQL("create database {} encoding 'UTF8' template template0").format(
                        sql.Identifier(name)
                    )
                )
                created.append(name)
    return created


def recreate(database: Database) -> None:
    """Throw the database and all that is in it away and create it anew; whoever is connected is thrown out."""
    with database.named(_MAINTENANCE).connect() as connection:
        connection.execute(
            sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(database.name))
        )
    create_missing(database)


@contextmanager
def storage_errors(database: Database) -> Iterator[None]:
    """Turn what the server, or its absence, raises into one `StorageError` that says what to do."""
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise StorageError(f"{database} does not allow that: {_said(error)}. Nothing was changed.") from error
    except _GONE as error:
        if f'database "{database.name}" does not exist' in str(error):
            raise StorageError(
                f"{database} is not there. Create it with 'payments-pipeline oltp init-db'."
            ) from error
        raise StorageError(
            f"{database} cannot be used: {_said(error)}. What was not finished is undone; start the server "
            "('payments-pipeline oltp up') or check DATABASE_URL, and run the same command again."
        ) from error
    except psycopg.ProgrammingError as error:
        raise StorageError(
            f"{database} refused: {_said(error)}. Nothing was changed; 'payments-pipeline oltp upgrade' brings the "
            "schema up to date."
        ) from error
    except psycopg.Error as error:
        raise StorageError(
            f"{database} refused: {_said(error)}. Nothing was changed; look at what else uses these tables, and run "
            "the same command again."
        ) from error


def _exists(connection: psycopg.Connection, name: str) -> bool:
    found = connection.execute("select 1 from pg_database where datname = %s", (name,)).fetchone()
    return found is not None


def _said(error: psycopg.Error) -> str:
    """What the server said, in one line, without rows: they are personal."""
    text = error.diag.message_primary or str(error) or type(error).__name__
    return " ".join(text.split())


def _bad_url() -> UsageError:
    return UsageError(
        "DATABASE_URL is not a PostgreSQL URL (postgresql://user:password@host:port/database); nothing was done."
    )
