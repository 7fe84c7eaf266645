"""The migrations make the schema that the models describe, and take it away again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from payments_pipeline.errors import StorageError, UsageError
from payments_pipeline.oltp import migrate
from payments_pipeline.oltp.database import Database
from payments_pipeline.oltp.tables import Base
from tests.e2e.harness import CHECKOUT, command_in

_CATALOGUE = """
select table_name || '.' || column_name, concat_ws(' ', data_type, is_nullable, column_default, generation_expression)
from information_schema.columns where table_schema = 'public' and table_name <> 'alembic_version'
union all
select conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
from pg_constraint where connamespace = 'public'::regnamespace and conrelid::regclass::text <> 'alembic_version'
union all
select indexname, indexdef from pg_indexes where schemaname = 'public' and tablename <> 'alembic_version'
order by 1, 2
"""


@pytest.fixture
def bare(template: Database) -> Iterator[Database]:
    """A database without a schema."""
    found = template.named("bare")
    with template.named("postgres").connect() as connection:
        connection.execute("create database bare")
        yield found
        connection.execute("drop database bare with (force)")


def _catalogue(database: Database) -> list[tuple[Any, ...]]:
    with database.connect() as connection:
        return connection.execute(_CATALOGUE.encode()).fetchall()


def test_migrations_and_models_agree(database: Database, bare: Database) -> None:
    """Columns, types, checks, generated columns, references and indexes: the catalogue says the same of both."""
    assert migrate.differences(database) == []
    engine = bare.engine()
    Base.metadata.create_all(engine)
    engine.dispose()
    assert _catalogue(bare) == _catalogue(database) != []


def test_a_difference_would_be_found(database: Database) -> None:
    """The comparison can fail: a column too few is seen."""
    with database.connect() as connection:
        connection.execute("alter table charges drop column description")
    assert migrate.differences(database) != []


def test_down_and_up_again_is_the_same_schema(database: Database) -> None:
    """Every migration can be undone, and nothing is left behind."""
    before = _catalogue(database)
    assert migrate.downgrade(database, "base") is None
    assert _catalogue(database) == []
    assert migrate.upgrade(database) is not None
    assert _catalogue(database) == before


@pytest.mark.parametrize(
    ("arguments", "file"), [((), "docs/schema_er.mmd"), (("--svg",), "docs/schema_er.svg")]
)
def test_the_drawn_schema_is_that_of_the_models(
    tmp_path: Path, arguments: tuple[str, ...], file: str
) -> None:
    """The diagram in the documentation is what `oltp diagram` prints now."""
    printed = command_in(tmp_path).ok("oltp", "diagram", *arguments).stdout
    assert printed == (CHECKOUT / file).read_text(encoding="utf-8")
    for table in Base.metadata.tables:
        assert table in printed


def test_where_models_and_database_agree_no_migration_is_written(database: Database) -> None:
    """`migrate` is safe to type twice."""
    assert migrate.has_revisions()
    assert migrate.new_revision(database, "nothing") is None


def test_j9_another_schema_stops_the_loader(bare: Database, database: Database) -> None:
    """No schema, and one that a newer program made: each is told apart, and what to do."""
    with pytest.raises(StorageError, match="oltp upgrade"):
        migrate.require_current(bare)
    with database.connect() as connection:
        connection.execute("update alembic_version set version_num = '9999'")
    with pytest.raises(StorageError, match="newer"):
        migrate.require_current(database)


def test_an_unknown_revision_is_refused(database: Database) -> None:
    """A slip of the pen changes nothing."""
    with pytest.raises(UsageError, match="nope"):
        migrate.upgrade(database, "nope")
