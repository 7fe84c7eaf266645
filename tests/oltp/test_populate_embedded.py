"""The simulated account inside the process: what one process writes to it, the next one finds."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pydantic
import pytest

from payments_pipeline import layout
from payments_pipeline.errors import CorruptObject, LeaseError, StorageError
from payments_pipeline.flow import Quiet
from payments_pipeline.oltp.populate import Populator
from payments_pipeline.simulation import simulated_account
from payments_pipeline.state.simulated import Simulated
from payments_pipeline.storage import LocalStorage
from payments_pipeline.stripe.client import ClientOptions, StripeClient
from tests.e2e.harness import Command
from tests.oltp.shop import fixture

NOON = datetime(2026, 9, 3, 12, tzinfo=UTC)


class Clock:
    """Moves when told to."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        """The time of day."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """At noon."""
    return Clock()


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    """A folder without a lake, whose account is young and small."""
    found = LocalStorage(tmp_path)
    beginning = Simulated(seed=7, start="2026-09-01", customers_per_day=2)
    found.put(layout.SIMULATED, beginning.sealed())
    return found


def populate(url: str, clock: Clock, *, force: bool = False) -> None:
    """Populate the account at the address, each call a second after the one before."""

    def later() -> datetime:
        clock.now += timedelta(seconds=1)
        return clock.now

    options = ClientOptions(url, pydantic.SecretStr("sk_test_mock"), rate=1000.0)
    with StripeClient(options, later) as client:
        Populator(client, Quiet(), run=clock.now.isoformat())(fixture(), force=force)


def truth(url: str) -> dict[str, dict[str, Any]]:
    """Every object of the account, events included."""
    found: dict[str, dict[str, Any]] = httpx.get(f"{url}/_mock/truth").json()
    return found


def test_the_next_process_finds_the_same_account(storage: LocalStorage, clock: Clock) -> None:
    """Every object and every event, also after a second process wrote, and days later."""
    for force in (False, True):
        with simulated_account(storage, clock) as (world, url):
            populate(url, clock, force=force)
            left = truth(url)
        with simulated_account(storage, clock) as (again, url):
            assert again == world
            assert truth(url) == left
        clock.now += timedelta(days=2)
    written = len([each for each in left["subscriptions"].values() if each["status"] == "canceled"])
    assert written >= len(fixture().subscriptions)


def test_what_was_asked_of_an_old_version_is_repeated_as_such(storage: LocalStorage, clock: Clock) -> None:
    """What Stripe makes of a hold that is let go depends on the version of the request."""
    held: dict[str, Any] = {
        "amount": 500,
        "currency": "usd",
        "payment_method": "pm_card_visa",
        "confirm": "true",
    }
    with simulated_account(storage, clock) as (_, url):
        with httpx.Client(base_url=url, auth=("sk_test_mock", "")) as client:
            made = client.post("/v1/payment_intents", data={**held, "capture_method": "manual"}).json()
            old = {"Stripe-Version": "2025-02-24.acacia"}
            canceled = client.post(f"/v1/payment_intents/{made['id']}/cancel", headers=old)
            assert canceled.json()["status"] == "canceled"
        left = truth(url)
    assert made["latest_charge"] in {refund["charge"] for refund in left["refunds"].values()}
    with simulated_account(storage, clock) as (_, url):
        assert truth(url) == left


def test_reading_remembers_nothing(storage: LocalStorage, clock: Clock) -> None:
    """Not a byte of the folder changes."""
    before = storage.read(layout.SIMULATED)
    with simulated_account(storage, clock) as (_, url):
        assert truth(url)["customers"]
    assert storage.read(layout.SIMULATED) == before


def test_what_a_failing_process_wrote_is_remembered(storage: LocalStorage, clock: Clock) -> None:
    """As a real account would; so the next populate completes it."""
    left = {}

    def fail() -> None:
        with simulated_account(storage, clock) as (_, url):
            populate(url, clock)
            left.update(truth(url))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with simulated_account(storage, clock) as (_, url):
        assert truth(url) == left


def test_of_two_processes_that_write_one_is_told(storage: LocalStorage, clock: Clock) -> None:
    """The account is then as the other left it."""
    left = {}

    def write_at_once() -> None:
        with simulated_account(storage, clock) as (_, first):
            with simulated_account(storage, clock) as (_, second):
                populate(second, clock)
                left.update(truth(second))
            populate(first, clock)

    with pytest.raises(LeaseError, match="Run again"):
        write_at_once()
    with simulated_account(storage, clock) as (_, url):
        assert truth(url) == left


def _damaged(data: bytes) -> bytes:
    return data.replace(b"2026-09-01", b"2026-08-01")


def _of_another_version(data: bytes) -> bytes:
    known = Simulated.unsealed(data, where="")
    writes = [write.model_copy(update={"path": "/v1/sources"}) for write in known.writes]
    return known.model_copy(update={"writes": tuple(writes)}).sealed()


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [(_damaged, CorruptObject), (_of_another_version, StorageError)],
    ids=["damage", "version"],
)
def test_an_account_that_cannot_be_made_again_is_not_replaced_by_another(
    storage: LocalStorage, clock: Clock, spoil: Callable[[bytes], bytes], kind: type[StorageError]
) -> None:
    """The message says what to do, and the file stays as it is."""
    with simulated_account(storage, clock) as (_, url):
        populate(url, clock)
    spoilt = spoil(storage.read(layout.SIMULATED))
    storage.put(layout.SIMULATED, spoilt)
    with pytest.raises(kind, match="remove") as caught, simulated_account(storage, clock):
        pass
    assert type(caught.value) is kind
    assert storage.read(layout.SIMULATED) == spoilt


def test_commands_without_an_address_share_one_account(
    folder: Path, command_for: Callable[..., Command]
) -> None:
    """Populate, fetch and the pipeline, each a process of its own: the fixture's customers are in files and lake."""
    command = command_for(LOCAL_DATA_DIR=str(folder / "lake"))
    start = (datetime.now(UTC) - timedelta(days=2)).date().isoformat()
    beginning = Simulated(seed=7, start=start, customers_per_day=2)
    LocalStorage(folder / "lake").put(layout.SIMULATED, beginning.sealed())
    command.ok("oltp", "populate")
    assert "found" in command.ok("oltp", "populate").stdout
    command.ok("oltp", "fetch")
    customers = json.loads((folder / "data/imported_stripe_data/customers.json").read_bytes())
    emails = {each.email for each in fixture().customers}
    assert emails <= {each.get("email") for each in customers}
    command.ok("run-pipeline", "--days", "1")
    shown = command.ok("query", "select email from silver.customers", "--format", "csv").stdout
    assert emails <= set(shown.split())
