"""The account of what is shown names tests that exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reliability.md"
_TEST = re.compile(r"`([a-z_0-9/]+\.py::[A-Za-z_0-9:]+)`")
_ROW = re.compile(r"^\| ([A-HJW]\d.*?) \| .* \| (.*) \|$", re.MULTILINE)
MATRIX = {"A": 10, "B": 16, "C": 17, "D": 14, "E": 25, "F": 12, "G": 8, "H": 8, "J": 9, "W": 14}
"""Rows of the fault matrix per letter."""


def test_every_test_that_is_named_exists() -> None:
    """Each test id in docs/reliability.md is one that pytest collects."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "--collect-only",
            "-q",
            "-m",
            "nightly or not nightly",
            "-p",
            "no:cacheprovider",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    collected = {line.partition("[")[0].removeprefix("tests/") for line in done.stdout.splitlines()}
    named = set(_TEST.findall(PAGE.read_text("utf-8")))
    assert len(named) > 100
    assert sorted(named - collected) == []


def test_every_row_of_the_matrix_says_what_covers_it() -> None:
    """Every fault has a row, and a row without a test says that it is not tested, or why it cannot be."""
    found = set()
    for rows, shown in _ROW.findall(PAGE.read_text("utf-8")):
        found |= {name for part in rows.split(", ") for name in _span(part)}
        assert "::" in shown or shown == "–", rows
    assert found == {f"{letter}{number}" for letter, most in MATRIX.items() for number in range(1, most + 1)}


def _span(text: str) -> list[str]:
    """`F1–F3` as its rows; `F6` as itself."""
    first, _, last = text.partition("–")
    return [f"{text[0]}{number}" for number in range(int(first[1:]), int((last or first)[1:]) + 1)]
