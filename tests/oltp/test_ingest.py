"""Objects in, rows out: newer over older, stubs for what is missing, all or nothing."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Iterable
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from payments_pipeline.oltp.database import Database
from payments_pipeline.oltp.from_api import api_source
from payments_pipeline.oltp.from_lake import lake_source
from payments_pipeline.oltp.ingest import ingest
from payments_pipeline.oltp.stage import Rejects
from payments_pipeline.oltp.tables import TABLES
from tests.e2e.harness import Account, settings_for
from tests.oltp.objects import SOME_TIME, Object, charge, contents, customer, load, rows, write, write_all


def test_a_charge_becomes_a_row(connection: psycopg.Connection, files: Path) -> None:
    """Every column holds what the object says at its place: nested, expanded and of the older shape."""
    full = charge(
        customer={"id": "cus_1", "object": "customer"},
        payment_intent="pi_1",
        invoice="in_1",
        captured=True,
        outcome={"type": "authorized", "risk_level": "normal"},
        payment_method_details={
            "type": "card",
            "card": {"brand": "visa", "funding": "debit", "last4": "4242"},
        },
        metadata={"order": "7"},
    )
    write(files / "charges.json", [full])
    load(connection, files, ["charges"])
    columns = (
        "id, created_at, customer_id, payment_intent_id, invoice_id, amount, captured, outcome_type, risk_level, "
        "card_brand, card_funding, card_last4, metadata, raw, observed_at, deleted, is_stub"
    )
    assert rows(connection, "charges", columns) == [
        (
            "ch_1",
            datetime.fromtimestamp(SOME_TIME + 1, UTC),
            *("cus_1", "pi_1", "in_1", 1001, True, "authorized", "normal", "visa", "debit", "4242"),
            *({"order": "7"}, full, datetime.fromtimestamp(SOME_TIME, UTC), False, False),
        )
    ]


def test_every_object_of_an_account_becomes_a_row(
    connection: psycopg.Connection, files: Path, small: Account
) -> None:
    """Each living object is in its table as it was received, each deleted one is marked, and no stub is left."""
    truth = small.truth()
    load(connection, write_all(files, truth))
    for table in TABLES:
        found = {row[0]: row[1:] for row in rows(connection, table, "id, raw, deleted, is_stub")}
        living = {key: value for key, value in truth[table].items() if not value.get("deleted")}
        assert {key: row[0] for key, row in found.items() if not row[1]} == living
        assert {key for key, row in found.items() if row[1]} == truth[table].keys() - living.keys()


def test_three_sources_give_the_same_tables(
    database: Database, files: Path, small: Account, loaded: Path
) -> None:
    """Files, the API and the lake fill the tables alike; of deleted objects the API tells only what others refer to."""
    truth = small.truth()
    tables = tuple(TABLES)
    rejects = Rejects(files / "rejects")
    found = []
    with database.connect() as connection:
        for source in (
            api_source(settings_for(files, small), tables),
            lake_source(settings_for(loaded), tables),
        ):
            connection.execute(f"truncate {', '.join(TABLES)}".encode())
            with source as factory:
                ingest(connection, factory, rejects, max_share=0)
            found.append(_living(contents(connection)))
        connection.execute(f"truncate {', '.join(TABLES)}".encode())
        load(connection, write_all(files, truth))
        found.append(_living(contents(connection)))
    for table in TABLES:
        living, deleted = zip(*(each[table] for each in found), strict=True)
        assert living[0] == living[1] == living[2], table
        assert set(deleted[0]) <= set(deleted[1]) == set(deleted[2]), table
    assert found[0]["charges"][0]


def _living(tables: dict[str, list[tuple[Any, ...]]]) -> dict[str, Any]:
    """The rows but for those of deleted objects, of which only the ids."""
    return {
        table: ([row for row in found if not row[-2]], sorted(row[0] for row in found if row[-2]))
        for table, found in tables.items()
    }


def test_a_charge_finds_its_invoice(connection: psycopg.Connection, files: Path, small: Account) -> None:
    """In the current API only invoice payments lead from a charge to its invoice, by its intent or directly."""
    truth = small.truth()
    load(connection, write_all(files, truth))
    by_intent = {
        payment["payment"]["payment_intent"]: payment["invoice"]
        for payment in truth["invoice_payments"].values()
        if payment["payment"]["type"] == "payment_intent"
    }
    expected = {key: by_intent.get(value["payment_intent"]) for key, value in truth["charges"].items()}
    assert dict(rows(connection, "charges", "id, invoice_id")) == expected
    assert any(expected.values())


def test_a_link_that_comes_later_is_found(connection: psycopg.Connection, files: Path) -> None:
    """An invoice payment that is loaded after its charge still leads to the invoice."""
    write(files / "charges.json", [charge(payment_intent="pi_1")])
    load(connection, files, ["charges"])
    payment = {
        "id": "inpay_1",
        "object": "invoice_payment",
        "created": SOME_TIME,
        "invoice": "in_1",
        "status": "paid",
        "payment": {"type": "payment_intent", "payment_intent": "pi_1"},
    }
    write(files / "invoice_payments.json", [payment])
    load(connection, files, ["invoice_payments"])
    assert rows(connection, "charges", "invoice_id") == [("in_1",)]


def test_loading_again_writes_nothing(connection: psycopg.Connection, files: Path, small: Account) -> None:
    """The same objects, observed later, change no row."""
    load(connection, write_all(files, small.truth()))
    before = {table: rows(connection, table, "xmin, xmax, *") for table in TABLES}
    _, merged = load(connection, write_all(files, small.truth(), at=SOME_TIME + 60))
    assert all(
        (line.inserted, line.updated, line.marked, line.stubs) == (0, 0, 0, 0) for line in merged.values()
    )
    assert {table: rows(connection, table, "xmin, xmax, *") for table in TABLES} == before


def test_one_changed_row_in_a_hundred_is_one_write_in_a_hundred(
    connection: psycopg.Connection, files: Path
) -> None:
    """Only what differs is written, and not even a lock is taken on the rest."""
    objects = [charge(number) for number in range(500)]
    write(files / "charges.json", objects)
    load(connection, files, ["charges"])
    before = dict(rows(connection, "charges", "id, (xmin, xmax, ctid)::text"))
    for each in objects[::100]:
        each["amount"] += 1
    write(files / "charges.json", objects, at=SOME_TIME + 1)
    _, merged = load(connection, files, ["charges"])
    after = dict(rows(connection, "charges", "id, (xmin, xmax, ctid)::text"))
    assert merged["charges"].updated == 5
    assert {key for key in before if before[key] != after[key]} == {each["id"] for each in objects[::100]}


def test_older_data_never_overwrites_newer(connection: psycopg.Connection, files: Path) -> None:
    """A state that was observed before the one in the table is passed over, and counted."""
    write(files / "charges.json", [charge(status="succeeded")], at=SOME_TIME + 10)
    load(connection, files, ["charges"])
    write(files / "charges.json", [charge(status="pending")], at=SOME_TIME)
    _, merged = load(connection, files, ["charges"])
    assert (merged["charges"].older, merged["charges"].updated) == (1, 0)
    assert rows(connection, "charges", "status") == [("succeeded",)]


def test_a_missing_parent_is_a_stub_until_it_comes(connection: psycopg.Connection, files: Path) -> None:
    """A charge without its customer is kept; the customer fills the row, however old its state is."""
    write(files / "charges.json", [charge(customer="cus_1")], at=SOME_TIME + 10)
    _, merged = load(connection, files, ["charges"])
    assert merged["customers"].stubs == 1
    assert rows(connection, "customers", "id, is_stub, email") == [("cus_1", True, None)]
    write(files / "customers.json", [customer(email="one@example.com")])
    load(connection, files, ["customers"])
    assert rows(connection, "customers", "id, is_stub, email") == [("cus_1", False, "one@example.com")]


def test_a_deleted_customer_is_kept(connection: psycopg.Connection, files: Path) -> None:
    """The mark of deletion changes nothing else of the row."""
    write(files / "customers.json", [customer(email="one@example.com")])
    load(connection, files, ["customers"])
    write(
        files / "customers.json", [{"id": "cus_1", "object": "customer", "deleted": True}], at=SOME_TIME + 1
    )
    load(connection, files, ["customers"])
    assert rows(connection, "customers", "email, deleted, is_stub") == [("one@example.com", True, False)]


def test_any_order_of_loads_ends_in_the_same_rows(connection: psycopg.Connection, files: Path) -> None:
    """Two states, a deletion and a charge of a customer: whatever comes first, the end is the same."""
    steps = [
        ("customers", customer(email="old@example.com"), SOME_TIME),
        ("customers", customer(email="new@example.com"), SOME_TIME + 1),
        ("customers", {"id": "cus_1", "object": "customer", "deleted": True}, SOME_TIME + 2),
        ("charges", charge(customer="cus_1"), SOME_TIME),
    ]
    ends = []
    for order in itertools.permutations(steps):
        connection.execute(b"truncate customers, charges cascade")
        for table, found, at in order:
            write(files / f"{table}.json", [found], at=at)
            load(connection, files, [table])
        ends.append(contents(connection))
    assert all(end == ends[0] for end in ends)
    assert ends[0]["customers"][0][-2:] == (True, False)


def _end_of(connection: psycopg.Connection, files: Path, states: Iterable[tuple[int, Object]]) -> Any:
    """Load these states of one customer, one after the other, each with its second; the customer's row then."""
    for second, state in states:
        write(files / "customers.json", [state], at=SOME_TIME + second)
        load(connection, files, ["customers"])
    return rows(connection, "customers", "email, deleted, is_stub")[0]


