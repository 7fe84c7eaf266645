"""A simulated account behind real HTTP, and the official SDK in front of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import pytest
import stripe

from mock_api.api import create_app
from mock_api.clock import ManualClock
from mock_api.faults import Faults, Rule
from mock_api.server import running
from mock_api.world import World

KEY = "sk_test_mock"
Truth = dict[str, dict[str, dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Served:
    """A running server with everything a test may turn or read."""

    world: World
    clock: ManualClock
    faults: Faults
    url: str

    def client(self, key: str = KEY, **options: Any) -> stripe.StripeClient:
        """The official client, without retries of its own."""
        return stripe.StripeClient(key, base_addresses={"api": self.url}, max_network_retries=0, **options)


Serve = Callable[..., AbstractContextManager[Served]]


@contextmanager
def _served(
    *, days: int, customers_per_day: int, rules: tuple[Rule, ...] = (), rate_limit: float | None = None
) -> Iterator[Served]:
    start = date(2026, 9, 1)
    midnight = int(datetime(start.year, start.month, start.day, tzinfo=UTC).timestamp())
    world = World(seed=7, start=start, customers_per_day=customers_per_day)
    clock = ManualClock(midnight + days * 86_400)
    faults = Faults(rules)
    with running(create_app(world, clock=clock, faults=faults, rate_limit=rate_limit)) as url:
        yield Served(world, clock, faults, url)


@pytest.fixture(scope="session", autouse=True)
def _no_telemetry() -> Iterator[None]:
    """The SDK would write an id into the home folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stripe, "enable_telemetry", False)
        yield


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    """Seventy days of business, for tests that only read."""
    with _served(days=70, customers_per_day=2) as account:
        yield account


@pytest.fixture(scope="session")
def client(served: Served) -> stripe.StripeClient:
    """The official client of the account that is only read."""
    return served.client()


@pytest.fixture(scope="session")
def truth(served: Served) -> Truth:
    """What the account that is only read holds."""
    with served.world.lock:
        served.world.play(served.clock())
        return served.world.truth()


@pytest.fixture
def serve() -> Serve:
    """Opens an account of the test's own: one day old, unless it asks for more."""
    return lambda days=1, customers_per_day=1, **options: _served(
        days=days, customers_per_day=customers_per_day, **options
    )


@pytest.fixture
def shop(serve: Serve) -> Iterator[Served]:
    """A young account of the test's own, to write to."""
    with serve() as account:
        yield account
