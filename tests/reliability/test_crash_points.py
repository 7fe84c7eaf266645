from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.reliability.conftest import STEADY, Figure, Scene
from tests.reliability.leftovers import torn, unnamed
from tests.reliability.processes import Ended

SHARDS = 4
"""The cases are dealt to this many tests, so that two workers share them."""


@dataclass(frozen=True, slots=True)
class Crash:
    """SIGKILL at the `nth` passing of a point."""

    point: str
    nth: int = 1

    def fault(self) -> dict[str, object]:
        """As a job's fault."""
        return {"point": self.point, "do": "kill", "nth": self.nth}


@pytest.fixture(scope="session")
def interrupted(scene: Scene, scratch: Path) -> Path:
    """A lake whose run was killed right after it had announced to publish. Not to be written to."""
    lake = scene.copy(scratch / "interrupted")
    _kill(scene, lake, Crash("publish:swap:head:after"), run_id="killed")
    return lake


@pytest.fixture(scope="session")
def recovery(scene: Scene, scratch: Path, interrupted: Path) -> list[str]:
    """The points that finishing that publish passes, in their order."""
    lake = scratch / "recovered"
    shutil.copytree(interrupted, lake)
    ended = scene.processes.run(scene.job(lake, step="recover", run_id="next"))
    assert ended.ok() == "recovered"
    return [point for point in ended.points if point.startswith("recover:")]


def _kill(scene: Scene, lake: Path, crash: Crash, **changes: object) -> Ended:
    ended = _try_to_kill(scene, lake, crash, **changes)
    assert ended.killed, f"{crash} was never reached: {ended}"
    return ended


def _try_to_kill(scene: Scene, lake: Path, crash: Crash, **changes: object) -> Ended:
    job = scene.job(lake, **{"step": "settle", "fault": crash.fault(), **STEADY, **changes})
    ended = scene.processes.run(job)
    assert torn(lake) == [], crash
    return ended


def _kill_copy(scene: Scene, lake: Path, crash: Crash, **changes: object) -> Crash:
    """Kill a run over a copy of the scene's lake at that passing; where it was killed.

    Threads that find the same folder new each sync it, so a run places things a few times more or less than another:
    one that ends without having come to its last placing is done again, to be killed at the last that it did.
    """
    scene.copy(lake)
    ended = _try_to_kill(scene, lake, crash, **changes)
    if ended.killed:
        return crash
    passed = ended.points.get(crash.point, 0)
    assert crash.point.endswith(":placed"), f"{crash} was never reached: {ended}"
    assert 0 < passed < crash.nth, crash
    shutil.rmtree(lake)
    return _kill_copy(scene, lake, Crash(crash.point, passed), **changes)


def _check_settled(scene: Scene, lake: Path, crashes: Iterable[Crash], **changes: object) -> None:
    """One run later the lake is as if nothing had happened, and holds nothing that is not named."""
    ended = scene.processes.run(scene.job(lake, **{"step": "settle", "run_id": "after", **changes}))
    assert ended.ok() == scene.truth, list(crashes)
    assert unnamed(lake) == [], list(crashes)


def _chains(points: Sequence[str], length: int) -> list[tuple[str, ...]]:
    """Every point once, in chains whose points a run passes in that order."""
    size = -(-len(points) // length)
    thirds = [points[start : start + size] for start in range(0, len(points), size)]
    return [tuple(point for point in chain if point is not None) for chain in itertools.zip_longest(*thirds)]


def test_there_are_enough_points(scene: Scene, recovery: list[str], figure: Figure) -> None:
    """A1: a run, its recovery and the garbage collection can be killed at 60 or more named points."""
    names = {*scene.points, *recovery}
    figure("named_crash_points", len(names))
    assert len(names) >= 60
    for step in ("open", "extract", "transform", "audit", "publish", "close", "gc", "recover"):
        assert any(name.startswith(f"{step}:") for name in names), step


@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_run_killed_at_any_point_is_made_good_by_the_next(
    scene: Scene, folder: Path, shard: int, figure: Figure
) -> None:
    """A1, A4: SIGKILL at every named point, four runs in a row; the next run gives what an unharmed one gives."""
    chains = _chains(list(scene.points), 4)[shard::SHARDS]
    for number, chain in enumerate(chains):
        lake = scene.copy(folder / f"lake-{number}")
        same = number % 2 == 0
        for step, point in enumerate(chain):
            _kill(scene, lake, Crash(point), run_id="again" if same else f"killed-{step}")
        _check_settled(scene, lake, map(Crash, chain), run_id="again" if same else "after")
        shutil.rmtree(lake)
    figure("kills_ci", sum(map(len, chains)))


@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_recovery_killed_at_any_point_is_recovered(
    scene: Scene, folder: Path, interrupted: Path, recovery: list[str], shard: int
) -> None:
    """A4: finishing a killed publish can itself be killed, up to four times over, at every point it passes."""
    for number, chain in enumerate(_chains(recovery, 4)[shard::SHARDS]):
        lake = folder / f"lake-{number}"
        shutil.copytree(interrupted, lake)
        for step, point in enumerate(chain):
            job = scene.job(lake, step="recover", run_id=f"next-{step}", fault=Crash(point).fault())
            ended = scene.processes.run(job)
            assert ended.killed, f"{point} was never reached: {ended}"
            assert torn(lake) == [], point
        same = {"run_id": "killed"} if number % 2 else {}
        _check_settled(scene, lake, map(Crash, chain), **same)
        shutil.rmtree(lake)


def _positions(count: int) -> list[int]:
    return sorted({1, (count + 1) // 2, count})


@pytest.mark.nightly
@pytest.mark.parametrize("same", [True, False], ids=["same-run-id", "new-run-id"])
@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_run_killed_at_any_passing_is_made_good_by_the_next(
    scene: Scene, folder: Path, figure: Figure, *, shard: int, same: bool
) -> None:
    """A1: SIGKILL at the first, middle and last passing of every point; one run makes it good."""
    cases = [Crash(point, nth) for point, count in scene.points.items() for nth in _positions(count)]
    for number, crash in enumerate(cases[shard::SHARDS]):
        lake = folder / f"lake-{number}"
        killed = _kill_copy(scene, lake, crash, run_id="killed")
        _check_settled(scene, lake, [killed], run_id="killed" if same else "after")
        shutil.rmtree(lake)
    figure("kills_nightly", len(cases[shard::SHARDS]))


@pytest.mark.nightly
def test_a_first_run_killed_at_any_point_is_made_good_by_the_next(scene: Scene, folder: Path) -> None:
    """A1: SIGKILL at every point of the run that makes the lake; the next run gives the whole of it."""
    points = scene.processes.run(scene.job(folder / "reference", step="settle", **STEADY)).points
    for number, point in enumerate(name for name in points if name != "*"):
        lake = folder / f"lake-{number}"
        _kill(scene, lake, Crash(point), run_id="killed")
        _check_settled(scene, lake, [Crash(point)])
        shutil.rmtree(lake)