@pytest.mark.parametrize(
    "between",
    [customer(email="other@example.com"), {"id": "cus_1", "object": "customer", "deleted": True}],
    ids=["changed", "gone"],
)
def test_a_state_that_comes_back_counts_from_its_last_load(
    connection: psycopg.Connection, files: Path, between: Object
) -> None:
    """An object is as it was, something else, as it was again: every order ends in the last state, but for one.

    If the same state was loaded twice before the one between, nothing was written for the second, so its time is not
    known: the one between counts until the newest source is loaded once more.
    """
    first, last = (1, customer(email="same@example.com")), (3, customer(email="same@example.com"))
    middle, wanted = (2, between), ("same@example.com", False, False)
    for order in itertools.permutations([first, middle, last]):
        connection.execute(b"truncate customers cascade")
        end = _end_of(connection, files, order)
        assert (end == wanted) == (order != (first, last, middle)), order
        assert _end_of(connection, files, [last]) == wanted


def test_objects_of_one_file_come_in_any_order(
    connection: psycopg.Connection, files: Path, small: Account
) -> None:
    """Shuffled files give the same tables."""
    truth = small.truth()
    load(connection, write_all(files, truth))
    straight = contents(connection)
    connection.execute(f"truncate {', '.join(TABLES)}".encode())
    for table in TABLES:
        shuffled = list(truth[table].values())
        random.Random(5).shuffle(shuffled)
        write(files / f"{table}.json", shuffled)
    load(connection, files)
    assert contents(connection) == straight


