"""Puts the pieces together from settings: an open lake, and a client for whichever API feeds it."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import pydantic

from payments_pipeline.entities import ENTITIES
from payments_pipeline.errors import StorageError, UsageError
from payments_pipeline.flow import Clock, Reporter
from payments_pipeline.lake import Lake, VerifiedFiles
from payments_pipeline.pipeline import Account
from payments_pipeline.settings import STRIPE_URL, Settings
from payments_pipeline.state.head import read_head
from payments_pipeline.storage import Storage, open_storage
from payments_pipeline.stripe.client import ClientOptions, StripeClient
from payments_pipeline.transform.duckdb_engine import DuckDBEngine, EngineOptions
from payments_pipeline.transform.models import discover, sql_root

MOCK_KEY = "sk_test_mock"
_WORLD_DAYS = 90


@dataclass(frozen=True, slots=True)
class World:
    """The simulated account inside the process; the lake remembers it, so that tomorrow's run continues it."""

    seed: int
    start: str
    customers_per_day: int


@dataclass(frozen=True, slots=True)
class Source:
    """An API to read, and the simulated account behind it if it runs inside this process."""

    client: StripeClient
    world: World | None

    def account(self) -> Account:
        """Who answers, asked of the API itself."""
        return Account(self.client.source_info(), asdict(self.world) if self.world else None)


@contextmanager
def open_lake(settings: Settings, clock: Clock, reporter: Reporter) -> Iterator[Lake]:
    """The lake that the settings name, closed when the block ends; nothing is created before it is written to."""
    storage = open_storage(settings.local_data_dir)
    try:
        engine = _engine(settings, storage)
        lake = Lake(storage, engine, discover(sql_root()), VerifiedFiles(storage), clock, reporter)
        try:
            yield lake
        finally:
            engine.close()
    finally:
        storage.close()


@contextmanager
def open_existing(settings: Settings, clock: Clock, reporter: Reporter) -> Iterator[Lake]:
    """Like `open_lake`, but `StorageError` if nothing was ever committed there."""
    if not read_head(open_storage(settings.local_data_dir)).lake_id:
        raise StorageError(
            f"there is no lake in {settings.local_data_dir}; 'payments-pipeline run-pipeline --days 1' fills one. "
            "Nothing was changed."
        )
    with open_lake(settings, clock, reporter) as lake:
        yield lake


@contextmanager
def open_source(settings: Settings, storage: Storage, clock: Clock) -> Iterator[Source]:
    """A client for the API that the settings name; the simulated one is started here if they name none."""
    if settings.uses_embedded_mock:
        world = _world(storage, clock)
        with _embedded(world) as url, _client(settings, url, clock) as client:
            yield Source(client, world)
    else:
        with _client(settings, settings.mock_api_base_url or STRIPE_URL, clock) as client:
            yield Source(client, None)


def _engine(settings: Settings, storage: Storage) -> DuckDBEngine:
    options = EngineOptions(settings.duckdb_memory_limit, settings.duckdb_threads)
    root = Path(storage.url)
    folders = [root] if root.is_absolute() else []
    return DuckDBEngine(ENTITIES.values(), folders=folders, scratch=storage.scratch(), options=options)


def _client(settings: Settings, url: str, clock: Clock) -> StripeClient:
    options = ClientOptions(
        base_url=url,
        api_key=settings.stripe_api_key or pydantic.SecretStr(MOCK_KEY),
        page_size=settings.max_page_size,
        rate=settings.rate,
        connections=settings.max_connections,
    )
    return StripeClient(options, clock)


def _world(storage: Storage, clock: Clock) -> World:
    from mock_api.server import default_start

    known = read_head(storage).world
    if known is not None:
        return World(int(known["seed"]), str(known["start"]), int(known["customers_per_day"]))
    return World(seed=42, start=str(default_start(clock().date(), _WORLD_DAYS)), customers_per_day=10)


@contextmanager
def _embedded(world: World) -> Iterator[str]:
    """The simulated account served on a free port of this machine by a thread of this process."""
    from mock_api.api import create_app
    from mock_api.server import running
    from mock_api.world import World as Business

    business = Business(
        seed=world.seed, start=date.fromisoformat(world.start), customers_per_day=world.customers_per_day
    )
    with running(create_app(business, clock=lambda: int(time.time()))) as url:
        yield url


def require_mock() -> None:
    """`UsageError` unless the web framework that the simulated account needs is installed."""
    if importlib.util.find_spec("fastapi") is None or importlib.util.find_spec("uvicorn") is None:
        raise UsageError(
            "the simulated Stripe account needs the extra 'mock': pip install 'payments-pipeline[mock]'. "
            "Or set STRIPE_API_KEY to read your own account, or MOCK_API_BASE_URL to a running mock API."
        )
