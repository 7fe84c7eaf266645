"""Compares a published lake with the simulated account it was filled from, object by object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC
from pathlib import Path
from typing import Any

from tests.e2e.harness import read_parquet
from tests.e2e.oracle import FIELDS, INVOICE_LINE, KEYS, Truth, expected, expected_lines, json_columns, seen

History = Mapping[int, Truth]
"""The account's truth at every second (Unix) at which a run looked at it."""

Row = dict[str, Any]


def differences(lake: Path, history: History) -> list[str]:
    """Every way in which silver is not the account's truth as of each object's last observation; none is right."""
    rows = {entity: read_parquet(lake, f"silver.{entity}") for entity in FIELDS}
    found = [text for entity in FIELDS for text in _wrong_rows(entity, rows[entity], history)]
    found += [text for entity in FIELDS for text in _missing(entity, rows[entity], history[max(history)])]
    return found + list(_wrong_lines(rows["invoices"], read_parquet(lake, "silver.invoice_lines"), history))


def stale(lake: Path, history: History) -> list[str]:
    """Every way in which an object that the lake holds is not what it is now, at the last second of `history`."""
    seconds = {_second(row) for entity in FIELDS for row in read_parquet(lake, f"silver.{entity}")}
    today = history[max(history)]
    # Earlier states, under seconds when nothing was observed, still tell what a deleted object once was.
    earlier = {-second: truth for second, truth in history.items()}
    found = differences(lake, {**dict.fromkeys(seconds, today), **earlier})
    return [text for text in found if not text.endswith(": missing")]


def observed(row: Row, history: History) -> Truth:
    """The truth at the second when the row was last observed."""
    return history[_second(row)]


def _second(row: Row) -> int:
    return int(row["_observed_at"].replace(tzinfo=UTC).timestamp())


def _wrong_rows(entity: str, rows: list[Row], history: History) -> Iterator[str]:
    ids = [row[KEYS[entity]] for row in rows]
    if len(ids) != len(set(ids)):
        yield f"{entity}: an id occurs twice"
    for row in rows:
        truth = observed(row, history)[entity].get(row[KEYS[entity]])
        if truth is None:
            yield f"{entity} {row[KEYS[entity]]}: never existed"
        elif row["is_deleted"] != ("deleted" in truth):
            yield f"{entity} {row[KEYS[entity]]}: is_deleted is {row['is_deleted']}"
        elif "deleted" not in truth:
            yield from _unequal(f"{entity} {row[KEYS[entity]]}", expected(entity, truth), row, FIELDS[entity])
        elif row["created_at"] is not None and not _was_once(entity, row, history):
            yield f"{entity} {row[KEYS[entity]]}: deleted, and shows a state that it never had"


def _unequal(what: str, wanted: Row, row: Row, fields: Mapping[str, Any]) -> Iterator[str]:
    found = seen(row, wanted, json_columns(fields))
    for column, value in wanted.items():
        if found[column] != value or isinstance(found[column], bool) != isinstance(value, bool):
            yield f"{what}: {column} is {found[column]!r}, not {value!r}"


def _was_once(entity: str, row: Row, history: History) -> bool:
    states = (truth[entity].get(row[KEYS[entity]]) for truth in history.values())
    return any(
        not list(_unequal("", expected(entity, state), row, FIELDS[entity]))
        for state in states
        if state is not None and "deleted" not in state
    )


def _missing(entity: str, rows: list[Row], truth: Truth) -> Iterator[str]:
    """Every living object must be there; what is deleted can be known only where something refers to it."""
    held = {row[KEYS[entity]] for row in rows}
    living = {id for id, obj in truth[entity].items() if "deleted" not in obj}
    yield from (f"{entity} {id}: missing" for id in sorted(living - held))


def _wrong_lines(invoices: list[Row], lines: list[Row], history: History) -> Iterator[str]:
    wanted = [
        line
        for row in invoices
        if "deleted" not in (invoice := observed(row, history)["invoices"][row["invoice_id"]])
        for line in expected_lines(invoice)
    ]
    found = {row["invoice_line_id"]: row for row in lines if not row["is_deleted"]}
    if len(wanted) != len(found):
        yield f"invoice_lines: {len(found)} rows, not {len(wanted)}"
    for line in wanted:
        row = found.get(line["invoice_line_id"])
        if row is None:
            yield f"invoice_lines {line['invoice_line_id']}: missing"
        else:
            yield from _unequal(f"invoice_lines {line['invoice_line_id']}", line, row, INVOICE_LINE)
