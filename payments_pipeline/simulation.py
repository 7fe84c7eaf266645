"""The simulated account inside this process, which a lake remembers: tomorrow's process continues it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date

from mock_api.journal import Written, repeat
from payments_pipeline import layout
from payments_pipeline.errors import StorageError, UsageError
from payments_pipeline.flow import Clock
from payments_pipeline.state.documents import load, replace
from payments_pipeline.state.head import read_head
from payments_pipeline.state.simulated import Simulated, Write
from payments_pipeline.storage import Storage

_DAYS = 90


@dataclass(frozen=True, slots=True)
class World:
    """What the simulated account is made from: the same values give the same account."""

    seed: int
    start: str
    customers_per_day: int


@contextmanager
def simulated_account(storage: Storage, clock: Clock) -> Iterator[tuple[World, str]]:
    """The account that the lake in `storage` remembers, or a new one, served on a free port by a thread of this process.

    What is written to it is remembered when the block ends, however it ends, and repeated by the next process
    before anything else, so that it is the same account. `LeaseError` if another process wrote to it meanwhile:
    then only the other's writes are remembered.
    """
    require_mock()
    known, version = load(storage, layout.SIMULATED, Simulated)
    world = _world(storage, known, clock)
    past = [Written(**write.model_dump()) for write in known.writes] if known else []
    writes: list[Written] = []
    with _served(world, clock, past, writes) as url:
        try:
            yield world, url
        finally:
            if len(writes) > len(past):
                kept = tuple(Write.model_validate(asdict(write)) for write in writes)
                replace(storage, layout.SIMULATED, Simulated(**asdict(world), writes=kept), expected=version)


@contextmanager
def _served(world: World, clock: Clock, past: Sequence[Written], writes: list[Written]) -> Iterator[str]:
    """The account after `past` was repeated; `writes` becomes all that was ever written to it."""
    from mock_api.api import create_app
    from mock_api.server import running, with_history
    from mock_api.world import World as Business

    def second() -> int:
        return past[len(writes)].at if len(writes) < len(past) else int(clock().timestamp())

    start = date.fromisoformat(world.start)
    business = Business(seed=world.seed, start=start, customers_per_day=world.customers_per_day)
    app = create_app(business, clock=second, written=writes.append)
    with with_history(business, second()), running(app) as url:
        for write in past:
            repeat(url, write)
        if list(past) != writes:
            raise StorageError(
                "what was written to the simulated account cannot be repeated by this version of it. Nothing was "
                f"changed; remove {layout.SIMULATED} from the lake, and 'oltp populate' again."
            )
        yield url


def _world(storage: Storage, known: Simulated | None, clock: Clock) -> World:
    filled_from = read_head(storage).world
    if filled_from is not None:
        return World(
            int(filled_from["seed"]), str(filled_from["start"]), int(filled_from["customers_per_day"])
        )
    if known is not None:
        return World(known.seed, known.start, known.customers_per_day)
    from mock_api.server import default_start

    return World(seed=42, start=str(default_start(clock().date(), _DAYS)), customers_per_day=10)


def require_mock() -> None:
    """`UsageError` unless the web framework that the simulated account needs is installed."""
    if importlib.util.find_spec("fastapi") is None or importlib.util.find_spec("uvicorn") is None:
        raise UsageError(
            "the simulated Stripe account needs the extra 'mock': pip install 'payments-pipeline[mock]'. "
            "Or set STRIPE_API_KEY to read your own account, or MOCK_API_BASE_URL to a running mock API."
        )
