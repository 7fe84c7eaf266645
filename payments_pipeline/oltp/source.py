"""What every source of objects gives: the same observations, whether from files, the API or the lake."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

RETRIEVED = 2**32
"""What to add to the position of an object that was retrieved by id: it is newer than a list of the same time."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One object's text as it was at `observed_at`.

    Of two observations of the same time the one with the greater `position` counts; `place` says where it was read.
    """

    text: bytes
    observed_at: datetime
    position: int
    place: str


class Source(Protocol):
    """Gives the objects of each of `tables`; reading twice gives the same, or newer ones.

    `retrieves`: an object that is not among them can be asked for by id.
    """

    name: str
    tables: tuple[str, ...]
    retrieves: bool

    def read(self, table: str) -> Iterator[Observation]:
        """All objects of the table; if an object occurs more than once, its newest state is among them."""

    def retrieve(self, table: str, ids: Iterable[str]) -> Iterator[Observation]:
        """The objects of these ids, as far as the source can be asked for them; a mark of deletion for what is gone."""

    def has_changed(self) -> bool:
        """Whether what was read may be parts of several states, so that it must be read again."""
