"""Every command stops within seconds when it is told to, whatever it is doing; and none needs a listener."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mock_api.faults import Answer, AnyAction, Latency, Rule, Script, Slow
from tests.e2e.harness import Account, Command, account_of, contents, logged, spoken

PROMISED_SECONDS = 5
NIGHTLY = pytest.mark.nightly


@pytest.fixture
def troubled() -> Iterator[Account]:
    """An account of the test's own, whose API may misbehave."""
    with account_of(days=2.4, customers_per_day=2) as served:
        yield served


def _stop(process: subprocess.Popen[str], sent: signal.Signals) -> str:
    """Send the signal; the process must end in time with its exit code and one line. What it said."""
    at = time.monotonic()
    process.send_signal(sent)
    try:
        _, said = process.communicate(timeout=PROMISED_SECONDS)
    finally:
        process.kill()
        process.communicate()
    assert time.monotonic() - at < PROMISED_SECONDS
    assert process.returncode == 128 + sent, said
    assert len(spoken(said)) == 1, said
    assert "safe to run again" in said
    assert "nothing half published" in said
    return said


def _until(process: subprocess.Popen[str], event: str) -> None:
    """Read the log up to an event."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("{") and json.loads(line)["event"] == event:
            return
    raise AssertionError(f"{event} was never logged")


def _is_free(lake: Path) -> bool:
    """Whether the lease was given back, or never taken."""
    path = lake / "_state/lease.json"
    return not path.exists() or json.loads(path.read_text())["body"]["expires_at"] is None


def _is_asked(account: Account, path: str) -> bool:
    """Whether the API has been asked for the path, within some seconds."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if any(account.faults.stats()["fired"]):
            return True
        time.sleep(0.02)
    raise AssertionError(f"{path} was never asked for")


@pytest.mark.parametrize("sent", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=NIGHTLY)])
@pytest.mark.parametrize(
    ("path", "action"),
    [
        ("/v1/account", Answer(429, {"Retry-After": "50"})),
        ("/v1/charges", Answer(429, {"Retry-After": "50"})),
        ("/v1/charges", Latency(50)),
        ("/v1/charges", Slow(1, 1.0)),
    ],
    ids=["waits to ask who it is", "waits to ask again", "waits for an answer", "reads a body that drips"],
)
def test_a_run_that_waits_for_the_source_stops_at_once(
    command: Command, lake: Path, troubled: Account, *, sent: signal.Signals, path: str, action: AnyAction
) -> None:
    """A6: nobody waits for a server that has asked for a minute, or does not answer."""
    troubled.faults.replace(Script((Rule(action, path=path),)))
    process = command.start("run-pipeline", "--days", "3", MOCK_API_BASE_URL=troubled.url)
    assert _is_asked(troubled, path)
    time.sleep(0.3)
    _stop(process, sent)
    assert _is_free(lake)


@pytest.mark.parametrize(
    ("sent", "step", "event"),
    [
        pytest.param(signal.SIGTERM, "run-all", "bronze_write_complete", marks=NIGHTLY),
        (signal.SIGINT, "run-transforms", None),
        pytest.param(signal.SIGTERM, "run-transforms", None, marks=NIGHTLY),
        pytest.param(signal.SIGINT, "run-quality", None, marks=NIGHTLY),
        (signal.SIGTERM, "run-quality", "quality_passed"),
        pytest.param(signal.SIGTERM, "rebuild", None, marks=NIGHTLY),
    ],
)
def test_each_step_of_a_split_run_stops_in_good_order(
    command: Command, lake: Path, loaded: Path, *, sent: signal.Signals, step: str, event: str | None
) -> None:
    """A5: extraction, build, audit and publish give the lake back, and the same RUN_ID goes on from there."""
    split = Command(command.folder, {**command.environ, "RUN_ID": "split", "DAYS": "3"})
    steps = ["run-all", "run-transforms", "run-quality"]
    if step == "rebuild":
        command.ok("run-pipeline", "--days", "3")
        steps = [step]
    for before in steps[: steps.index(step)]:
        split.ok(before)
    process = split.start(step)
    if event is not None:
        _until(process, event)
    else:
        _wait_for_lease(process, lake)
    _stop(process, sent)
    assert _is_free(lake)
    for again in steps[steps.index(step) :]:
        split.ok(again)
    assert contents(lake) == contents(loaded)


