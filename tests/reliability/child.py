"""What the tests' child processes do: one step of the pipeline over a disk that may fail.

`python -m tests.reliability.child` imports everything once and then forks a process per job, so that a job costs
only its own work. Jobs and answers are JSON lines on standard input and output.
"""

from __future__ import annotations

import functools
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from payments_pipeline import pipeline, storage
from payments_pipeline.entities import ENTITIES
from payments_pipeline.errors import LeaseError, PipelineError
from payments_pipeline.extract import Fetching
from payments_pipeline.inspect import run_query
from payments_pipeline.lake import Lake, VerifiedFiles
from payments_pipeline.maintenance import collect_garbage, verify_lake
from payments_pipeline.session import open_source, steady_clock
from payments_pipeline.settings import Settings
from payments_pipeline.state.head import read_head
from payments_pipeline.state.lease import Lease
from payments_pipeline.state.manifest import Request
from payments_pipeline.transform.connection import EngineOptions
from payments_pipeline.transform.duckdb_engine import DuckDBEngine
from payments_pipeline.transform.models import Models, discover, sql_root
from tests.reliability.disk import Disk, Fault, install
from tests.reliability.points import NamedStorage

_DECADE = 3650 * 86_400
"""Files are as old as this machine's clock says, the lake's clock may be months behind: old enough, by any clock."""


@dataclass(frozen=True, slots=True)
class Job:
    """One process's task. `now` (Unix seconds) stops its clock; `limits` are resource limits by name."""

    lake: str
    step: str = "run"
    url: str = ""
    now: int | None = None
    run_id: str = "run"
    days: int = 400
    environ: Mapping[str, str] = field(default_factory=dict)
    fault: Mapping[str, Any] | None = None
    log: str | None = None
    ttl: float | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    uid: int | None = None
    sql: str = ""
    seconds: float = 0.0
    answer: str = ""


