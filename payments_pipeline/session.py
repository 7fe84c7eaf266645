"""Puts the pieces together from settings: an open lake, and a client for whichever API feeds it."""

from __future__ import annotations

import secrets
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pydantic

from payments_pipeline import pipeline
from payments_pipeline.entities import ENTITIES
from payments_pipeline.errors import StorageError
from payments_pipeline.extract import Fetching
from payments_pipeline.flow import Clock, Quiet, Reporter
from payments_pipeline.lake import Lake, VerifiedFiles
from payments_pipeline.pipeline import Account
from payments_pipeline.settings import STRIPE_URL, Settings
from payments_pipeline.simulation import World, simulated_account
from payments_pipeline.state.head import Head, read_head
from payments_pipeline.state.manifest import Manifest, Request
from payments_pipeline.storage import Storage, StorageOptions, open_storage
from payments_pipeline.stripe.client import ClientOptions, StripeClient
from payments_pipeline.transform.connection import EngineOptions
from payments_pipeline.transform.duckdb_engine import DuckDBEngine
from payments_pipeline.transform.models import discover, sql_root

MOCK_KEY = "sk_test_mock"


@dataclass(frozen=True, slots=True)
class Source:
    """An API to read, and the simulated account behind it if it runs inside this process."""

    client: StripeClient
    world: World | None

    def account(self) -> Account:
        """Who answers, asked of the API itself."""
        return Account(self.client.source_info(), asdict(self.world) if self.world else None)


@contextmanager
def storage_of(settings: Settings) -> Iterator[Storage]:
    """The storage that the settings name, closed when the block ends; whether a lake is in it is not looked at."""
    options = StorageOptions(settings.aws_region, settings.s3_sse, settings.s3_kms_key_id)
    storage = open_storage(settings.lake, options)
    try:
        yield storage
    finally:
        storage.close()


@contextmanager
def open_lake(
    settings: Settings, clock: Clock, reporter: Reporter, *, scratch: Path | None = None
) -> Iterator[Lake]:
    """The lake that the settings name, closed when the block ends.

    DuckDB keeps temporary files in `scratch`, or else in the storage's own, from where they can be moved into place.
    """
    with storage_of(settings) as storage:
        steady = steady_clock(clock, read_head(storage), reporter)
        engine = _engine(settings, storage, scratch or storage.scratch())
        lake = Lake(storage, engine, discover(sql_root()), VerifiedFiles(storage), steady, reporter)
        try:
            yield lake
        finally:
            engine.close()


@contextmanager
def open_existing(settings: Settings, clock: Clock, reporter: Reporter) -> Iterator[Lake]:
    """Like `open_lake`, but `StorageError` if nothing was ever committed there."""
    _check_exists(settings)
    with open_lake(settings, clock, reporter) as lake:
        yield lake


@contextmanager
def open_for_reading(settings: Settings) -> Iterator[Lake]:
    """Like `open_existing`, and not one byte of the lake's folder changes: it may be read-only."""
    _check_exists(settings)
    with (
        tempfile.TemporaryDirectory(prefix="payments-pipeline-") as folder,
        open_lake(settings, now, Quiet(), scratch=Path(folder)) as lake,
    ):
        yield lake


@contextmanager
def open_source(settings: Settings, storage: Storage, clock: Clock) -> Iterator[Source]:
    """A client for the API that the settings name; the simulated one is started here if they name none."""
    if settings.uses_embedded_mock:
        with simulated_account(storage, clock) as (world, url), _client(settings, url, clock) as client:
            yield Source(client, world)
    else:
        with _client(settings, settings.mock_api_base_url or STRIPE_URL, clock) as client:
            yield Source(client, None)


def execute(
    settings: Settings, request: Request, run_id: str, reporter: Reporter, *, publish: bool
) -> Manifest:
    """Carry out `request` from the API to bronze, and with `publish` on to audited gold; the run's manifest.

    Raises a `PipelineError` for whatever stops it; what was landed until then is kept.
    """
    with (
        open_lake(settings, now, reporter) as lake,
        open_source(settings, lake.storage, lake.clock) as source,
        pipeline.opened(lake, run_id, account=_named(settings, source, reporter)) as opened,
    ):
        fetching = Fetching(source.client, settings.max_connections, settings.safety_window_seconds)
        run = pipeline.extract(lake, opened, request, fetching)
        if publish:
            run = pipeline.build_and_publish(lake, run, max_quarantine_share=settings.max_quarantine_share)
    return run.manifest


def now() -> datetime:
    """The real clock, UTC."""
    return datetime.now(UTC)


def steady_clock(clock: Clock, head: Head, reporter: Reporter) -> Clock:
    """The clock, never before the lake's last commit or its own last answer: what is observed now is newer than both."""
    last = max((run.at for run in head.runs), default=clock())
    ahead, lock = max(last - clock(), timedelta(0)), threading.Lock()
    if ahead:
        reporter.event("clock_behind_last_run", seconds=ahead.total_seconds())

    def steady() -> datetime:
        nonlocal ahead, last
        with lock:
            read = clock()
            ahead = max(ahead, last - read)
            last = read + ahead
            return last

    return steady


def new_run_id() -> str:
    """A run id that sorts by time."""
    return f"run-{now():%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def _check_exists(settings: Settings) -> None:
    with storage_of(settings) as storage:
        is_empty = read_head(storage) == Head(lake_id="")
    if is_empty:
        raise StorageError(
            f"there is no lake in {settings.lake}; 'payments-pipeline run-pipeline --days 1' fills one. "
            "Nothing was changed."
        )


def _named(settings: Settings, source: Source, reporter: Reporter) -> Account:
    """Who answers, said before anything else: a run on the simulated account must not be taken for one on a real one."""
    account = source.account()
    reporter.event(
        "source_opened",
        source=settings.source,
        account=account.source.account or "unknown",
        livemode=account.source.livemode,
    )
    return account


def _engine(settings: Settings, storage: Storage, scratch: Path) -> DuckDBEngine:
    options = EngineOptions(settings.duckdb_memory_limit, settings.duckdb_threads)
    root = Path(storage.url)
    folders = [root] if root.is_absolute() else [storage.scratch()]
    return DuckDBEngine(ENTITIES.values(), folders=folders, scratch=scratch, options=options)


def _client(settings: Settings, url: str, clock: Clock) -> StripeClient:
    options = ClientOptions(
        base_url=url,
        api_key=settings.stripe_api_key or pydantic.SecretStr(MOCK_KEY),
        page_size=settings.max_page_size,
        rate=settings.rate,
        connections=settings.max_connections,
    )
    return StripeClient(options, clock)
