from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from payments_pipeline import pipeline
from payments_pipeline.flow import Quiet
from payments_pipeline.maintenance import verify_lake
from payments_pipeline.session import open_existing
from payments_pipeline.state.manifest import Request
from payments_pipeline.storage import LocalStorage
from payments_pipeline.webhooks.books import standing
from payments_pipeline.webhooks.event import received
from payments_pipeline.webhooks.journal import Journal
from payments_pipeline.webhooks.roll import roll
from tests.e2e.harness import WHOLE, Account, account_of, contents, read_parquet, rebuild, run, settings_for

CUSTOMERS = Request(entities=("customers",), days=400)


@pytest.fixture
def busy() -> Iterator[Account]:
    """An account of the test's own, in which things happen."""
    with account_of(days=2.4, customers_per_day=2) as served:
        yield served


def customer_of(account: Account) -> str:
    """The id of a customer that was not deleted."""
    return next(str(row["id"]) for row in account.world.rows("customers") if not row.get("deleted"))


def renamed_in_silence(account: Account, name: str) -> str:
    """The id of a customer that has changed a minute ago without an event: the feed cannot tell."""
    found = customer_of(account)
    with account.world.lock:
        account.world._change_quietly("customers", found, name=name)
    account.clock.advance(60)
    return found


def notice(account: Account, object_id: Any, **fields: Any) -> dict[str, Any]:
    """An event about a customer; what it says of the customer is wrong."""
    told = {"id": object_id, "object": "customer", "name": "from the payload"}
    return {
        "id": f"evt_{object_id}",
        "object": "event",
        "type": "customer.updated",
        "created": account.clock(),
        "data": {"object": told},
        **fields,
    }


def keep(lake: Path, account: Account, *bodies: dict[str, Any] | bytes) -> None:
    """What a receiver does with deliveries."""
    storage = LocalStorage(lake)
    texts = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in bodies]
    Journal(storage, account.now).keep([received(text, account.now(), "webhook") for text in texts])
    storage.close()


def name_of(lake: Path, customer: str) -> object:
    """The customer's name in silver."""
    [name] = {row["name"] for row in read_parquet(lake, "silver.customers") if row["customer_id"] == customer}
    return name


def waiting(lake: Path) -> int:
    """How many received events no run has dealt with."""
    storage = LocalStorage(lake)
    found = standing(storage)
    storage.close()
    return found.waiting if found else 0


def test_the_next_run_retrieves_what_an_event_names(lake: Path, busy: Account) -> None:
    """Once, as the account has it now; what the payload says of the object is never used."""
    run(lake, busy)
    customer = renamed_in_silence(busy, "New Name")
    run(lake, busy)
    assert name_of(lake, customer) != "New Name"
    keep(lake, busy, notice(busy, customer))
    found = run(lake, busy)
    assert name_of(lake, customer) == "New Name"
    assert found.extract.entities["customers"].retrieved == 1
    assert [part.rows for part in found.extract.webhooks] == [1]
    assert run(lake, busy).extract.entities["customers"].retrieved == 0


def test_an_event_that_came_both_ways_costs_one_retrieval(lake: Path, busy: Account) -> None:
    """By webhook and by the feed, several about one object: it is read once."""
    run(lake, busy)
    customer = customer_of(busy)
    with busy.world.lock:
        for number in range(3):
            busy.world.update_customer(customer, name=f"Name {number}")
        events = [json.loads(json.dumps(event)) for event in busy.world.rows("events")[-3:]]
    busy.clock.advance(60)
    keep(lake, busy, *events)
    assert run(lake, busy).extract.entities["customers"].retrieved == 1
    assert name_of(lake, customer) == "Name 2"


def test_a_deletion_is_believed_of_the_account_only(lake: Path, busy: Account) -> None:
    """An event says that a customer was deleted; it is there, so it stays."""
    run(lake, busy)
    customer = renamed_in_silence(busy, "Still Here")
    keep(lake, busy, notice(busy, customer, type="customer.deleted"))
    run(lake, busy)
    assert name_of(lake, customer) == "Still Here"
    assert not any(
        row["is_deleted"] for row in read_parquet(lake, "silver.customers") if row["customer_id"] == customer
    )