class _Steps:
    """A reporter that follows the run from step to step, so that points are named after it."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self.events: list[str] = []

    def event(self, name: str, **_: object) -> None:
        """Hear what has ended, and name what begins."""
        self.events.append(name)
        following = {"quality_passed": "publish", "publish_complete": "close"}
        self._disk.step = following.get(name, self._disk.step)

    def progress(self, entity: str, records: int) -> None:
        """Nothing hangs on single records."""


class _Process:
    """The lake as one job sees it."""

    def __init__(self, job: Job, models: Models) -> None:
        fault = Fault(**job.fault) if job.fault else None
        os.environ.update(job.environ)  # boto3 has its own way to be told where a store is
        self.job = job
        self.disk = Disk(Path(job.lake), fault, Path(job.log) if job.log else None)
        self.reporter = _Steps(self.disk)
        self.models = models
        environ = {"LOCAL_DATA_DIR": job.lake, "MAX_CONNECTIONS": "2", **job.environ}
        if job.url:
            environ["MOCK_API_BASE_URL"] = job.url
        self.settings = Settings.from_env(environ)

    def clock(self) -> datetime:
        return datetime.fromtimestamp(self.job.now, UTC) if self.job.now is not None else datetime.now(UTC)

    def lake(self) -> Lake:
        held = NamedStorage(storage.open_storage(self.job.lake), self.disk)
        clock = steady_clock(self.clock, read_head(held), self.reporter)
        engine = DuckDBEngine(
            ENTITIES.values(),
            folders=[Path(held.url)] if held.url.startswith("/") else [],
            scratch=held.scratch(),
            options=EngineOptions(self.settings.duckdb_memory_limit, 1),
        )
        return Lake(held, engine, self.models, VerifiedFiles(held), clock, self.reporter)

    def run(self, lake: Lake) -> str:
        """From the API to published gold; the content digest."""
        settings, disk = self.settings, self.disk
        request = Request(entities=tuple(ENTITIES), days=self.job.days)
        with (
            open_source(settings, lake.storage, lake.clock) as source,
            pipeline.opened(lake, self.job.run_id, account=source.account()) as opened,
        ):
            fetching = Fetching(source.client, settings.max_connections, settings.safety_window_seconds)
            disk.step = "extract"
            run = pipeline.extract(lake, opened, request, fetching)
            disk.step = "transform"
            run = pipeline.transform(lake, run)
            disk.step = "audit"
            run = pipeline.check_and_publish(lake, run, max_quarantine_share=1.0)
        assert run.manifest.publish is not None
        return run.manifest.publish.digest

    def extract(self, lake: Lake) -> str:
        """The API into bronze, no further."""
        request = Request(entities=tuple(ENTITIES), days=self.job.days)
        with (
            open_source(self.settings, lake.storage, lake.clock) as source,
            pipeline.opened(lake, self.job.run_id, account=source.account()) as opened,
        ):
            self.disk.step = "extract"
            fetching = Fetching(source.client, self.settings.max_connections, 3600)
            return pipeline.extract(lake, opened, request, fetching).manifest.outcome

    def rebuild(self, lake: Lake) -> str:
        """Silver and gold anew from bronze; the content digest."""
        with pipeline.opened(lake, self.job.run_id) as opened:
            self.disk.step = "rebuild"
            run = pipeline.transform(lake, opened, rebuild=True)
            self.disk.step = "audit"
            run = pipeline.check_and_publish(lake, run, max_quarantine_share=1.0)
        assert run.manifest.publish is not None
        return run.manifest.publish.digest

    def settle(self, lake: Lake) -> str:
        """Run, verify and collect garbage; the content digest."""
        digest = self.run(lake)
        verify_lake(lake)
        self.gc(lake)
        return digest

    def inspect(self, lake: Lake) -> str:
        """Open the lake as the next run would, read everything it names and one model; what is published."""
        with pipeline.opened(lake, self.job.run_id):
            pass
        verify_lake(lake)
        run_query(lake, "select count(*) from gold.fct_payments")
        return str(read_head(lake.storage).published)

    def recover(self, lake: Lake) -> str:
        """Only open the lake, which finishes what a killed run left open."""
        self.disk.step = "recover"
        with pipeline.opened(lake, self.job.run_id):
            pass
        return "recovered" if "publish_recovered" in self.reporter.events else "nothing to recover"

    def gc(self, lake: Lake) -> list[str]:
        """Remove everything that nothing names."""
        self.disk.step = "gc"
        return collect_garbage(lake, min_age_seconds=-_DECADE, dry_run=False)

    def gc_loop(self, lake: Lake) -> int:
        """Remove what nothing names, again and again; how often the lake was free for it."""
        return self._again(lambda: len(collect_garbage(lake, min_age_seconds=0, dry_run=False)) >= 0)

    def verify(self, lake: Lake) -> int:
        """The number of objects that are as recorded."""
        return verify_lake(lake)

    def query(self, lake: Lake) -> list[list[str]]:
        """The answer to one question."""
        return [[str(cell) for cell in row] for row in run_query(lake, self.job.sql).rows]

    def query_loop(self, lake: Lake) -> dict[str, int]:
        """How often each answer (or refusal) came back when asked again and again, in the order of appearance."""
        answers: dict[str, int] = {}

        def ask() -> bool:
            fresh = Lake(
                lake.storage, lake.engine, lake.models, VerifiedFiles(lake.storage), lake.clock, lake.reporter
            )
            try:
                answer = json.dumps(run_query(fresh, self.job.sql).rows, default=str)
            except PipelineError as error:
                answer = type(error).__name__
            answers[answer] = answers.get(answer, 0) + 1
            return True

        self._again(ask)
        return answers

    def _again(self, work: Callable[[], bool]) -> int:
        until, done = time.monotonic() + self.job.seconds, 0
        while time.monotonic() < until:
            with suppress(LeaseError):
                done += work()
            time.sleep(0.01)
        return done


def perform(job: Job, models: Models) -> dict[str, Any]:
    """Carry out the job; what came of it. Anything but a `PipelineError` is a defect, and says so."""
    _confine(job)
    process = _Process(job, models)
    install(process.disk)
    started = time.monotonic()
    try:
        lake = process.lake()
        try:
            found = {"exit": 0, "result": getattr(process, job.step)(lake)}
        finally:
            lake.close()
    except PipelineError as error:
        found = {"exit": error.exit_code, "error": type(error).__name__, "message": str(error)}
    except BaseException as error:  # noqa: BLE001 - the test shows it
        found = {"exit": 70, "error": type(error).__name__, "message": str(error)}
    for name in job.limits:
        limit = getattr(resource, f"RLIMIT_{name}")
        resource.setrlimit(limit, (resource.getrlimit(limit)[1],) * 2)
    return {
        **found,
        "seconds": time.monotonic() - started,
        "points": process.disk.summary(),
        "events": process.reporter.events,
    }


def _confine(job: Job) -> None:
    if job.ttl is not None:
        pipeline.Lease = functools.partial(Lease, ttl=job.ttl)  # type: ignore[assignment,attr-defined]  # a lease that ends sooner
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for name, value in job.limits.items():
        limit = getattr(resource, f"RLIMIT_{name}")
        resource.setrlimit(limit, (value, resource.getrlimit(limit)[1]))
    if job.uid is not None:
        os.setgroups([])
        os.setgid(job.uid)
        os.setuid(job.uid)


def main() -> None:
    """Fork a process for every job that comes in; answer with its id, and later with how it ended."""
    models = discover(sql_root())
    for line in sys.stdin:
        command = json.loads(line)
        if "job" in command:
            answer: Mapping[str, Any] = {"pid": _forked(Job(**command["job"]), models)}
        else:
            answer = _awaited(command["wait"], command["timeout"])
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _forked(job: Job, models: Models) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        if job.uid is None:
            output = os.open(job.answer, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        else:
            output = os.open(job.answer, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        found = perform(job, models)
        os.write(output, json.dumps(found).encode())
        status = 0
    finally:
        os._exit(status)


def _awaited(pid: int, timeout: float) -> Mapping[str, Any]:
    """The exit status, negative for a signal; a process that takes longer than `timeout` is killed, and `late`."""
    until = time.monotonic() + timeout
    late = False
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return {"status": os.waitstatus_to_exitcode(status), "late": late}
        if not late and time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
            late = True
        time.sleep(0.002)


if __name__ == "__main__":
    main()
