"""What a run must fetch, from what it was asked for and what the lake holds. Pure: no clock, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from payments_pipeline.entities import ENTITIES, EVENTS, EntitySpec, entity
from payments_pipeline.errors import UsageError
from payments_pipeline.flow import Partition, Snapshot, Window
from payments_pipeline.state.coverage import DAY, Coverage, intersect, plan_windows, union
from payments_pipeline.state.manifest import Request

MAX_EVENTS_GAP_DAYS = 25
"""Events are kept for 30 days; after this many unread ones the lake is compared with the account instead."""

_PER_CALL = 100
"""Objects that a list gives with one call, at most."""


@dataclass(frozen=True, slots=True)
class Job:
    """Something to fetch: a window of an entity's list, or objects by id.

    `deleted_at` gives, for ids an event reports as deleted, that event's time (Unix seconds).
    """

    spec: EntitySpec
    window: Window | None = None
    ids: tuple[str, ...] = ()
    deleted_at: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The windows to list. `relist` says why everything that is covered is listed again, if it is."""

    jobs: tuple[Job, ...]
    relist: str | None


def check_has_begun(request: Request, ceiling: int) -> None:
    """`UsageError` if the range that is asked for does not begin before `ceiling`, the source's own time."""
    if request.start is not None and request.start >= ceiling:
        begin, now = (
            f"{datetime.fromtimestamp(second, UTC):%Y-%m-%d %H:%M:%S}" for second in (request.start, ceiling)
        )
        raise UsageError(
            f"the range begins at {begin} UTC (--from), and for the account it is {now} UTC; ask for a range that "
            "has begun. Nothing was fetched."
        )


def make_plan(  # noqa: PLR0913 - when, twice: as the run sees it, and as it is
    request: Request,
    coverage: Mapping[str, Coverage],
    ceiling: int,
    *,
    safety_seconds: int,
    silver: Snapshot | None,
    now: int = 0,
) -> Plan:
    """The windows that leave `request` covered and everything that may have changed read again.

    Per entity: what is missing, the safety window, and what of the covered past may still change without an
    event saying so. `silver`, as published, tells what is settled by now; None if some bronze is not in it yet.
    Where events were not read for too long, until `now` if the run was begun long before, all of the covered past, of
    every entity whatever the request names: the events count as read afterwards. A backfill takes only what is missing.
    """
    relist = _why_relist(request, coverage, max(ceiling, now))
    jobs = []
    for name in ENTITIES if relist else request.entities:
        spec, known = entity(name), coverage[name]
        if name not in request.entities:
            windows = known.windows()
        elif name == EVENTS:
            windows = _events_windows(request, known, ceiling, safety_seconds=safety_seconds)
        else:
            windows = plan_windows(
                wanted(request, known, ceiling),
                known,
                safety_seconds=0 if request.backfill else safety_seconds,
            )
            if relist:
                windows += known.windows()
            elif not request.backfill:
                windows += _changing(spec, known, ceiling, silver)
            windows = union(windows)
        jobs += [Job(spec, window) for window in windows]
    return Plan(tuple(jobs), relist)


def wanted(request: Request, coverage: Coverage, ceiling: int) -> Window:
    """The `created` window to be covered afterwards, never beyond the run's ceiling.

    Days are counted back from the ceiling, or from the watermark if that is older: a missed run leaves no gap.
    """
    end = min(request.end if request.end is not None else ceiling, ceiling)
    if request.start is not None:
        return Window(request.start, max(request.start, end))
    start = ceiling - (request.days or 1) * DAY
    return Window(min(start, coverage.watermark) if coverage.watermark is not None else start, end)


def _events_windows(
    request: Request, coverage: Coverage, ceiling: int, *, safety_seconds: int
) -> list[Window]:
    """The events that are asked for, and every event since the unbroken record ends; as far back as they are kept.

    The very first run needs none of the past for that: what it fetches is current anyway.
    """
    kept = Window(ceiling - (ENTITIES[EVENTS].retention_days or 0) * DAY, ceiling)
    missing = plan_windows(wanted(request, coverage, ceiling), coverage, safety_seconds=0)
    unbroken = unread_since(coverage)
    if not coverage.intervals:
        missing.append(Window(ceiling - max(safety_seconds, 1), ceiling))
    if unbroken is not None and not request.backfill:
        missing.append(Window(unbroken - safety_seconds, unbroken))
        missing += plan_windows(Window(unbroken, ceiling), coverage, safety_seconds=safety_seconds)
    return intersect(kept, missing)


def _changing(spec: EntitySpec, coverage: Coverage, ceiling: int, silver: Snapshot | None) -> list[Window]:
    """What of the covered past may have changed without an event saying so."""
    if spec.mutable_days is None:
        return []
    young = intersect(Window(ceiling - spec.mutable_days * DAY, ceiling), coverage.windows())
    if silver is None:
        return young
    days = _unsettled(silver.get(f"silver.{spec.name}", {}))
    return [part for day in days for part in intersect(day, young)]


def _unsettled(partitions: Mapping[str, Partition]) -> list[Window]:
    """The days that hold anything unsettled. Settled ones between them join in if they are cheaper than a call more."""
    windows: list[Window] = []
    between = 0
    for dt, partition in sorted(partitions.items()):
        if partition.unsettled == 0:
            between += partition.rows
            continue
        start = int(datetime.fromisoformat(f"{dt}T00:00:00Z").timestamp())
        if windows and between < _PER_CALL:
            windows[-1] = Window(windows[-1].start, start + DAY)
        else:
            windows.append(Window(start, start + DAY))
        between = 0
    return windows


def unread_since(coverage: Coverage) -> int | None:
    """The second up to which events have told what changed; None if nobody knows.

    Where it was not noted, the end of the oldest stretch of events that was read.
    """
    oldest = coverage.intervals[0][1] if coverage.intervals else None
    return oldest if coverage.followed is None else coverage.followed


def _why_relist(request: Request, coverage: Mapping[str, Coverage], now: int) -> str | None:
    """Why the events cannot tell everything that changed since the lake was last current; None if they can."""
    if not request.follows:
        return None
    if not any(coverage[name].intervals for name in ENTITIES if name != EVENTS):
        return None
    since = unread_since(coverage[EVENTS])
    if since is None:
        return "events were never read, though other objects were"
    if since < now - MAX_EVENTS_GAP_DAYS * DAY:
        return f"events were not read for more than {MAX_EVENTS_GAP_DAYS} days"
    return None