def test_events_of_a_killed_run_are_dealt_with_by_the_next(lake: Path, busy: Account) -> None:
    """A run has made bronze of them and died before it retrieved anything."""
    run(lake, busy)
    customer = renamed_in_silence(busy, "New Name")
    keep(lake, busy, notice(busy, customer))
    with (
        open_existing(settings_for(lake), busy.now, Quiet()) as opened,
        pipeline.opened(opened, "dies") as started,
    ):
        roll(opened, started.context, started.lease)
    assert waiting(lake) == 1
    run(lake, busy)
    assert waiting(lake) == 0
    assert name_of(lake, customer) == "New Name"


def test_a_run_that_follows_no_events_leaves_them_to_the_next(lake: Path, busy: Account) -> None:
    """One entity alone, or a backfill, retrieves nothing that events name."""
    run(lake, busy)
    customer = renamed_in_silence(busy, "New Name")
    keep(lake, busy, notice(busy, customer))
    run(lake, busy, CUSTOMERS, publish=False)
    assert waiting(lake) == 1
    run(lake, busy)
    assert waiting(lake) == 0
    assert name_of(lake, customer) == "New Name"


HOSTILE: dict[str, dict[str, Any]] = {
    "no such object": {},
    "a deletion of nobody, at the end of time": {"type": "customer.deleted", "created": 2**63 - 1},
    "a deletion beyond what a timestamp holds": {"type": "customer.deleted", "created": 253_402_300_800},
    "made before the epoch": {"created": -1},
    "made at a fraction": {"created": 1.5},
    "made at a number without end": {"created": 10**400},
    "made as text": {"created": "now"},
    "of no type": {"type": None},
    "of a connected account": {"account": "acct_other"},
    "about nothing": {"data": None},
    "about a list": {"data": {"object": []}},
    "about an unknown kind": {"data": {"object": {"id": "x_1", "object": "unheard.of"}}},
    "about an object without id": {"data": {"object": {"object": "balance"}}},
    "about a number": {"data": {"object": {"id": 7, "object": "customer"}}},
    "about nobody": {"data": {"object": {"id": "", "object": "customer"}}},
    "about a path": {"data": {"object": {"id": "../../v1/charges", "object": "customer"}}},
    "about a query": {"data": {"object": {"id": "cus_1?expand[]=x#y", "object": "customer"}}},
    "about SQL": {"data": {"object": {"id": "'; drop table x; --", "object": "customer"}}},
    "about a NUL": {"data": {"object": {"id": "cus_\0", "object": "customer"}}},
    "about a long id": {"data": {"object": {"id": "cus_" + "x" * 100_000, "object": "customer"}}},
    "thin": {"object": "v2.core.event", "created": "2026-09-03T00:00:00.000Z", "data": {}},
}


def without_stubs(lake: Path) -> dict[str, object]:
    """What the lake publishes; of customers those that ever showed a state."""
    customers = [row for row in read_parquet(lake, "silver.customers") if row["created_at"] is not None]
    others = {name: text for name, text in contents(lake).items() if "customers" not in name}
    return {**others, "customers": [{**row, "_observed_at": None} for row in customers]}


def test_no_event_stops_a_run_or_changes_what_it_publishes(copy: Path, small: Account) -> None:
    """Signed, but nonsense: all is kept, the run retrieves what there is, and the content is what it was.

    What an event names and the account does not know was created and deleted since, for all a run can tell.
    """
    before = without_stubs(copy)
    bodies = [{**notice(small, f"cus_nowhere{n}"), **odd} for n, odd in enumerate(HOSTILE.values())]
    twice = b'{"id": "evt_a", "id": "evt_twice", "object": "event", "data": 1, "data": {"object": {}}}'
    keep(copy, small, *bodies, twice)
    found = run(copy, small, WHOLE)
    assert sum(part.rows for part in found.extract.webhooks) == len(bodies) + 1
    assert found.extract.quarantine == ()
    assert waiting(copy) == 0
    assert without_stubs(copy) == before
    rebuild(copy, small)
    assert without_stubs(copy) == before
    with open_existing(settings_for(copy), small.now, Quiet()) as opened:
        verify_lake(opened)
