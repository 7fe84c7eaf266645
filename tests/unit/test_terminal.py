"""Answers on a terminal: a table where it fits, records where it does not, and never half a number."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from rich.console import Console

from payments_pipeline.cli.terminal import print_answer

COLUMNS = ("revenue_date", "currency", "transaction_count", "gross_minor", "net_minor", "other_minor")
ROWS: Sequence[Sequence[object]] = [
    ("2026-11-01", "eur", 41, 16_269_123, None, 0),
    ("2026-11-02", "usd", 3, 5, -12_345_678, 0),
]


def _printed(width: int, rows: Sequence[Sequence[object]], *, terminal: bool = True) -> list[str]:
    stream = io.StringIO()
    print_answer(Console(file=stream, force_terminal=terminal, width=width, color_system=None), COLUMNS, rows)
    return [line.rstrip() for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize("width", [30, 80, 120])
def test_no_value_is_broken_and_no_column_left_out(width: int) -> None:
    """At every width each name and each number stands in one piece."""
    words = " ".join(_printed(width, ROWS)).split()
    assert {*COLUMNS, "2026-11-01", "16269123", "-12345678"} <= set(words)


def test_what_fits_is_a_table() -> None:
    """A line for each row."""
    assert len(_printed(120, ROWS)) == 4 + len(ROWS)


def test_what_does_not_fit_is_a_record_for_each_row() -> None:
    """The column at the left, its value at the right, nothing for NULL."""
    lines = _printed(60, ROWS)
    assert len(lines) == len(ROWS) * (1 + len(COLUMNS))
    assert lines[1].split() == ["revenue_date", "2026-11-01"]
    assert lines[5].split() == ["net_minor"]


def test_columns_are_named_without_rows_too() -> None:
    """An answer of no rows says so."""
    assert " ".join(_printed(40, [])) == f"no rows of {', '.join(COLUMNS)}"


def test_a_pipe_gets_a_table_however_wide() -> None:
    """Whoever reads lines gets what they got on a wider terminal."""
    assert _printed(60, ROWS, terminal=False)[0].startswith("┏")
