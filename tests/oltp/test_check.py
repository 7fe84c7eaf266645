"""The comparison of the tables with their source finds whatever is not equal, and only that."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from payments_pipeline.oltp.check import TableCheck, check
from payments_pipeline.oltp.database import Database
from payments_pipeline.oltp.files import JsonFiles
from payments_pipeline.oltp.from_lake import lake_source
from payments_pipeline.oltp.ingest import ingest, stage
from payments_pipeline.oltp.stage import Rejects
from payments_pipeline.oltp.tables import TABLES, content_columns
from tests.e2e.harness import Account, command_in, settings_for
from tests.oltp.objects import load, write_all

Checking = Callable[[], dict[str, TableCheck]]


@pytest.fixture
def checking(connection: psycopg.Connection, files: Path, small: Account) -> Checking:
    """The tables are filled from files; compares them again."""
    load(connection, write_all(files, small.truth()))

    def compare() -> dict[str, TableCheck]:
        staged = stage(connection, lambda: JsonFiles.of_folder(files), Rejects(files / "rejects"))
        return {line.table: line for line in check(connection, staged)}

    return compare


def test_equal_tables_pass(checking: Checking, small: Account) -> None:
    """Every table has as many objects as its source, no column differs, both sides have the same hashes."""
    found = checking()
    assert {table: line.source_rows for table, line in found.items()} == {
        table: len(objects) for table, objects in small.truth().items() if table in TABLES
    }
    assert all(line.passed for line in found.values())
    assert all(each.source_hash == each.table_hash for line in found.values() for each in line.columns)


def test_hashes_tell_columns_apart(checking: Checking) -> None:
    """The hash of a column depends on its values: those of charges are not all the same."""
    hashes = {each.column: each.source_hash for each in checking()["charges"].columns}
    assert len({hashes["amount"], hashes["status"], hashes["raw"], hashes["currency"]}) == 4


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ("amount = amount + 1", "amount"),
        ("status = 'pending'", "status"),
        ("metadata = '{\"a\": 1}'", "metadata"),
        ("created_at = created_at + interval '1 second'", "created_at"),
        ("captured = not captured", "captured"),
        ("invoice_id = null", "invoice_id"),
        ("raw = jsonb_set(raw, '{amount}', '1')", "raw"),
        ("deletion_observed_at = observed_at", "deleted"),
    ],
)
def test_one_changed_value_is_found(
    checking: Checking, connection: psycopg.Connection, change: str, column: str
) -> None:
    """One cent, one second, one letter in one row: that table fails, with that column and that row."""
    target = "(select min(id) from charges where invoice_id is not null)"
    expected = connection.execute(f"select {target}".encode()).fetchone()
    connection.execute(f"update charges set {change} where id = {target}".encode())
    found = checking()
    assert [table for table, line in found.items() if not line.passed] == ["charges"]
    line = found["charges"]
    assert (line.different, line.different_rows, line.missing, line.extra) == ((column,), 1, 0, 0)
    assert (line.example,) == expected


def test_values_swapped_between_rows_are_found(checking: Checking, connection: psycopg.Connection) -> None:
    """The sum of a column stays the same, its hash does not."""
    connection.execute(
        b"""
        update charges set amount = other.amount from charges as other
        where (charges.id, other.id) in (
            select min(id), max(id) from charges union all select max(id), min(id) from charges
        )
        """
    )
    [amount] = [each for each in checking()["charges"].columns if each.column == "amount"]
    assert amount.different == 2
    assert amount.source_hash != amount.table_hash


def test_a_missing_row_is_found(checking: Checking, connection: psycopg.Connection) -> None:
    """A row that was deleted by hand is missing; one that became a stub is missing, too, and counted as a stub."""
    connection.execute(b"delete from invoice_payments where id = (select min(id) from invoice_payments)")
    connection.execute(
        b"update prices set observed_at = null where id = (select min(id) from prices where not deleted)"
    )
    found = checking()
    assert (found["invoice_payments"].missing, found["prices"].missing, found["prices"].stubs) == (1, 1, 1)
    assert not found["invoice_payments"].passed


def test_an_extra_row_is_found(checking: Checking, connection: psycopg.Connection) -> None:
    """A row of no object of the source fails the check, unless it is marked as deleted or a stub."""
    add = "insert into products (id, created_at, raw, name, active, observed_at) values ('prod_0', now(), '{}', '', true, now())"
    connection.execute(add.encode())
    line = checking()["products"]
    assert (line.extra, line.missing, line.passed, line.example) == (1, 0, False, "prod_0")
    connection.execute(b"update products set deletion_observed_at = observed_at where id = 'prod_0'")
    assert checking()["products"].passed
    connection.execute(b"insert into products (id) values ('prod_1')")
    line = checking()["products"]
    assert (line.stubs, line.passed) == (1, True)


def test_the_check_changes_nothing(checking: Checking, connection: psycopg.Connection) -> None:
    """It may run on a database that others only read."""
    question = "select xmin, xmax, ctid, id from charges order by id"
    before = connection.execute(question.encode()).fetchall()
    checking()
    assert connection.execute(question.encode()).fetchall() == before


def test_i16_postgres_equals_one_published_snapshot(
    connection: psycopg.Connection, files: Path, loaded: Path
) -> None:
    """After an ingest from the lake the check finds every table equal to what one run published, and names the run."""
    rejects = Rejects(files / "rejects")
    with lake_source(settings_for(loaded), tuple(TABLES)) as factory:
        ingest(connection, factory, rejects, max_share=0)
        staged = stage(connection, factory, rejects)
        found = check(connection, staged)
    assert staged.source == "lake, as published by first"
    assert len(found) == len(TABLES)
    assert all(line.passed and line.stubs == 0 for line in found)


def test_the_command_says_what_differs(
    checking: Checking, database: Database, connection: psycopg.Connection, files: Path
) -> None:
    """Exit code 0 and ✅ for equal tables; 1, ❌, a row and a column for a cent too much, on a terminal and as JSON."""
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    command = command_in(files / "home", DATABASE_URL=url)
    arguments = ("oltp", "check", "--json-dir", str(files))
    assert command.ok(*arguments).stdout.count("✅") == len(TABLES)
    connection.execute(b"update charges set amount = amount + 1 where id = (select min(id) from charges)")
    done = command(*arguments)
    assert (done.returncode, done.stdout.count("❌")) == (1, 1)
    assert "different: amount\n" in done.stdout
    done = command(*arguments, "--json")
    found = {line["table"]: line["passed"] for line in json.loads(done.stdout)["tables"]}
    assert (done.returncode, found) == (1, {name: name != "charges" for name in TABLES})


def test_every_column_is_compared(checking: Checking) -> None:
    """No column of the objects is left out."""
    for name, line in checking().items():
        expected = {column.name for column in content_columns(TABLES[name])} - {"id"} | {"deleted"}
        assert {each.column for each in line.columns} == expected
