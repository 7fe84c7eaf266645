"""Intervals of time: what is covered, what is missing, what is fetched again."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from payments_pipeline import layout
from payments_pipeline.flow import Window
from payments_pipeline.inspect import read_status
from payments_pipeline.state.coverage import (
    Coverage,
    intersect,
    plan_windows,
    read_coverage,
    subtract,
    union,
)
from payments_pipeline.state.manifest import EntityExtract, Extract, Manifest, write_manifest
from payments_pipeline.storage import MemoryStorage

SECONDS = st.integers(0, 60)
WINDOWS = st.builds(lambda start, length: Window(start, start + length), SECONDS, st.integers(0, 15))
SOME = st.lists(WINDOWS, max_size=6)
SAFETY = st.integers(0, 20)


def _seconds(windows: Iterable[Window]) -> set[int]:
    return {second for window in windows for second in range(window.start, window.end)}


def _assert_tidy(windows: list[Window]) -> None:
    """Sorted, none empty, and none touching the next."""
    assert all(windows)
    assert all(left.end < right.start for left, right in pairwise(windows))


@given(SOME)
def test_a_union_holds_the_same_seconds(windows: list[Window]) -> None:
    """Whatever the order and overlap, the result is tidy, and a union of itself."""
    merged = union(windows)
    _assert_tidy(merged)
    assert _seconds(merged) == _seconds(windows)
    assert union(merged) == merged == union(reversed(windows))


@given(WINDOWS, SOME)
def test_subtraction_leaves_exactly_the_rest(window: Window, covered: list[Window]) -> None:
    """Every second of the window is either covered or left, never both."""
    rest = subtract(window, covered)
    _assert_tidy(rest)
    assert _seconds(rest) == _seconds([window]) - _seconds(covered)


@given(WINDOWS, SOME)
def test_intersection_is_what_both_hold(window: Window, others: list[Window]) -> None:
    """Together with the rest it makes the window again."""
    common = intersect(window, others)
    _assert_tidy(common)
    assert _seconds(common) == _seconds([window]) & _seconds(others)
    assert union([*common, *subtract(window, others)]) == union([window])


@given(st.lists(SOME, max_size=5))
def test_coverage_grows_and_the_watermark_never_goes_back(steps: list[list[Window]]) -> None:
    """After each commit all that was fetched is covered; the order of commits does not matter."""
    coverage, marks = Coverage(entity="charges"), [-1]
    for windows in steps:
        coverage = coverage.extended(windows)
        assert _seconds(windows) <= _seconds(coverage.windows())
        marks.append(-1 if coverage.watermark is None else coverage.watermark)
    everything = [window for windows in steps for window in windows]
    assert marks == sorted(marks)
    assert _seconds(coverage.windows()) == _seconds(everything)
    assert coverage.watermark == max((window.end for window in everything if window), default=None)
    assert coverage == Coverage(entity="charges").extended(everything)
    assert Coverage.unsealed(coverage.sealed(), where="here") == coverage


@given(SOME)
def test_gaps_are_what_is_missing_in_between(windows: list[Window]) -> None:
    """Covered intervals and gaps alternate from the first second to the watermark."""
    coverage = Coverage(entity="charges").extended(windows)
    covered, gaps = coverage.windows(), coverage.gaps()
    assert _seconds(gaps).isdisjoint(_seconds(covered))
    if covered:
        assert union([*covered, *gaps]) == [Window(covered[0].start, covered[-1].end)]
    else:
        assert gaps == []


@given(WINDOWS, SOME, SAFETY)
def test_a_plan_covers_what_is_wanted_and_repeats_only_the_safety_window(
    wanted: Window, covered: list[Window], safety: int
) -> None:
    """After the planned windows nothing wanted is missing; nothing else was fetched, nothing covered needlessly."""
    coverage = Coverage(entity="charges").extended(covered)
    planned = plan_windows(wanted, coverage, safety_seconds=safety)
    _assert_tidy(planned)
    fetched, known = _seconds(planned), _seconds(coverage.windows())
    assert _seconds([wanted]) <= _seconds(coverage.extended(planned).windows())
    assert fetched <= _seconds([wanted])
    mark = coverage.watermark if coverage.watermark is not None else 0
    again = set(range(mark - safety, mark))
    assert fetched & known <= again
    if coverage.watermark is not None and wanted.end >= mark:
        assert again & _seconds([wanted]) <= fetched


@given(WINDOWS, SOME)
def test_without_a_safety_window_a_plan_is_idempotent(wanted: Window, covered: list[Window]) -> None:
    """What was just fetched is not fetched again."""
    coverage = Coverage(entity="charges").extended(covered)
    after = coverage.extended(plan_windows(wanted, coverage, safety_seconds=0))
    assert plan_windows(wanted, after, safety_seconds=0) == []


def test_the_manifests_are_read_for_a_lost_file_once() -> None:
    """What is covered comes from the manifests, also for an entity that was never fetched; once kept, it needs them no more."""
    storage, names = MemoryStorage(), ("charges", "refunds")
    landed = {"charges": EntityExtract(windows=((10, 20), (20, 30)))}
    run = Manifest(
        run_id="first",
        epoch=1,
        started_at=datetime(2026, 11, 1, tzinfo=UTC),
        ceiling=30,
        extract=Extract(entities=landed),
    )
    write_manifest(storage, run)
    expected = {
        "charges": Coverage(entity="charges", intervals=((10, 30),), watermark=30),
        "refunds": Coverage(entity="refunds"),
    }
    assert read_coverage(storage, names) == expected
    assert not [*storage.list("_state/watermarks/")]
    assert read_coverage(storage, names, keep=True) == expected
    storage.delete(layout.manifest("first"))
    assert read_coverage(storage, names) == expected
    storage.close()


def test_status_tells_a_gap_in_events_that_was_made_good_from_one_that_was_not() -> None:
    """What lies before the second to which events were followed hides no change: the lake was compared, or began later."""
    day = 1_767_225_600
    events = Coverage(entity="events", followed=day + 5).extended(
        [Window(day, day + 1), Window(day + 4, day + 5)]
    )
    charges = Coverage(entity="charges").extended([Window(day, day + 1), Window(day + 4, day + 5)])
    storage = MemoryStorage()
    told = {}
    for coverage in (events, events.model_copy(update={"followed": day + 3}), charges):
        storage.put(layout.watermark(coverage.entity), coverage.sealed())
        lines = read_status(storage, datetime.fromtimestamp(day + 9, UTC)).coverage
        told[coverage] = next(line.gaps for line in lines if line.entity == coverage.entity)
    gap = "2026-01-01 00:00:01 to 2026-01-01 00:00:04: never fetched"
    assert list(told.values()) == [(f"{gap}, but every object was read since",), (gap,), (gap,)]
