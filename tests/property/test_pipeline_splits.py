from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from payments_pipeline.entities import ENTITIES
from payments_pipeline.state.manifest import Request
from tests.e2e.harness import (
    DAY,
    MIDNIGHT,
    Account,
    contents,
    digest_of,
    rebuild,
    run,
)


@dataclass(frozen=True, slots=True)
class Piece:
    """One run of a plan: the hours of the account's life to fetch, how, and whether it goes on to publish."""

    start: int
    end: int
    page_size: int
    connections: int
    threads: int
    publish: bool

    def request(self) -> Request:
        """The `--from/--to` that it stands for."""
        first, last = (MIDNIGHT + hour * 3600 for hour in (self.start, self.end))
        return Request(entities=tuple(ENTITIES), start=first, end=last)

    def environ(self) -> dict[str, str]:
        """Its settings."""
        return {
            "MAX_PAGE_SIZE": str(self.page_size),
            "MAX_CONNECTIONS": str(self.connections),
            "DUCKDB_THREADS": str(self.threads),
        }


AGE = 57
"""Whole hours that the account is old: a piece begins before its end."""

HOURS = 60
"""A little more than the account's age, so that the last piece reaches its newest object."""


@st.composite
def plans(draw: st.DrawFn) -> list[Piece]:
    """Pieces that together cover the whole history: overlapping, in any order, with any settings."""
    cuts = sorted({0, HOURS, *draw(st.sets(st.integers(1, AGE), min_size=1, max_size=2))})
    spans = [
        (max(0, start - draw(st.sampled_from((0, 5)))), min(HOURS, end + draw(st.sampled_from((0, 7)))))
        for start, end in pairwise(cuts)
    ]
    return [
        Piece(
            start,
            end,
            draw(st.sampled_from((7, 100, 1))),
            draw(st.sampled_from((1, 8))),
            draw(st.sampled_from((1, 2))),
            draw(st.booleans()),
        )
        for start, end in draw(st.permutations(spans))
    ]


@contextmanager
def _new_lake(parent: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        yield Path(folder) / "lake"


def _carry_out(lake: Path, account: Account, plan: Sequence[Piece]) -> str:
    """Run the plan, its last piece to the end; the content digest published then."""
    for piece in plan[:-1]:
        run(lake, account, piece.request(), publish=piece.publish, environ=piece.environ())
    return digest_of(run(lake, account, plan[-1].request(), environ=plan[-1].environ()))


def _check_plan(scratch: Path, account: Account, loaded: Path, plan: Sequence[Piece]) -> None:
    with _new_lake(scratch) as lake:
        digest = _carry_out(lake, account, plan)
        rebuilt = rebuild(lake, account)
        assert contents(lake) == contents(loaded)
        assert digest == digest_of(rebuilt)
        assert rebuilt.publish is not None
        assert (rebuilt.publish.written, rebuilt.publish.removed) == (0, 0)


SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


@settings(max_examples=3, derandomize=True, deadline=None, database=None, suppress_health_check=SLOW)
@given(plan=plans())
def test_any_split_of_the_range_gives_the_same_content(
    scratch: Path, small: Account, loaded: Path, plan: list[Piece]
) -> None:
    """However a range is divided into runs, in whatever order and with whatever settings: the same rows."""
    _check_plan(scratch, small, loaded, plan)


@pytest.mark.nightly
@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
@given(plan=plans())
def test_many_splits_of_the_range_give_the_same_content(
    scratch: Path, small: Account, loaded: Path, plan: list[Piece]
) -> None:
    """The same for many more plans, new ones every night."""
    _check_plan(scratch, small, loaded, plan)


def test_the_account_is_older_than_every_piece(small: Account) -> None:
    """The plans above cover the account's whole life, and each of their pieces has begun."""
    assert MIDNIGHT + AGE * 3600 < small.clock() < MIDNIGHT + HOURS * 3600
    assert small.clock() - MIDNIGHT > 2 * DAY
