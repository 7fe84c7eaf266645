from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.reliability.conftest import Figure, Scene
from tests.reliability.leftovers import body_of, named_objects, torn
from tests.reliability.processes import Ended, Started

SUMS = (
    "select (select count(*) from gold.fct_payments), (select count(*) from silver.charges), "
    "(select count(*) from gold.fct_balance_transactions), (select count(*) from silver.balance_transactions), "
    "(select count(*) from silver.customers), (select count(*) from gold.dim_customers)"
)
"""One answer over six models: it is different for each publication, and for a mixture of two."""


def _until_stopped(started: Started) -> None:
    until = time.monotonic() + 60
    while not started.is_stopped():
        assert time.monotonic() < until, "the process never came to the point where it stops"
        time.sleep(0.005)


def _check_rounds(scene: Scene, folder: Path, *, runs: int, rounds: int) -> None:
    for turn in range(rounds):
        lake = scene.copy(folder / f"lake-{turn}")
        before = body_of(lake / "_state/lake.json")
        jobs = [scene.job(lake, run_id=f"racer-{number}") for number in range(runs)]
        ended = [started.wait() for started in [scene.processes.start(job) for job in jobs]]
        assert {found.exit for found in ended} <= {0, 5}, [found.message for found in ended]
        won = [found for found in ended if found.exit == 0]
        assert won
        assert {found.result for found in won} == {scene.truth}
        assert all(found.seconds < 2 + won[0].seconds for found in ended if found.exit == 5)
        after = body_of(lake / "_state/lake.json")
        epochs = [body_of(path)["epoch"] for path in (lake / "_state/manifests").glob("run_racer-*.json")]
        published = [run for run in after["runs"] if run["outcome"] == "published"]
        assert len(epochs) == len(set(epochs)) == len(won), "an epoch has exactly one run"
        assert len(published) == len(won) + sum(run["outcome"] == "published" for run in before["runs"])
        assert after["epoch"] >= before["epoch"] + len(won)
        assert scene.processes.run(scene.job(lake, step="settle", run_id="after")).ok() == scene.truth
        shutil.rmtree(lake)


@pytest.mark.parametrize(("runs", "rounds"), [(2, 2), (8, 1)])
def test_of_runs_at_once_one_works_and_the_others_leave(
    scene: Scene, folder: Path, runs: int, rounds: int
) -> None:
    """D1, D4: whoever has the lease publishes, one run per epoch; the others exit with 5 and lose nothing."""
    _check_rounds(scene, folder, runs=runs, rounds=rounds)


@pytest.mark.nightly
@pytest.mark.parametrize(("runs", "rounds"), [(2, 25), (8, 25)])
def test_many_rounds_of_runs_at_once(
    scene: Scene, folder: Path, runs: int, rounds: int, figure: Figure
) -> None:
    """D1, D4: the same, for 25 rounds."""
    _check_rounds(scene, folder, runs=runs, rounds=rounds)
    figure(f"rounds_of_{runs}_runs", rounds)


STOPS = [
    "extract:create:bronze:placed",
    "extract:swap:watermark:before",
    "extract:swap:manifest:before",
    "transform:adopt:staged:before",
    "transform:swap:manifest:before",
    "audit:put:report:before",
    "publish:swap:head:before",
    "publish:promote:silver:before",
    "publish:swap:latest:before",
    "publish:swap:manifest:before",
]


def _overtaken(scene: Scene, lake: Path, stop: str, *, run_id: str) -> tuple[Started, Ended]:
    """A run stopped at a point until its lease ran out, and the run that took over.

    Once more if it happened to be stopped while it was renewing its lease, lock in hand: then nobody can.
    """
    fault = {"point": stop, "do": "stop"}
    while True:
        shutil.rmtree(lake, ignore_errors=True)
        scene.copy(lake)
        job = scene.job(
            lake, run_id="paused", now=None, ttl=0.9, fault=fault, environ={"MAX_CONNECTIONS": "1"}
        )
        paused = scene.processes.start(job)
        _until_stopped(paused)
        time.sleep(1.0)
        overtaking = scene.processes.run(scene.job(lake, run_id=run_id, now=None))
        if ".lock is held" not in overtaking.message:
            return paused, overtaking
        paused.signal(signal.SIGCONT)
        paused.wait()


def _check_paused(scene: Scene, folder: Path, stops: list[str], *, same: bool) -> None:
    for number, stop in enumerate(stops):
        lake = folder / f"lake-{number}"
        paused, overtaking = _overtaken(scene, lake, stop, run_id="paused" if same else "taker")
        assert overtaking.ok() == scene.truth, stop
        held = {key: (lake / key).read_bytes() for key in named_objects(lake)}
        paused.signal(signal.SIGCONT)
        ended = paused.wait()
        assert ended.exit in {4, 5}, f"{stop}: {ended}"
        assert held.items() <= {key: (lake / key).read_bytes() for key in named_objects(lake)}.items(), stop
        assert torn(lake) == [], stop
        settled = scene.processes.run(scene.job(lake, step="settle", run_id="after", now=None))
        assert settled.ok() == scene.truth, stop
        shutil.rmtree(lake)


