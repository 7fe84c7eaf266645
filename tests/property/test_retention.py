"""Whatever is forgotten and whenever, the lake's content is that of one that forgets nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from payments_pipeline import pipeline
from payments_pipeline.flow import Page
from payments_pipeline.lake import Lake
from payments_pipeline.maintenance import collect_garbage, verify_lake
from payments_pipeline.retention import Retention
from tests.lakes import DAY, Clock, charge, land, open_small_lake, page, publish, rows

CENTURIES = 500 * 366 * 86_400.0
CHARGES = st.integers(0, 3)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("change"), CHARGES, st.integers(1, 9)),
        st.tuples(st.just("delete"), CHARGES, st.just(0)),
        st.tuples(st.just("spoil"), st.just(0), st.just(0)),
        st.tuples(st.just("publish"), st.just(0), st.just(0)),
        st.tuples(st.just("rebuild"), st.just(0), st.just(0)),
        st.tuples(st.just("forget"), st.integers(1, 40), st.integers(1, 40)),
        st.tuples(st.just("wait"), st.integers(1, 30), st.just(0)),
    ),
    min_size=4,
    max_size=14,
)


def _landed(kind: str, number: int, amount: int, *, seen: int) -> Page:
    """What a run observes `seen` seconds after the start: a charge as it is now, its deletion, or nonsense."""
    if kind == "change":
        return page([charge(number, amount=amount)], seen=seen)
    if kind == "spoil":
        return page([charge(0), b"{"], seen=seen)
    gone = b'{"id": "ch_%08d", "object": "charge", "deleted": true}' % number
    return page([gone], seen=seen, source="absent")


def _build(lake: Lake, run_id: str, *, rebuild: bool) -> None:
    if not rebuild:
        publish(lake, run_id, max_quarantine_share=1)
        return
    with pipeline.opened(lake, run_id) as run:
        pipeline.build_and_publish(lake, run, max_quarantine_share=1, rebuild=True)


def _history(root: Path, steps: list[tuple[str, int, int]], *, forgets: bool) -> list[tuple[object, ...]]:
    """The content of a lake to which these steps happened; retention is left out if it never forgets."""
    clock = Clock()
    with open_small_lake(root, clock=clock) as lake:
        for number, (kind, first, second) in enumerate([*steps, ("publish", 0, 0), ("rebuild", 0, 0)]):
            clock.forward(1)
            seen = int((clock() - Clock().moment).total_seconds())
            match kind:
                case "wait":
                    clock.forward(first * DAY)
                case "publish" | "rebuild":
                    _build(lake, f"run-{number}", rebuild=kind == "rebuild")
                case "forget":
                    if forgets and lake.latest():
                        days = Retention(bronze=first, quarantine=second, staging=second)
                        collect_garbage(lake, min_age_seconds=-CENTURIES, dry_run=False, retention=days)
                case _:
                    land(lake, f"run-{number}", [_landed(kind, first, second, seen=seen)])
        verify_lake(lake)
        return rows(lake, "select * from silver.charges order by all") + rows(
            lake, "select * from gold.fct_sales order by all"
        )


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS)
def test_what_is_forgotten_is_never_missed(folder: Path, steps: list[tuple[str, int, int]]) -> None:
    """Runs, rebuilds and retention in any order end in the content of the same runs without retention."""
    try:
        forgetful = _history(folder / "forgetful", steps, forgets=True)
        assert forgetful == _history(folder / "keeping", steps, forgets=False)
    finally:
        for made in folder.iterdir():
            shutil.rmtree(made)
