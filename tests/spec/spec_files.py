"""Read specifications: what a model makes of given rows, written as tables in Markdown.

A file `<layer>/<model>.md` holds cases. A case is a `## ` heading, prose, and blocks: a line `given silver.charges`
or `expect` followed by a table, or by a fenced ```json list of objects. In a table an empty cell is NULL. A table
whose first column is called `column` stands on its side: one line per column, one column per row. `expect nothing`
needs no table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SPEC_ROOT = Path(__file__).parent

_BLOCK = re.compile(
    r"^(?P<what>given [\w.]+|expect nothing|expect)[ ]*\n+"
    r"(?:```json\n(?P<json>.*?)^```$|(?P<table>(?:^\|[^\n]*\n?)+))?",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells by column name; a cell is text or None for NULL."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | None, ...], ...]


@dataclass(frozen=True, slots=True)
class Case:
    """One worked example: relations given (as a table or as JSON text), and the rows expected of `model`."""

    model: str
    title: str
    given: tuple[tuple[str, Table | str], ...]
    expect: Table | None


def read_cases(root: Path) -> list[Case]:
    """Every case under `root`, in file order."""
    return [case for path in sorted(root.glob("*/*.md")) for case in _cases_of(path)]


def _cases_of(path: Path) -> Iterator[Case]:
    model = f"{path.parent.name}.{path.stem}"
    for section in re.split(r"^## ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        blocks = list(_BLOCK.finditer(body + "\n"))
        expectations = [block for block in blocks if block["what"].startswith("expect")]
        assert len(expectations) == 1, f"{path}: {title}: needs exactly one expect"
        given = tuple(
            (
                block["what"].removeprefix("given "),
                block["json"] or _table(block["table"], where=f"{path}: {title}"),
            )
            for block in blocks
            if block["what"].startswith("given")
        )
        nothing = expectations[0]["what"] == "expect nothing"
        expect = None if nothing else _table(expectations[0]["table"], where=f"{path}: {title}")
        yield Case(model, title.strip(), given, expect)


def _table(text: str | None, where: str) -> Table:
    assert text, f"{where}: a block without table"
    lines = [
        [cell.strip() for cell in line.strip().strip("|").split("|")] for line in text.strip().splitlines()
    ]
    header, rows = lines[0], [[cell or None for cell in line] for line in lines[2:]]
    assert all(len(row) == len(header) for row in rows), (
        f"{where}: a row with too few or too many cells: {text}"
    )
    if header[0] == "column":
        sides = list(zip(*rows, strict=True))
        header, rows = [name or "" for name in sides[0]], [list(side) for side in sides[1:]]
    return Table(tuple(header), tuple(tuple(row) for row in rows))
