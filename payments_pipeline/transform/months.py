"""Months, in groups that are sorted together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


def grouped(counts: Mapping[str, int], at_once: int) -> Iterator[list[str]]:
    """The months ("2026-11", how many rows) in order, in groups of not more rows than `at_once` unless one alone has more."""
    group: list[str] = []
    for month in sorted(counts):
        if group and sum(counts[each] for each in group) + counts[month] > at_once:
            yield group
            group = []
        group.append(month)
    if group:
        yield group
