"""Draws the schema, from the models alone: as a Mermaid diagram with every column, and as a picture of the references."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Table

from payments_pipeline.oltp.sql import sql_type
from payments_pipeline.oltp.tables import TABLES, parents

_WIDTH, _ROW, _LANE = 218, 20, 9
_INK, _HEAD = "#1c2430", "#2f6fdb"
_COLOURS = ("#c2410c", "#7c3aed", "#15803d", "#0e7490", "#be185d", "#a16207", "#4d5866", "#1d4ed8", "#b91c1c")
_NUMBERS = {name: number for number, name in enumerate(TABLES)}
_GAP = _LANE * (len(_NUMBERS) + 1)


@dataclass(frozen=True, slots=True)
class _Box:
    """A table's place, and the lines below its name: what refers to other tables, and how much more there is."""

    table: Table
    depth: int
    y: int
    lines: tuple[str, ...]

    @property
    def x(self) -> int:
        return _gap(self.depth) + _GAP

    @property
    def height(self) -> int:
        return _ROW * (len(self.lines) + 1) + 6

    def row(self, line: int) -> int:
        """The middle of a line, -1 for the name."""
        return self.y + _ROW * (line + 1) + _ROW // 2


def mermaid() -> str:
    """An `erDiagram` of all tables, columns, keys and references."""
    lines = ["erDiagram"]
    for table in TABLES.values():
        lines.append(f"    {table.name} {{")
        for column in table.columns:
            key = " PK" if column.primary_key else " FK" if column.foreign_keys else ""
            kind = sql_type(column).lower().replace("timestamp with time zone", "timestamptz")
            lines.append(f"        {kind} {column.name}{key}")
        lines.append("    }")
    for table in TABLES.values():
        lines += [
            f'    {parent.name} |o--o{{ {table.name} : "{column.name}"' for column, parent in parents(table)
        ]
    return "\n".join(lines) + "\n"


def svg() -> str:
    """A picture of all tables and references; what refers stands to the right of what it refers to.

    Every table that is referred to has a lane above the tables and a colour; from it lines come down between them.
    """
    boxes = {box.table.name: box for box in _boxes()}
    width = max(box.x for box in boxes.values()) + _WIDTH + _GAP
    height = max(box.y + box.height for box in boxes.values()) + _LANE
    lines = [line for box in boxes.values() for line in _references(box, boxes)]
    drawn = "\n".join([*lines, *map(_drawn, boxes.values())])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" font-family="sans-serif" font-size="12">'
        f'<title>Tables and their references</title><rect width="100%" height="100%" fill="#ffffff" rx="6"/>\n'
        f"{drawn}\n</svg>\n"
    )


def _gap(depth: int) -> int:
    """Where the space to the left of a column begins."""
    return depth * (_WIDTH + _GAP)


def _boxes() -> Iterator[_Box]:
    """Tables in columns by how many references lead down from them at most."""
    depths: dict[str, int] = {}
    free: dict[int, int] = {}
    for table in TABLES.values():
        known = [depths[parent.name] + 1 for _, parent in parents(table) if parent.name in depths]
        depth = depths[table.name] = max(known, default=0)
        references = tuple(column.name for column, _ in parents(table))
        lines = ("id", *references, f"and {len(table.columns) - len(references) - 1} more")
        box = _Box(table, depth, free.get(depth, _GAP + _LANE), lines)
        free[depth] = box.y + box.height + 2 * _ROW
        yield box


def _references(box: _Box, boxes: dict[str, _Box]) -> Iterator[str]:
    """A line from each referring column to the table it refers to."""
    for number, (_, parent) in enumerate(parents(box.table), start=1):
        to, place = boxes[parent.name], _NUMBERS[parent.name]
        colour = _COLOURS[place % len(_COLOURS)]
        leaves, arrives = (_gap(depth) + _LANE * (place + 1) for depth in (to.depth + 1, box.depth))
        lane = "" if leaves == arrives else f"V{_LANE * (place + 1)} H{arrives} "
        yield (
            f'<path d="M{to.x + _WIDTH} {to.row(-1)} H{leaves} {lane}V{box.row(number)} H{box.x}" fill="none" '
            f'stroke="{colour}" stroke-width="1.5"/>'
            f'<circle cx="{box.x}" cy="{box.row(number)}" r="3.5" fill="{colour}"/>'
        )


def _drawn(box: _Box) -> str:
    texts = "".join(
        f'<text x="{box.x + 8}" y="{box.row(number) + 4}" fill="{_INK}">{line}</text>'
        for number, line in enumerate(box.lines)
    )
    return (
        f'<rect x="{box.x}" y="{box.y}" width="{_WIDTH}" height="{box.height}" fill="#f6f8fb" stroke="{_HEAD}"/>'
        f'<rect x="{box.x}" y="{box.y}" width="{_WIDTH}" height="{_ROW}" fill="{_HEAD}"/>'
        f'<text x="{box.x + 8}" y="{box.row(-1) + 4}" fill="#ffffff" font-weight="bold">{box.table.name}</text>{texts}'
    )
