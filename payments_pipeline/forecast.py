"""What a run would list, and about how many calls and minutes that takes, before it does any of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from payments_pipeline.entities import ENTITIES, EntitySpec
from payments_pipeline.flow import Window
from payments_pipeline.planning import make_plan
from payments_pipeline.settings import Settings
from payments_pipeline.state.coverage import DAY, read_coverage
from payments_pipeline.state.head import read_head
from payments_pipeline.state.manifest import Manifest, Request, all_runs, read_manifests
from payments_pipeline.state.snapshot import read_latest, snapshot_of
from payments_pipeline.storage import Storage

Count = Callable[[EntitySpec, Window], int]
_RUNS = 30
"""So many of the newest runs tell how many objects a day has."""


@dataclass(frozen=True, slots=True)
class EntityForecast:
    """What would be listed of one entity.

    `objects` is None if nobody tells how many a day has; then `calls` is the least that it can take.
    """

    entity: str
    windows: tuple[Window, ...]
    objects: int | None
    calls: int

    @property
    def days(self) -> float:
        """Days of `created` time to be listed."""
        return sum(window.end - window.start for window in self.windows) / DAY


@dataclass(frozen=True, slots=True)
class Forecast:
    """A run's lists at `rate` calls a second; `relist` says why everything is listed again, if it is.

    What events name and what new objects refer to is retrieved on top, a call each. Nobody knows beforehand how much
    that is; `retrieved` are the least and the most of earlier runs, None if there were none.
    """

    entities: tuple[EntityForecast, ...]
    rate: float
    relist: str | None
    retrieved: tuple[int, int] | None

    @property
    def calls(self) -> int:
        """To list all entities."""
        return sum(each.calls for each in self.entities)

    @property
    def minutes(self) -> float:
        """What those calls take at that rate."""
        return self.calls / self.rate / 60

    @property
    def unknown(self) -> tuple[str, ...]:
        """The entities of which only the least is known."""
        return tuple(each.entity for each in self.entities if each.objects is None)

    def as_json(self) -> dict[str, object]:
        """The same as JSON values; windows are half-open, in Unix seconds."""
        return {
            "relist": self.relist,
            "rate": self.rate,
            "calls": self.calls,
            "retrieved": self.retrieved,
            "minutes": round(self.minutes, 2),
            "unknown": list(self.unknown),
            "entities": [
                {
                    "entity": each.entity,
                    "windows": [[window.start, window.end] for window in each.windows],
                    "objects": each.objects,
                    "calls": each.calls,
                }
                for each in self.entities
            ],
        }


def forecast(
    storage: Storage, settings: Settings, request: Request, now: int, *, count: Count | None = None
) -> Forecast:
    """What `request` would list if a run began `now` (Unix seconds). Reads the lake's state, changes nothing.

    `count` is asked of an entity that no run has listed yet: about how many objects a window has.
    """
    head, coverage = read_head(storage), read_coverage(storage, ENTITIES)
    silver = read_latest(storage, [f"silver.{name}" for name in request.entities])
    plan = make_plan(
        request,
        coverage,
        now,
        safety_seconds=settings.safety_window_seconds,
        silver=None if head.pending else snapshot_of(silver),
    )
    past = set(all_runs(storage))
    last = [line.run_id for line in head.runs if line.run_id in past and line.outcome != "started"][-_RUNS:]
    runs = [*read_manifests(storage, last).values()]
    found = []
    for name in ENTITIES if plan.relist else request.entities:
        windows = tuple(job.window for job in plan.jobs if job.spec.name == name and job.window is not None)
        per_second = _per_second(name, runs)
        if per_second is None and count and windows:
            whole = Window(windows[0].start, windows[-1].end)
            per_second = count(ENTITIES[name], whole) / (whole.end - whole.start)
        calls = sum(
            _calls(ENTITIES[name], window, (per_second or 0.0) / settings.max_page_size, now)
            for window in windows
        )
        objects = (
            round(per_second * sum(each.end - each.start for each in windows))
            if per_second is not None
            else None
        )
        found.append(EntityForecast(name, windows, objects, calls))
    retrieved = [sum(each.retrieved + each.absent for each in run.extract.entities.values()) for run in runs]
    least_and_most = (min(retrieved), max(retrieved)) if retrieved else None
    return Forecast(tuple(found), settings.rate, plan.relist, least_and_most)


def _per_second(name: str, runs: Sequence[Manifest]) -> float | None:
    """Objects in a second of `created` time, over all that the runs have listed; None if they listed nothing."""
    extracts = [run.extract.entities[name] for run in runs if name in run.extract.entities]
    seconds = sum(end - start for extract in extracts for start, end in extract.windows)
    return sum(extract.listed for extract in extracts) / seconds if seconds else None


def _calls(spec: EntitySpec, window: Window, pages_per_second: float, now: int) -> int:
    """At least one for each list; a list without a filter is read from its newest object on."""
    end = window.end if spec.created_filter else max(now, window.end)
    return max(len(spec.listings), math.ceil(pages_per_second * (end - window.start)))