def test_of_an_object_that_occurs_twice_the_last_counts(connection: psycopg.Connection, files: Path) -> None:
    """A file may hold an object twice; the later line is the newer state."""
    write(files / "charges.json", [charge(status="pending"), charge(2), charge(status="succeeded")])
    load(connection, files, ["charges"])
    assert rows(connection, "charges", "id, status") == [("ch_1", "succeeded"), ("ch_2", "succeeded")]


def test_text_of_every_kind_comes_back_as_it_went_in(connection: psycopg.Connection, files: Path) -> None:
    """Tabs, backslashes, quotes, line breaks, other scripts, and words that COPY takes for something else."""
    texts = ["\\N", "\\.", "a\tb\nc\rd", "\\\\u0000", "'\"`", "日本語 🧾 é", "", "null", " "]
    write(
        files / "customers.json",
        [customer(at, name=text, metadata={text: text}) for at, text in enumerate(texts)],
    )
    load(connection, files, ["customers"])
    assert rows(connection, "customers", "name, metadata") == [(text, {text: text}) for text in texts]


def test_j3_of_two_loaders_one_waits(database: Database, tmp_path: Path) -> None:
    """Two loaders at once, with different states of the same objects: both end well, the newer state stays."""
    folders = []
    for at in (0, 1):
        folders.append(tmp_path / str(at))
        folders[at].mkdir()
        write(
            folders[at] / "charges.json",
            [charge(n, amount=at, customer="cus_1") for n in range(300)],
            at=SOME_TIME + at,
        )
    failures: list[BaseException] = []

    def work(folder: Path) -> None:
        try:
            with database.connect() as connection:
                load(connection, folder, ["charges"])
        except psycopg.Error as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(folder,)) for folder in folders * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with database.connect() as connection:
        assert {row[0] for row in rows(connection, "charges", "amount")} == {1}


def test_j4_an_older_lake_after_a_newer_one_changes_nothing(
    connection: psycopg.Connection, files: Path, small: Account
) -> None:
    """All tables from an older state, in which every object differs: nothing is written."""
    load(connection, write_all(files, small.truth(), at=SOME_TIME + 10))
    before = contents(connection)
    older = deepcopy(small.truth())
    for each in older["charges"].values():
        each["amount"] += 1
    load(connection, write_all(files, older, at=SOME_TIME))
    assert contents(connection) == before
