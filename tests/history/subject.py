"""A simulated account and a lake that follows it: runs of every kind, quiet or troubled, on the account's own time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pydantic
from starlette.types import ASGIApp, Receive, Scope, Send

from mock_api.api import create_app
from mock_api.clock import ManualClock
from mock_api.faults import Answer, Cut, Drop, Faults, Rule, Script, Truncate
from mock_api.server import running
from mock_api.world import World
from payments_pipeline import pipeline
from payments_pipeline.entities import ENTITIES
from payments_pipeline.extract import Fetching
from payments_pipeline.flow import Clock, Quiet
from payments_pipeline.lake import Lake, VerifiedFiles
from payments_pipeline.pipeline import Account
from payments_pipeline.session import steady_clock
from payments_pipeline.state.head import read_head
from payments_pipeline.state.manifest import Manifest, Request
from payments_pipeline.storage import LocalStorage, Storage
from payments_pipeline.stripe.client import ClientOptions, StripeClient
from payments_pipeline.transform.connection import EngineOptions
from payments_pipeline.transform.duckdb_engine import DuckDBEngine
from payments_pipeline.transform.models import Models, discover, sql_root
from tests.history.changes import happen
from tests.history.mirror import Mirror
from tests.history.storage import Trouble, Troubled

DAY = 86_400
EVERYTHING = Request(entities=tuple(ENTITIES), days=4000)
"""What covers any account's whole life."""

TODAY = Request(entities=tuple(ENTITIES), days=1)

UNSTEADY = Script(
    tuple(
        Rule(action, path="/v1/*", probability=share)
        for action, share in (
            (Answer(429, {"Retry-After": "1"}), 0.05),
            (Answer(500), 0.05),
            (Drop(), 0.04),
            (Cut(0.5), 0.04),
            (Truncate(0.7), 0.04),
        )
    )
)
"""An API of which every fifth call fails."""


class Stage:
    """The app that a server shows now; `between` is called with the number of each API call before it is answered."""

    def __init__(self) -> None:
        self.app: ASGIApp | None = None
        self.between: Callable[[int], None] | None = None
        self._calls = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["path"].startswith("/v1/") and self.between is not None:
            self._calls += 1
            self.between(self._calls)
        assert self.app is not None
        await self.app(scope, receive, send)

    def during(self, between: Callable[[int], None] | None) -> None:
        """Call `between` from now on, calls counted from 1; None: the account keeps still while it is read."""
        self._calls = 0
        self.between = between


@contextmanager
def theatre() -> Iterator[tuple[Stage, str]]:
    """A server whose app can be replaced, and its URL: starting one for every history would take most of the time."""
    stage = Stage()
    stage.app = create_app(World(seed=0, start=date(2026, 1, 1), customers_per_day=0), clock=lambda: 0)
    with running(stage) as url:
        yield stage, url


class Ticks:
    """The account's time, each reading a microsecond after the one before: as on a real machine, no two tie."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._last = datetime.fromtimestamp(0, UTC)
        self._lock = threading.Lock()

    def __call__(self) -> datetime:
        with self._lock:
            now = datetime.fromtimestamp(self._clock(), UTC)
            self._last = max(now, self._last + timedelta(microseconds=1))
            return self._last


class Impatience:
    """Time as a client measures it that never waits: sleeping moves it forward."""

    def __init__(self) -> None:
        self._now = 0.0

    def __call__(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        """Skip."""
        self._now += seconds


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Under what a run takes place. Quiet is the default: no faults, nobody changes anything meanwhile.

    `upsets` are changes (name, aim) that happen one by one before the API calls numbered by their place times
    `upset_every`, the clock a second later each time. `tolerated` is the share that may be quarantined.
    `outage` is the API call from which nothing is answered.
    """

    page_size: int = 100
    safety_seconds: int = 3600
    unsteady: bool = False
    outage: int | None = None
    trouble: Trouble | None = None
    upsets: Sequence[tuple[str, int]] = ()
    upset_every: int = 3
    tolerated: float = 0.0

    @property
    def quiet(self) -> bool:
        """Whether such a run must succeed and then be right."""
        return not (self.unsteady or self.outage or self.trouble or self.upsets)


QUIET = Circumstances()


@cache
def models() -> Models:
    """The project's own models, read once."""
    return discover(sql_root())


