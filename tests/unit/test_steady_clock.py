"""The lake's clock never goes back: what is observed later counts as newer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from payments_pipeline.flow import Quiet
from payments_pipeline.session import steady_clock
from payments_pipeline.state.head import Head, RunLine

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)


def test_a_clock_that_is_set_back_goes_on_from_where_it_was() -> None:
    """No answer is before another, and then they are later by as much as went by."""
    now, shown = [NOON], []
    steady = steady_clock(lambda: now[0], Head(lake_id="x"), Quiet())
    for now[0] in (NOON, NOON + HOUR, NOON, NOON + SECOND, NOON + 2 * SECOND):
        shown.append(steady())
    assert shown == [NOON, NOON + HOUR, NOON + HOUR, NOON + HOUR + SECOND, NOON + HOUR + 2 * SECOND]


def test_a_clock_behind_the_last_run_goes_on_from_there() -> None:
    """It is told once by how much."""
    told: list[tuple[str, object]] = []

    class Heard(Quiet):
        def event(self, name: str, **fields: object) -> None:
            told.append((name, fields["seconds"]))

    head = Head(lake_id="x").noted(RunLine(run_id="ahead", outcome="started", at=NOON + HOUR, rows=0))
    now = [NOON]
    steady = steady_clock(lambda: now[0], head, Heard())
    assert steady() == NOON + HOUR
    now[0] += SECOND
    assert steady() == NOON + HOUR + SECOND
    assert told == [("clock_behind_last_run", 3600.0)]
