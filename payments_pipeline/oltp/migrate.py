"""The schema's versions, by Alembic; its environment is the folder `migrations` of this package."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import alembic.command
import alembic.util
import psycopg
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from payments_pipeline.errors import StorageError, UsageError
from payments_pipeline.oltp.database import Database, storage_errors
from payments_pipeline.oltp.tables import Base

_FOLDER = Path(__file__).parent / "migrations"


def upgrade(database: Database, revision: str = "head") -> str | None:
    """Bring the schema to `revision`; the revision it has then."""
    return _run(database, lambda config: alembic.command.upgrade(config, revision))


def downgrade(database: Database, revision: str = "-1") -> str | None:
    """Take the schema back to `revision`, with the data of what goes; the revision it has then, None: nothing is left."""
    return _run(database, lambda config: alembic.command.downgrade(config, revision))


def new_revision(database: Database, message: str) -> Path | None:
    """Write the migration that leads from the database to the models; None, and no file, if they agree."""
    if not differences(database):
        return None
    number = f"{len(_revisions()) + 1:04d}"
    _run(
        database,
        lambda config: alembic.command.revision(config, message, autogenerate=True, rev_id=number),
    )
    return next(_FOLDER.glob(f"versions/v{number}_*.py"))


def has_revisions() -> bool:
    """Whether there is any migration."""
    return bool(_revisions())


def differences(database: Database) -> list[Any]:
    """What a migration would have to change for the database to agree with the models."""
    with _connected(database) as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        return list(compare_metadata(context, Base.metadata))


def require_current(database: Database) -> None:
    """`StorageError` unless the database has the schema that this program was written for."""
    with _connected(database) as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    wanted = ScriptDirectory(str(_FOLDER)).get_current_head()
    if found == wanted:
        return
    if found is not None and found not in _revisions():
        raise StorageError(
            f"{database} has schema {found}, which is newer than this program ({wanted}). Nothing was done; "
            "install the newer program."
        )
    raise StorageError(
        f"{database} has {f'schema {found}' if found else 'no schema yet'}, this program needs {wanted}. "
        "Nothing was done; run 'payments-pipeline oltp upgrade'."
    )


def _revisions() -> set[str]:
    return {script.revision for script in ScriptDirectory(str(_FOLDER)).walk_revisions()}


def _run(database: Database, command: Callable[[Config], object]) -> str | None:
    with _connected(database) as connection:
        config = Config(cmd_opts=argparse.Namespace(quiet=True))
        config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
        config.set_main_option("file_template", "v%%(rev)s_%%(slug)s")
        config.attributes["connection"] = connection
        try:
            command(config)
        except alembic.util.CommandError as error:
            raise UsageError(f"{error}. The schema is as it was.") from error
        connection.commit()
        return MigrationContext.configure(connection).get_current_revision()


@contextmanager
def _connected(database: Database) -> Iterator[sqlalchemy.Connection]:
    engine = database.engine()
    with storage_errors(database):
        try:
            with engine.connect() as connection:
                yield connection
        except sqlalchemy.exc.DBAPIError as error:
            if isinstance(error.orig, psycopg.Error):
                raise error.orig from error
            raise
        finally:
            engine.dispose()