@pytest.mark.parametrize("same", [False, True], ids=["new-run-id", "same-run-id"])
def test_a_paused_run_that_was_overtaken_commits_nothing(
    scene: Scene, folder: Path, figure: Figure, *, same: bool
) -> None:
    """D2, D3: stopped past its lease, overtaken, then woken: exit 5 (or 4), and nothing it does counts."""
    stops = STOPS[int(same) :: 3]
    _check_paused(scene, folder, stops, same=same)
    figure("paused_writers_fenced_ci", len(stops))


@pytest.mark.nightly
@pytest.mark.parametrize("same", [False, True], ids=["new-run-id", "same-run-id"])
def test_a_run_paused_anywhere_commits_nothing(
    scene: Scene, folder: Path, figure: Figure, *, same: bool
) -> None:
    """D2, D3: the same, at every point of the list."""
    _check_paused(scene, folder, STOPS, same=same)
    figure("paused_writers_fenced_nightly", len(STOPS))


def test_a_run_paused_inside_a_swap_does_not_hang_the_others(scene: Scene, lake: Path) -> None:
    """D2: while a process is stopped with the lock in its hand, another leaves within seconds; both end well."""
    scene.copy(lake)
    fault = {"point": "extract:swap:manifest:written", "do": "stop"}
    paused = scene.processes.start(scene.job(lake, run_id="paused", now=None, ttl=0.3, fault=fault))
    _until_stopped(paused)
    time.sleep(0.35)
    other = scene.processes.run(scene.job(lake, run_id="other", now=None))
    paused.signal(signal.SIGCONT)
    assert other.exit == 4, other
    assert "lock" in other.message
    assert other.seconds < 15
    assert paused.wait().exit in {0, 5}
    assert scene.processes.run(scene.job(lake, step="settle", run_id="after", now=None)).ok() == scene.truth


def test_readers_see_one_publication_or_another(scene: Scene, lake: Path, figure: Figure) -> None:
    """D5: asked again and again while a run publishes, readers answer from the old state or the new, never both."""
    scene.copy(lake)
    [old] = [scene.processes.run(scene.job(lake, step="query", sql=SUMS)).ok()]
    readers = [
        scene.processes.start(scene.job(lake, step="query_loop", sql=SUMS, seconds=4.0)) for _ in range(2)
    ]
    scene.processes.run(scene.job(lake, run_id="publisher")).ok()
    [new] = [scene.processes.run(scene.job(lake, step="query", sql=SUMS)).ok()]
    assert old != new
    answers = [reader.wait().ok() for reader in readers]
    legal = {json.dumps([[int(cell) for cell in row] for row in rows]) for rows in (old, new)}
    for found in answers:
        assert found.keys() <= {*legal, "StorageError"}, found
    figure("reads_during_publish", sum(sum(found.values()) for found in answers))


@pytest.mark.parametrize(
    "point",
    [
        "publish:swap:head:after",
        "publish:promote:gold:after",
        "publish:swap:latest:after",
        "publish:swap:manifest:after",
    ],
)
def test_readers_of_a_half_published_lake_are_refused_or_right(scene: Scene, lake: Path, point: str) -> None:
    """D5: after a publish was killed readers get no mixture; the next run makes the lake readable."""
    scene.copy(lake)
    fault = {"point": point, "do": "kill"}
    assert scene.processes.run(scene.job(lake, run_id="killed", fault=fault)).killed
    ended = scene.processes.run(scene.job(lake, step="query", sql=SUMS))
    assert (ended.exit, ended.error) == (4, "StorageError")
    assert "next run finishes" in ended.message
    scene.processes.run(scene.job(lake, step="recover", run_id="next")).ok()
    assert scene.processes.run(scene.job(lake, step="query", sql=SUMS)).ok()


def test_collecting_garbage_all_the_time_harms_no_run(scene: Scene, lake: Path) -> None:
    """D6: gc without any age, over and over, never takes what a run has named or is about to."""
    scene.copy(lake)
    collector = scene.processes.start(scene.job(lake, step="gc_loop", now=None, seconds=4.0))
    digests = []
    for number in range(6):
        ended = scene.processes.run(scene.job(lake, run_id=f"run-{number}", now=None))
        assert ended.exit in {0, 5}, ended
        digests += [ended.result] if ended.exit == 0 else []
    assert collector.wait().ok() > 0
    assert scene.processes.run(scene.job(lake, step="settle", run_id="after", now=None)).ok() == scene.truth
    assert {digest for digest in digests if digest} <= {scene.truth}
