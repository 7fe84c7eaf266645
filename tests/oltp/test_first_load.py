"""The quick way into tables that are mostly empty: nothing but the time it takes may differ."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from tests.oltp.objects import SOME_TIME, charge, customer, load, rows, write, write_all

MANY = 10_500
"""So many objects of one table are worth the quick way."""


def test_a_large_first_load_keeps_every_constraint(connection: psycopg.Connection, files: Path) -> None:
    """References and indexes that are taken off for speed are back afterwards, the same as before."""
    catalogue = (
        b"select conname, pg_get_constraintdef(oid), convalidated from pg_constraint "
        b"where connamespace = 'public'::regnamespace "
        b"union all select indexrelid::regclass::name, pg_get_indexdef(indexrelid), indisclustered "
        b"from pg_index join pg_class on pg_class.oid = indrelid "
        b"where relnamespace = 'public'::regnamespace order by 1, 2"
    )
    before = connection.execute(catalogue).fetchall()
    write(files / "charges.json", [charge(number, customer=f"cus_{number % 7}") for number in range(10_001)])
    _, merged = load(connection, files, ["charges"])
    assert merged["charges"].inserted == 10_001
    assert merged["customers"].stubs == 7
    assert connection.execute(catalogue).fetchall() == before
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        connection.execute(b"update charges set customer_id = 'cus_nobody' where id = 'ch_1'")


def test_of_many_references_those_that_lead_nowhere_get_stubs(
    connection: psycopg.Connection, files: Path
) -> None:
    """Parents are loaded with their children, or were there before, or are missing: only the last become stubs."""
    write(files / "customers.json", [customer(number) for number in range(100)])
    load(connection, files, ["customers"])
    objects = {
        "customers": {f"cus_{number}": customer(number) for number in range(100, MANY + 100)},
        "charges": {
            f"ch_{n}": charge(n, customer=f"cus_{n * 2}", payment_intent="pi_1") for n in range(MANY)
        },
    }
    _, merged = load(connection, write_all(files, objects))
    assert merged["customers"].inserted == MANY
    assert {line.table: line.stubs for line in merged.values() if line.stubs} == {
        "customers": (MANY - 100) // 2,
        "payment_intents": 1,
    }
    stubs = [key for key, is_stub in rows(connection, "customers", "id, is_stub") if is_stub]
    assert sorted(stubs) == sorted(f"cus_{number}" for number in range(MANY + 100, 2 * MANY, 2))


def test_of_many_objects_the_last_state_of_each_counts(connection: psycopg.Connection, files: Path) -> None:
    """A first file that holds an object twice, and a deletion of another."""
    gone = {"id": "cus_7", "object": "customer", "deleted": True}
    found = [*(customer(number, name="old") for number in range(MANY)), customer(5, name="new"), gone]
    write(files / "customers.json", found)
    load(connection, files, ["customers"])
    assert connection.execute(
        "select count(*), count(*) filter (where name = 'new'), count(*) filter (where deleted) from customers"
    ).fetchone() == (MANY, 1, 1)


def test_a_server_of_ones_own_writes_rows_once(connection: psycopg.Connection, files: Path) -> None:
    """What a first load writes to the table is not written to the log besides."""
    padding = {str(number): f"{number * SOME_TIME:x}" for number in range(20)}
    write(files / "charges.json", [charge(number, metadata=padding) for number in range(MANY)])
    before = connection.execute("select pg_current_wal_insert_lsn()").fetchone()
    load(connection, files, ["charges"])
    logged, held = connection.execute(
        "select pg_current_wal_insert_lsn() - %s::pg_lsn, pg_table_size('charges')", before
    ).fetchone() or (0, 0)
    assert logged < held / 4
    assert len(rows(connection, "charges", "id")) == MANY


def test_many_links_lead_charges_that_are_there_to_invoices_that_are_not(
    connection: psycopg.Connection, files: Path
) -> None:
    """A first load of invoice payments alone: the invoices become stubs, and the charges of before refer to them."""
    write(files / "charges.json", [charge(number, payment_intent=f"pi_{number}") for number in range(3)])
    load(connection, files, ["charges"])
    payments = [
        {
            "id": f"inpay_{number}",
            "object": "invoice_payment",
            "created": SOME_TIME,
            "invoice": f"in_{number}",
            "status": "paid",
            "payment": {"type": "payment_intent", "payment_intent": f"pi_{number}"},
        }
        for number in range(MANY)
    ]
    write(files / "invoice_payments.json", payments)
    _, merged = load(connection, files, ["invoice_payments"])
    assert merged["invoices"].stubs == MANY
    assert rows(connection, "charges", "invoice_id") == [("in_0",), ("in_1",), ("in_2",)]
