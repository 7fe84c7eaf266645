"""Which stretches of `created` time are completely in bronze, and what a run must still fetch."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from typing import Self

from payments_pipeline import layout
from payments_pipeline.entities import EVENTS
from payments_pipeline.flow import Window
from payments_pipeline.state.documents import Document, load, replace
from payments_pipeline.state.manifest import Manifest, all_runs, read_manifests
from payments_pipeline.storage import ABSENT, Storage
from payments_pipeline.storage.parallel import each

DAY = 86_400


class Coverage(Document):
    """Per entity: sorted, disjoint, half-open `[start, end)` intervals of `created` (Unix seconds) held in bronze.

    `watermark` is the end of the newest interval. `followed`, of events alone: what happened before that second is in
    bronze, for everything that bronze holds.
    """

    entity: str
    intervals: tuple[tuple[int, int], ...] = ()
    watermark: int | None = None
    followed: int | None = None

    def extended(self, windows: Iterable[Window], *, followed: int | None = None) -> Self:
        """The coverage after `windows` were committed, or events were followed; nothing of it ever goes back."""
        intervals = union([*self.windows(), *windows])
        ends = [window.end for window in intervals]
        return self.model_copy(
            update={
                "intervals": tuple((window.start, window.end) for window in intervals),
                "watermark": _later(self.watermark, max(ends, default=None)),
                "followed": _later(self.followed, followed),
            }
        )

    def windows(self) -> list[Window]:
        """The covered intervals."""
        return [Window(start, end) for start, end in self.intervals]

    def gaps(self) -> list[Window]:
        """What is missing between the first and the last covered second."""
        covered = self.windows()
        return [Window(left.end, right.start) for left, right in pairwise(covered)]


def read_coverage(storage: Storage, names: Iterable[str], *, keep: bool = False) -> dict[str, Coverage]:
    """The coverage of each entity; of those without a file it is made from all manifests.

    With `keep`, which only the holder of the lease may ask for, they have a file afterwards: also an entity that was
    never fetched, or every run would read the manifests of all others.
    """
    read: dict[str, Coverage | None] = dict.fromkeys(names)

    def look(name: str) -> None:
        read[name] = load(storage, layout.watermark(name), Coverage)[0]

    each(look, list(read))
    found = {name: coverage for name, coverage in read.items() if coverage is not None}
    lost = read.keys() - found.keys()
    runs = read_manifests(storage, all_runs(storage)).values() if lost else ()
    for name in lost:
        extracts = [run.extract.entities[name] for run in runs if name in run.extract.entities]
        windows = [Window(start, end) for extract in extracts for start, end in extract.windows]
        found[name] = Coverage(entity=name).extended(
            windows, followed=_followed(runs) if name == EVENTS else None
        )
        if keep:
            replace(storage, layout.watermark(name), found[name], expected=ABSENT)
    return found


def _followed(runs: Collection[Manifest]) -> int | None:
    """Until when events are followed: until the last run that did, or until the first began to fill the lake."""
    begun = [run for run in runs if run.request is not None]
    ended = [run for run in begun if run.request and run.request.follows and run.extract.finished_at]
    first = min((run.ceiling for run in begun), default=None)
    return max((run.ceiling for run in ended), default=first)


def _later(first: int | None, second: int | None) -> int | None:
    return max((each for each in (first, second) if each is not None), default=None)


def union(windows: Iterable[Window]) -> list[Window]:
    """The same seconds as sorted, disjoint, non-touching windows."""
    merged: list[Window] = []
    for window in sorted(filter(None, windows)):
        if merged and window.start <= merged[-1].end:
            merged[-1] = Window(merged[-1].start, max(merged[-1].end, window.end))
        else:
            merged.append(window)
    return merged


def subtract(window: Window, covered: Sequence[Window]) -> list[Window]:
    """The parts of `window` that no covered window holds."""
    missing, start = [], window.start
    for other in union(covered):
        missing.append(Window(start, min(other.start, window.end)))
        start = max(start, other.end)
    missing.append(Window(start, window.end))
    return [part for part in missing if part]


def intersect(window: Window, others: Iterable[Window]) -> list[Window]:
    """The parts of `window` that the others hold."""
    return union(Window(max(window.start, other.start), min(window.end, other.end)) for other in others)


def plan_windows(wanted: Window, coverage: Coverage, *, safety_seconds: int) -> list[Window]:
    """What to list so that `wanted` is covered afterwards: what is missing, and the safety window again.

    The safety window is the last `safety_seconds` before the watermark: objects that became visible late are
    found there. Pure: no clock, no I/O.
    """
    missing = subtract(wanted, coverage.windows())
    if safety_seconds and coverage.watermark is not None and wanted.end >= coverage.watermark:
        missing.append(Window(max(coverage.watermark - safety_seconds, wanted.start), wanted.end))
    return union(missing)
