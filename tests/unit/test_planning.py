"""What of the covered past is listed again, because no event would tell that it changed."""

from __future__ import annotations

from datetime import UTC, datetime

from payments_pipeline.entities import ENTITIES
from payments_pipeline.flow import Partition, Snapshot, Window
from payments_pipeline.planning import make_plan
from payments_pipeline.state.coverage import DAY, Coverage
from payments_pipeline.state.manifest import Request

NAME = "balance_transactions"
CEILING = int(datetime(2026, 9, 30, tzinfo=UTC).timestamp())
COVERED = Coverage(entity=NAME, intervals=((CEILING - 60 * DAY, CEILING - 3600),), watermark=CEILING - 3600)
LATEST = Window(CEILING - DAY, CEILING)
"""What every run lists."""


def _day(ago: int) -> Window:
    return Window(CEILING - ago * DAY, CEILING - (ago - 1) * DAY)


def _silver(unsettled: dict[int, int | None], *, rows: int) -> Snapshot:
    """Days by how long ago they were, of so many rows each."""
    return {
        f"silver.{NAME}": {
            f"{datetime.fromtimestamp(_day(ago).start, UTC):%Y-%m-%d}": Partition("", rows, 0, "", "x", count)
            for ago, count in unsettled.items()
        }
    }


def _planned(silver: Snapshot | None, *, covered: Coverage = COVERED) -> list[Window]:
    """The windows of one more day's run."""
    coverage = {name: Coverage(entity=name) for name in ENTITIES} | {NAME: covered}
    request = Request(entities=(NAME,), days=1)
    plan = make_plan(request, coverage, CEILING, safety_seconds=DAY - 3600, silver=silver)
    return [job.window for job in plan.jobs if job.window is not None]


def test_only_days_that_hold_something_unsettled_are_listed_again() -> None:
    """However much of the horizon is settled."""
    silver = _silver({ago: int(ago in {3, 10}) for ago in range(2, 40)}, rows=500)
    assert _planned(silver) == [_day(10), _day(3), LATEST]


def test_what_nobody_has_counted_is_not_taken_for_settled() -> None:
    """A partition that was written before anybody counted."""
    assert _planned(_silver({8: 0, 7: None, 6: 0}, rows=500)) == [_day(7), LATEST]


def test_what_is_older_than_the_horizon_is_left() -> None:
    """31 days after it was made nothing changes any more; the day the horizon cuts is listed from there."""
    assert _planned(_silver({40: 5, 31: 5}, rows=500)) == [_day(31), LATEST]


def test_a_few_settled_objects_between_are_cheaper_than_another_call() -> None:
    """Two windows take two calls at least: days are listed in one if no page more is needed."""
    silver = _silver({9: 1, 8: 0, 7: 0, 6: 1, 5: 0, 4: 0, 3: 0, 2: 0}, rows=30)
    assert _planned(silver) == [Window(_day(9).start, _day(6).end), LATEST]


def test_bronze_that_is_not_in_silver_may_hide_something_unsettled() -> None:
    """Then the whole horizon is listed, the newest day with it."""
    assert _planned(None) == [Window(CEILING - 31 * DAY, CEILING)]


def test_nothing_is_listed_again_that_was_never_covered() -> None:
    """What only a reference brought into the lake is retrieved by its id."""
    newest = Coverage(entity=NAME, intervals=((CEILING - DAY, CEILING - 3600),), watermark=CEILING - 3600)
    assert _planned(_silver({9: 1}, rows=500), covered=newest) == [LATEST]


def test_what_events_have_not_told_is_looked_for_in_every_entity() -> None:
    """They count as read afterwards, for all that the lake covers, whatever the request names."""
    request = Request(entities=("events",), days=1)
    coverage = {name: Coverage(entity=name) for name in ENTITIES} | {NAME: COVERED}
    plan = make_plan(request, coverage, CEILING, safety_seconds=3600, silver=None)
    assert plan.relist is not None
    assert {job.spec.name: job.window for job in plan.jobs if job.spec.name != "events"} == {
        NAME: COVERED.windows()[0]
    }


def test_a_backfill_does_not_hide_that_events_were_followed() -> None:
    """What it reads of them long before is no end of their record: the next run reads what any run would."""
    held = [Window(CEILING - 10 * DAY, CEILING - 3600)]
    coverage = {name: Coverage(entity=name).extended(held, followed=CEILING - 3600) for name in ENTITIES}
    everything = tuple(ENTITIES)
    window = {"start": _day(28).start, "end": _day(28).end}
    planned = make_plan(
        Request(entities=everything, backfill=True, **window),
        coverage,
        CEILING,
        safety_seconds=3600,
        silver={},
    )
    found = {name: [job.window for job in planned.jobs if job.spec.name == name] for name in ENTITIES}
    assert set(map(tuple, found.values())) == {(_day(28),)}
    after = {
        name: known.extended(job.window for job in planned.jobs if job.spec.name == name and job.window)
        for name, known in coverage.items()
    }
    following = make_plan(
        Request(entities=everything, days=1), after, CEILING, safety_seconds=3600, silver={}
    )
    assert following.relist is None
    assert [job.window for job in following.jobs if job.spec.name == "events"] == [
        Window(CEILING - 7200, CEILING)
    ]