@dataclass(slots=True)
class Subject:
    """An account under a manual clock, and the lake in `root` that is to follow it.

    With a `mirror` the lake is in a bucket, and `root` shows what is in it.
    """

    root: Path
    url: str
    stage: Stage
    world: World
    clock: ManualClock
    faults: Faults
    ticks: Ticks = field(init=False)
    mirror: Mirror | None = None
    runs: int = 0
    past: list[dict[str, dict[str, Any]]] = field(default_factory=list)
    """What the account held whenever a run may have looked at it."""

    def __post_init__(self) -> None:
        self.ticks = Ticks(self.clock)

    def change(self, *changes: tuple[str, int]) -> None:
        """Let changes happen, all in the current second."""
        with self.world.lock:
            self.world.play(self.clock())
            for name, aim in changes:
                happen(self.world, name, aim)

    def wait(self, seconds: int) -> None:
        """Let time go by, and with it what the account does by itself."""
        self.clock.advance(seconds)
        with self.world.lock:
            self.world.play(self.clock())

    def run(
        self,
        request: Request = EVERYTHING,
        under: Circumstances = QUIET,
        *,
        publish: bool = True,
        run_id: str | None = None,
    ) -> Manifest:
        """One run. Raises what stops it; `Killed` when its process dies, and then it holds the lease for a minute more."""
        self.stage.during(self._upsetting(under) if under.upsets else None)
        self.faults.replace(self._script(under))
        self.past.append(self.world.truth())
        try:
            with (
                self.opened(under.trouble) as lake,
                self._client(under, lake.clock) as client,
                pipeline.opened(
                    lake, run_id or self.new_id(), account=Account(client.source_info())
                ) as opened,
            ):
                run = pipeline.extract(lake, opened, request, Fetching(client, 1, under.safety_seconds))
                if publish:
                    staged = pipeline.transform(lake, run)
                    run = pipeline.check_and_publish(lake, staged, max_quarantine_share=under.tolerated)
                return run.manifest
        finally:
            self.stage.during(None)
            self.faults.replace(Script())

    def rebuild(self, trouble: Trouble | None = None) -> Manifest:
        """Silver and gold anew from all of bronze."""
        with self.opened(trouble) as lake, pipeline.opened(lake, self.new_id()) as opened:
            staged = pipeline.transform(lake, opened, rebuild=True)
            return pipeline.check_and_publish(lake, staged, max_quarantine_share=0.0).manifest

    @contextmanager
    def opened(self, trouble: Trouble | None = None) -> Iterator[Lake]:
        """The lake, as a process of its own would open it."""
        with self.mirror.opened() if self.mirror else closing(LocalStorage(self.root)) as held:
            storage: Storage = Troubled(held, trouble) if trouble else held
            options = EngineOptions(threads=1)
            engine = DuckDBEngine(
                ENTITIES.values(), folders=[self.root], scratch=held.scratch(), options=options
            )
            try:
                clock = steady_clock(self.ticks, read_head(held), Quiet())
                yield Lake(storage, engine, models(), VerifiedFiles(storage), clock, Quiet())
            finally:
                engine.close()

    def new_id(self) -> str:
        """A RUN_ID that was not used before."""
        self.runs += 1
        return f"run-{self.runs:04d}"

    def _client(self, under: Circumstances, clock: Clock) -> StripeClient:
        time = Impatience()
        options = ClientOptions(
            base_url=self.url,
            api_key=pydantic.SecretStr("sk_test_mock"),
            page_size=under.page_size,
            rate=1000.0,
            connections=1,
        )
        return StripeClient(options, clock, monotonic=time, sleep=time.sleep)

    def _script(self, under: Circumstances) -> Script:
        rules = UNSTEADY.rules if under.unsteady else ()
        if under.outage is not None:
            # One rule for each: `nth` names the calls that fail, and after the first few the client has given up.
            rules = (Rule(Drop(), path="/v1/*", nth=tuple(range(under.outage, under.outage + 20))), *rules)
        return Script(rules, seed=self.runs)

    def _upsetting(self, under: Circumstances) -> Callable[[int], None]:
        waiting = list(under.upsets)

        def between(call: int) -> None:
            if waiting and call % under.upset_every == 0:
                self.wait(1)
                self.change(waiting.pop(0))
                self.past.append(self.world.truth())

        return between


def subject(
    root: Path, stage: Stage, url: str, *, start: date, seed: int, customers_per_day: int = 0
) -> Subject:
    """A new account that opened at `start`, a day and some hours old, and a lake that does not exist yet."""
    world = World(seed=seed, start=start, customers_per_day=customers_per_day)
    midnight = int(datetime(start.year, start.month, start.day, tzinfo=UTC).timestamp())
    clock = ManualClock(midnight)
    faults = Faults()
    stage.app = create_app(world, clock=clock, faults=faults)
    made = Subject(root, url, stage, world, clock, faults)
    made.wait(DAY + 40_000)
    return made


Opening = Callable[..., Subject]
"""Opens an account, and a lake that is to follow it."""
