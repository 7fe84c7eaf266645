"""Bar charts as SVG: text that a diff can show, readable on light and on dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

Kind = Literal["ours", "floor", "peer"]

_COLOURS = {"ours": "#2f6fdb", "floor": "#8a94a3", "peer": "#d98c2b"}
_OVER_LINES = 'fill="#1c2430" stroke="#ffffff" stroke-width="4" paint-order="stroke"'
_WIDTH, _LABELS, _VALUES = 760, 260, 110
_ROW, _TITLE, _GAP = 24, 30, 14


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of a chart; `text` is printed behind its bar."""

    label: str
    value: float
    text: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars on one linear scale from zero; `limit` draws a line across them, as for a ceiling or a goal."""

    title: str
    bars: tuple[Bar, ...]
    limit: float | None = None


def svg(charts: Sequence[Chart]) -> str:
    """The charts below one another as one picture."""
    top, drawn = 0, []
    for chart in charts:
        drawn.append(f'<g transform="translate(0 {top})">{_drawn(chart)}</g>')
        top += _TITLE + _ROW * len(chart.bars) + _GAP
    description = "; ".join(chart.title for chart in charts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{top}" '
        f'viewBox="0 0 {_WIDTH} {top}" role="img" font-family="sans-serif" font-size="13">'
        f'<title>{escape(description)}</title><rect width="100%" height="100%" fill="#ffffff" rx="6"/>'
        + "\n".join(drawn)
        + "</svg>\n"
    )


def _drawn(chart: Chart) -> str:
    most = max([each.value for each in chart.bars] + [chart.limit or 0.0]) or 1.0
    scale = (_WIDTH - _LABELS - _VALUES) / most
    lines = [f'<text x="10" y="20" fill="#1c2430" font-weight="bold">{escape(chart.title)}</text>']
    if chart.limit is not None:
        x, bottom = _LABELS + chart.limit * scale, _TITLE + _ROW * len(chart.bars)
        lines.append(
            f'<path d="M{x:.1f} {_TITLE} V{bottom}" stroke="#c0392b" stroke-dasharray="4 3" fill="none"/>'
        )
    for number, bar in enumerate(chart.bars):
        y, length = _TITLE + number * _ROW, max(1.0, bar.value * scale)
        lines += [
            f'<text x="{_LABELS - 8}" y="{y + 16}" fill="#1c2430" text-anchor="end">{escape(bar.label)}</text>',
            f'<rect x="{_LABELS}" y="{y + 4}" width="{length:.1f}" height="16" fill="{_COLOURS[bar.kind]}"/>',
            f'<text x="{_LABELS + length + 6:.1f}" y="{y + 16}" {_OVER_LINES}>{escape(bar.text)}</text>',
        ]
    return "\n".join(lines)
