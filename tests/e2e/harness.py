"""What end-to-end tests start from: a simulated account behind HTTP, runs in this process, and the installed command."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import duckdb

from mock_api.api import create_app
from mock_api.clock import ManualClock
from mock_api.faults import Faults, Rule
from mock_api.server import running
from mock_api.world import World
from payments_pipeline import pipeline
from payments_pipeline.entities import ENTITIES
from payments_pipeline.extract import Fetching
from payments_pipeline.flow import Quiet
from payments_pipeline.lake import Lake
from payments_pipeline.pipeline import Run
from payments_pipeline.session import open_existing, open_lake, open_source
from payments_pipeline.settings import Settings
from payments_pipeline.state.manifest import Manifest, Request

CHECKOUT = Path(__file__).parents[2]
START = date(2026, 9, 1)
MIDNIGHT = int(datetime(START.year, START.month, START.day, tzinfo=UTC).timestamp())
DAY = 86_400
WHOLE = Request(entities=tuple(ENTITIES), days=400)
"""A request that covers any of these accounts' whole history."""


@dataclass(frozen=True, slots=True)
class Account:
    """A served account whose clock stands still until a test moves it."""

    world: World
    clock: ManualClock
    faults: Faults
    url: str

    def truth(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Every object's state at the clock's second, by kind and id."""
        with self.world.lock:
            self.world.play(self.clock())
            return self.world.truth()

    def now(self) -> datetime:
        """The account's own time."""
        return datetime.fromtimestamp(self.clock(), UTC)


@contextmanager
def account_of(
    *, days: float, customers_per_day: int, seed: int = 7, rules: tuple[Rule, ...] = ()
) -> Iterator[Account]:
    """Serve an account that is `days` old; the same arguments give the same account.

    Whatever its customers do, one who has paid was deleted when half of that time had passed.
    """
    world = World(seed=seed, start=START, customers_per_day=customers_per_day)
    clock = ManualClock(MIDNIGHT + int(days * DAY))
    world.play(MIDNIGHT + int(days * DAY / 2))
    _delete_a_customer(world)
    faults = Faults(rules)
    with running(create_app(world, clock=clock, faults=faults)) as url:
        yield Account(world, clock, faults, url)


def _delete_a_customer(world: World) -> None:
    payers = [charge["customer"] for charge in world.rows("charges") if charge["status"] == "succeeded"]
    if payers:
        world.delete_customer(payers[0])


def settings_for(lake: Path | str, account: Account | None = None, **environ: str) -> Settings:
    """The settings of an environment that names a lake and, if there is one, an account."""
    source = {"MOCK_API_BASE_URL": account.url} if account else {}
    return Settings.from_env({"LOCAL_DATA_DIR": str(lake), **source, **environ})


def run(
    lake: Path | str,
    account: Account,
    request: Request = WHOLE,
    *,
    publish: bool = True,
    environ: Mapping[str, str] | None = None,
) -> Manifest:
    """One run inside this process, its clock the account's own, so that every row says which state it shows."""
    settings = settings_for(lake, account, **(environ or {}))
    clock = account.now
    run_id = settings.run_id or f"run-{_runs_in(Path(lake)):04d}"
    with (
        open_lake(settings, clock, Quiet()) as opened,
        open_source(settings, opened.storage, clock) as source,
        pipeline.opened(opened, run_id, account=source.account()) as started,
    ):
        fetching = Fetching(source.client, settings.max_connections, settings.safety_window_seconds)
        extracted = pipeline.extract(opened, started, request, fetching)
        return (_published(opened, extracted, settings) if publish else extracted).manifest


def rebuild(lake: Path | str, account: Account) -> Manifest:
    """Build everything anew from bronze, inside this process."""
    settings = settings_for(lake)
    with (
        open_existing(settings, account.now, Quiet()) as opened,
        pipeline.opened(opened, f"rebuild-{_runs_in(Path(lake)):04d}") as started,
    ):
        return _published(opened, started, settings, rebuild=True).manifest


def _published(lake: Lake, started: Run, settings: Settings, *, rebuild: bool = False) -> Run:
    staged = pipeline.transform(lake, started, rebuild=rebuild)
    return pipeline.check_and_publish(lake, staged, max_quarantine_share=settings.max_quarantine_share)


def _runs_in(lake: Path) -> int:
    return len(list((lake / "_state/manifests").glob("run_*.json")))


def digest_of(manifest: Manifest) -> str:
    """The content digest that a run published."""
    assert manifest.publish is not None
    return manifest.publish.digest


def files_of(lake: Path, *folders: str) -> dict[str, str]:
    """Path to sha256 of every file below the folders (default: the whole lake), the `_state/.lock` left out."""
    roots = [lake / folder for folder in folders or (".",)]
    return {
        str(path.relative_to(lake)): hashlib.sha256(path.read_bytes()).hexdigest()
        for root in roots
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def read_parquet(lake: Path, model: str) -> list[dict[str, Any]]:
    """Every row of a model's published files, read as any Parquet reader would."""
    layer, _, name = model.partition(".")
    return _rows(
        lake / (f"silver/source=stripe/entity={name}" if layer == "silver" else f"gold/model={name}")
    )


def contents(lake: Path) -> dict[str, str]:
    """Model folder to a digest of its rows, made without the pipeline's own; when a row was seen does not count."""
    found = {}
    for folder in sorted([*lake.glob("silver/*/*"), *lake.glob("gold/*")]):
        lines = sorted(
            repr([(name, value) for name, value in row.items() if not name.startswith("_")])
            for row in _rows(folder)
        )
        found[folder.name] = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return found


def _rows(folder: Path) -> list[dict[str, Any]]:
    files = [str(path) for path in sorted(folder.glob("dt=*/data.parquet"))]
    if not files:
        return []
    with _reader().cursor() as cursor:
        cursor.execute("select * from read_parquet($files, hive_partitioning = false)", {"files": files})
        columns = [column[0] for column in cursor.description or ()]
        return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


@cache
def _reader() -> duckdb.DuckDBPyConnection:
    """One database for all reading: to open one takes longer than what is asked of it."""
    return duckdb.connect(config={"threads": 1})


@dataclass(frozen=True, slots=True)
class Command:
    """The installed command in a process of its own: an environment with nothing inherited, and an empty home."""

    folder: Path
    environ: Mapping[str, str]

    def __call__(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end; `environ` is added to what the process sees."""
        return subprocess.run(
            _argv(arguments),
            cwd=self.folder,
            env={**self.environ, **environ},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def ok(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Like a call, which must succeed."""
        done = self(*arguments, **environ)
        assert done.returncode == 0, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        """Start it; the caller reads its output and waits for it."""
        return subprocess.Popen(
            _argv(arguments),
            cwd=self.folder,
            env={**self.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def command_in(folder: Path, **environ: str) -> Command:
    """A `Command` whose working directory is `folder` and whose home, inside it, is empty."""
    home = folder / "home"
    home.mkdir(parents=True, exist_ok=True)
    clean = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(CHECKOUT)}
    return Command(folder, {**clean, **environ})


def _argv(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "payments_pipeline", *arguments]


def logged(stderr: str) -> list[dict[str, Any]]:
    """The JSON log lines of a process."""
    return [json.loads(line) for line in stderr.splitlines() if line.startswith("{")]


def spoken(stderr: str) -> list[str]:
    """What a process said on standard error beyond its log."""
    return [line for line in stderr.splitlines() if line.strip() and not line.startswith("{")]


def refusal(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The one line with which the command refused, after checking that it was one line and the exit code."""
    lines = spoken(done.stderr)
    assert done.returncode == code, f"exit {done.returncode}, not {code}\n{done.stdout}\n{done.stderr}"
    assert done.stdout == ""
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]
