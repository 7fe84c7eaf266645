from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.harness import Command, contents, spoken

POINTS = [
    ("bronze_write_complete", 1, 0.0),
    ("bronze_write_complete", 9, 0.01),
    ("extract_complete", 1, 0.0),
    ("extract_complete", 1, 0.1),
    ("transform_complete", 1, 0.0),
    ("transform_complete", 1, 0.1),
    ("quality_passed", 1, 0.0),
    ("quality_passed", 1, 0.03),
]
"""Where a run is killed: so many seconds after the log has named this event so many times."""


def _interrupted(
    command: Command, sent: signal.Signals, event: str, count: int, delay: float
) -> subprocess.CompletedProcess[str]:
    """A run that got the signal at that point of its log, and how it ended; it may have been quicker."""
    process = command.start("run-pipeline", "--days", "3")
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith("{") and json.loads(line)["event"] == event:
            count -= 1
        if count == 0:
            break
    time.sleep(delay)
    at = time.monotonic()
    process.send_signal(sent)
    out, rest = process.communicate(timeout=30)
    assert time.monotonic() - at < 5
    return subprocess.CompletedProcess(process.args, process.returncode, out, "".join(said) + rest)


@pytest.mark.parametrize("point", POINTS, ids=str)
def test_a_killed_run_is_finished_by_the_next(
    command: Command, lake: Path, loaded: Path, point: tuple[str, int, float]
) -> None:
    """After SIGKILL anywhere, running again gives the same content as if nothing had happened, and the lake verifies."""
    done = _interrupted(command, signal.SIGKILL, *point)
    assert done.returncode in {-signal.SIGKILL, 0}
    command.ok("run-pipeline", "--days", "3")
    assert contents(lake) == contents(loaded)


@pytest.mark.parametrize(
    ("sent", "point"),
    [(signal.SIGTERM, 0), (signal.SIGTERM, 1), (signal.SIGINT, 1), (signal.SIGTERM, 5)],
)
def test_an_interrupted_run_stops_in_good_order(
    command: Command, lake: Path, loaded: Path, sent: signal.Signals, point: int
) -> None:
    """On SIGTERM or Ctrl-C a run ends within seconds, with its own exit code and one line; the next one finishes."""
    done = _interrupted(command, sent, *POINTS[point])
    assert done.returncode == 128 + sent, done.stderr
    assert len(spoken(done.stderr)) == 1, done.stderr
    assert "safe to run again" in done.stderr
    command.ok("run-pipeline", "--days", "3")
    assert contents(lake) == contents(loaded)


def test_a_run_killed_again_and_again_is_finished_at_last(command: Command, lake: Path, loaded: Path) -> None:
    """Kills during recovery are no different: each run goes on where the last one was stopped."""
    for point in (POINTS[0], POINTS[3], POINTS[6]):
        _interrupted(command, signal.SIGKILL, *point)
    command.ok("run-pipeline", "--days", "3")
    command.ok("verify")
    assert contents(lake) == contents(loaded)


def test_a_killed_run_can_be_continued_under_its_id(command: Command, lake: Path, loaded: Path) -> None:
    """The same RUN_ID again continues that run: one manifest, the same content."""
    named = Command(command.folder, {**command.environ, "RUN_ID": "nightly"})
    _interrupted(named, signal.SIGKILL, *POINTS[1])
    named.ok("run-pipeline", "--days", "3")
    assert contents(lake) == contents(loaded)
    assert [path.name for path in (lake / "_state/manifests").glob("run_*.json")] == ["run_nightly.json"]


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(60))
def test_a_run_killed_at_a_random_time_is_finished_by_the_next(
    command: Command, lake: Path, loaded: Path, seed: int
) -> None:
    """SIGKILL after a random time, start-up included: the next run ends in the same content."""
    process = command.start("run-pipeline", "--days", "3")
    time.sleep(random.Random(seed).uniform(0.2, 4))
    process.kill()
    process.communicate(timeout=30)
    command.ok("run-pipeline", "--days", "3")
    command.ok("verify")
    assert contents(lake) == contents(loaded)