def _wait_for_lease(process: subprocess.Popen[str], lake: Path) -> None:
    """Until the step has begun to work on the lake: its lease names the process."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        body = json.loads((lake / "_state/lease.json").read_text())["body"]
        if body["pid"] == process.pid and body["expires_at"] is not None:
            time.sleep(0.05)
            return
        time.sleep(0.005)
    raise AssertionError("the step never took the lake")


@pytest.mark.parametrize("heard", [0, pytest.param(1, marks=NIGHTLY), 9])
def test_a_run_does_not_need_a_listener(command: Command, lake: Path, loaded: Path, heard: int) -> None:
    """A10: whoever read its log goes away before the first line, or after some; the run does all its work."""
    process = command.start("run-pipeline", "--days", "3")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    for _ in range(heard):
        process.stderr.readline()
    process.stderr.close()
    assert process.wait(60) == 0
    assert _is_free(lake)
    assert contents(lake) == contents(loaded)


@pytest.mark.parametrize(
    "closed",
    [">&- 2>&-", pytest.param("<&- >&- 2>&-", marks=NIGHTLY), ">/dev/full 2>/dev/full"],
)
def test_a_run_needs_no_standard_streams(command: Command, lake: Path, loaded: Path, closed: str) -> None:
    """A10: its parent has closed them, or the log's disk is full; no file of the lake is written to in their place."""
    line = f"exec {sys.executable} -m payments_pipeline run-pipeline --days 3 {closed}"
    done = subprocess.run(["sh", "-c", line], cwd=command.folder, env=dict(command.environ), check=False)
    assert done.returncode == 0
    command.ok("verify")
    assert contents(lake) == contents(loaded)


def test_a_reader_that_has_seen_enough_is_no_error(command: Command) -> None:
    """A10: `… | head -1` ends without a word and without an error."""
    process = command.start("models", "dictionary")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(30) == 0


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_answer_that_could_not_be_written_is_an_error(
    command: Command, copy: Path, unbuffered: str
) -> None:
    """The disk that it was to go to is full: a script must not take what is there for the answer."""
    line = (
        f"exec {sys.executable} -m payments_pipeline query 'select 1' --lake {copy} --format csv >/dev/full"
    )
    environ = {**command.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(
        ["sh", "-c", line], cwd=command.folder, env=environ, check=False, capture_output=True, text=True
    )
    assert done.returncode == 4
    assert done.stderr.startswith("error: the output could not be written: No space left on device")
    assert done.stderr.count("\n") == 1


def test_an_error_keeps_its_exit_code_when_nobody_listens(command: Command) -> None:
    """A10: the code says what the line could not."""
    process = command.start("run-pipeline", "--days", "0")
    for stream in (process.stdout, process.stderr):
        assert stream is not None
        stream.close()
    assert process.wait(30) == 2


def test_the_log_is_whole_while_somebody_listens(command: Command) -> None:
    """A10 is no licence to drop lines: each event of a run is there."""
    said = command.ok("run-pipeline", "--days", "3").stderr
    events = [line["event"] for line in logged(said)]
    assert events[-4:] == ["extract_complete", "transform_complete", "quality_passed", "publish_complete"]


@pytest.mark.parametrize("module", [["payments_pipeline", "mock-api"], ["mock_api"]], ids=" ".join)
def test_an_interrupt_while_the_mock_is_loaded_leaves_no_trace(tmp_path: Path, module: list[str]) -> None:
    """A binary module that is interrupted while it is loaded raises an error of its own: it still is Ctrl-C, exit code 130."""
    for name in ("duckdb", "uvicorn"):
        (tmp_path / f"{name}.py").write_text(
            "import os, signal, time\n"
            "try:\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(20)\n"
            "except KeyboardInterrupt as error:\n    raise ImportError('half loaded') from error\n"
        )
    ended = subprocess.run(
        [sys.executable, "-m", *module, "--port", "0"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 130, ended.stderr
    assert "Traceback" not in ended.stderr


def test_who_stopped_no_publication_is_told_of_none(command: Command) -> None:
    """A question that nobody answers ends with what is true of it."""
    done = command("oltp", "reset-db", DATABASE_URL="postgresql://nobody@127.0.0.1:1/empty")
    assert (done.returncode, spoken(done.stderr)[-1]) == (130, "interrupted: it is safe to run again.")
