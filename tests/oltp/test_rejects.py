"""What cannot be loaded: wrong files are refused whole, records that cannot be rows are kept beside."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest

from payments_pipeline.errors import QualityError, UsageError
from tests.oltp.objects import charge, contents, customer, load, rows, write


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[\n{"id": "cus_1", "object": "customer", "created": 5},\n{"id": ', "line 3: the file ends"),
        ("", "line 1: the file ends"),
        ('{"id": "ch_1"}', "line 1"),
        ('[{"id": "price_1", "object": "price", "created": 5}]', "line 1 holds an object of type 'price'"),
        ("[1]", "line 1: something that is no object"),
        ("[] []", "goes on after the end"),
    ],
)
def test_a_wrong_file_is_refused_whole(
    connection: psycopg.Connection, files: Path, text: str, told: str
) -> None:
    """Half a file, another JSON value or objects of another type: told with file and line, and nothing is written."""
    write(files / "customers.json", [customer(7)])
    load(connection, files, ["customers"])
    before = contents(connection)
    (files / "customers.json").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=r"customers\.json") as caught:
        load(connection, files, ["customers"])
    assert told in str(caught.value)
    assert contents(connection) == before


HOSTILE = [
    '{"id": "ch_x", "object": "charge", "created": 5, "amount": 1.5, "currency": "usd", "status": "x"}',
    '{"id": "ch_x", "object": "charge", "created": 5, "amount": "12", "currency": "usd", "status": "x"}',
    '{"id": "ch_x", "object": "charge", "created": 5, "amount": 9223372036854775808, "currency": "usd", "status": "x"}',
    '{"id": "ch_x", "object": "charge", "created": 1e300, "amount": 1, "currency": "usd", "status": "x"}',
    '{"id": "ch_x", "object": "charge", "created": 5, "amount": 1, "currency": "usd"}',
    '{"id": "", "object": "charge", "created": 5, "amount": 1, "currency": "usd", "status": "x"}',
    '{"object": "charge", "created": 5, "amount": 1, "currency": "usd", "status": "x"}',
    '{"id": "ch_x", "object": "charge", "created": 5, "amount": NaN, "currency": "usd", "status": "x"}',
    '{"id": "ch_x", "object": "charge", "created": 5, "amount": 1, "currency": "usd", "status": "x", "n": "a\\u0000"}',
    '{"id": "ch_x", "object": "charge", "created": 5, "amount": 1, "currency": "usd", "status": "x", "n": "\\ud800"}',
    '{"id": "ch_x", "object": "charge", "created": 5, "amount": 1, "currency": "usd", "status": "x", "n": 1e200000}',
    '{"id": "ch_x", "object": "charge", "created": 5, "amount": 1, "currency": "usd", "status": "x", "n": 1e-99999}',
    '{"id": "ch_x", "object": "charge", "created": 5, "amount": 1, "currency": "usd", "status": "x", "n": '
    + "[" * 100_000
    + "]" * 100_000
    + "}",
]


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_j7_a_record_that_cannot_be_a_row_is_quarantined(
    connection: psycopg.Connection, files: Path, hostile: str
) -> None:
    """It is kept with file, line and reason; the other objects are loaded."""
    lines = [json.dumps(charge(1)), hostile, json.dumps(charge(2))]
    (files / "charges.json").write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
    load(connection, files, ["charges"], max_share=0.5)
    assert rows(connection, "charges", "id") == [("ch_1",), ("ch_2",)]
    [kept] = [json.loads(line) for line in (files / "quarantine.jsonl").read_text("utf-8").splitlines()]
    assert kept["place"].endswith("charges.json, line 3")
    assert kept["reason"]


def test_too_many_bad_records_stop_the_load(connection: psycopg.Connection, files: Path) -> None:
    """One in three is more than is tolerated: the database stays as it was."""
    lines = [json.dumps(charge(1)), HOSTILE[0], json.dumps(charge(2))]
    (files / "charges.json").write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
    with pytest.raises(QualityError, match="1 of 3 objects"):
        load(connection, files, ["charges"])
    assert rows(connection, "charges") == []
