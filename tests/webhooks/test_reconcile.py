from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mock_api.faults import Poison, Rule, Script
from mock_api.gateway import encoded
from payments_pipeline.errors import CorruptObject, UsageError
from payments_pipeline.flow import Quiet
from payments_pipeline.inspect import consistently, run_query
from payments_pipeline.maintenance import collect_garbage
from payments_pipeline.retention import Retention
from payments_pipeline.session import open_existing, open_for_reading
from payments_pipeline.storage import LocalStorage
from payments_pipeline.transform.reconciliation import FLAGS
from payments_pipeline.webhooks.event import received
from payments_pipeline.webhooks.journal import Journal
from payments_pipeline.webhooks.reconcile import Period, Reconciliation, publish_reconciliation, reconcile
from tests.e2e.harness import Account, account_of, files_of, run, settings_for

Event = dict[str, Any]
Change = Callable[[list[Event]], None]


def events_of(account: Account) -> list[Event]:
    """Every event of the account as Stripe would send it, oldest first."""
    with account.world.lock:
        rows = [json.loads(encoded(event)) for event in account.world.rows("events")]
    return sorted(rows, key=lambda event: int(event["created"]))


def deliver(lake: Path, account: Account, events: Iterable[Event], *, delay: float = 2) -> None:
    """Keep the events in the order given, each received so many seconds after it happened."""
    storage = LocalStorage(lake)
    journal, last = Journal(storage, account.now), account.now() - timedelta(days=99)
    for event in events:
        happened = account.now() - timedelta(seconds=account.clock() - event["created"])
        last = max(happened + timedelta(seconds=delay), last + timedelta(milliseconds=1))
        journal.keep([received(encoded(event), last, "webhook")])
    storage.close()


def compared(
    lake: Path, account: Account, *, hours: float = 999, read_until: float = 0, now: float = 0
) -> Reconciliation:
    """The last hours reconciled and published; `read_until` and `now` are seconds from the account's now."""
    moment = account.now()
    period = Period(
        start=moment - timedelta(hours=hours),
        end=moment + timedelta(seconds=60),
        now=moment + timedelta(seconds=now),
        read_until=moment + timedelta(seconds=read_until),
    )
    with open_existing(settings_for(lake), account.now, Quiet()) as opened:
        found, relation = consistently(opened, lambda: reconcile(opened, period))
        publish_reconciliation(opened.storage, found, relation)
    return found


def flagged(found: Reconciliation) -> dict[str, tuple[str, ...]]:
    """The flags that any event carries, and the ids."""
    assert tuple(found.counts) == FLAGS
    return {flag: ids for flag, ids in found.samples.items() if ids}


def test_what_was_delivered_and_read_agrees(copy: Path, small: Account) -> None:
    """Every event of the account came by webhook and by the feed: no flag anywhere, and no published byte changes."""
    before = files_of(copy, "silver", "gold")
    deliver(copy, small, events_of(small))
    found = compared(copy, small)
    assert found.events == found.received == len(events_of(small))
    assert found.agrees
    assert flagged(found) == {}
    assert files_of(copy, "silver", "gold") == before


def _lost(events: list[Event]) -> None:
    del events[3]


def _invented(events: list[Event]) -> None:
    events.insert(4, {**events[3], "id": "evt_invented"})


def _other_type(events: list[Event]) -> None:
    events[3]["type"] = "charge.other"


def _other_object(events: list[Event]) -> None:
    events[3]["data"]["object"]["id"] = "ch_other"


def _other_past(events: list[Event]) -> None:
    next(event for event in events if "previous_attributes" in event["data"])["data"][
        "previous_attributes"
    ] = {"amount": 7}


def _other_version(events: list[Event]) -> None:
    for event in events:
        event["api_version"] = "2019-01-01"
        if "previous_attributes" in event["data"]:
            event["data"]["previous_attributes"] = {"plan": "as it was called then"}


def _connected(events: list[Event]) -> None:
    events.insert(4, {**events[3], "id": "evt_connected", "account": "acct_other"})


def _thin(events: list[Event]) -> None:
    events.insert(4, {"id": "evt_thin", "object": "v2.core.event", "created": events[3]["created"]})


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        (_lost, "is_missing"),
        (_invented, "is_extra"),
        (_other_type, "is_different"),
        (_other_object, "is_different"),
        (_other_past, "is_different"),
    ],
)
def test_one_wrong_event_is_named(copy: Path, small: Account, change: Change, flag: str) -> None:
    """Lost on the way, never announced by the feed, or told differently: the sides disagree about just that one."""
    events = events_of(small)
    before = {event["id"]: json.dumps(event) for event in events}
    change(events)
    after = {event["id"]: json.dumps(event) for event in events}
    [wrong] = dict(before.items() ^ after.items())
    deliver(copy, small, events)
    found = compared(copy, small)
    assert not found.agrees
    assert flagged(found) == {flag: (wrong,)}


@pytest.mark.parametrize("change", [_other_version, _connected, _thin])
def test_what_an_endpoint_may_get_is_no_difference(copy: Path, small: Account, change: Change) -> None:
    """Payloads in another API version, events of connected accounts, and thin events leave the sides agreed."""
    events = events_of(small)
    change(events)
    deliver(copy, small, events)
    found = compared(copy, small)
    assert found.agrees
    assert flagged(found) == {}


def test_late_deliveries_are_told_and_are_no_disagreement(copy: Path, small: Account) -> None:
    """Five minutes are in time, one second more is late."""
    events = events_of(small)
    deliver(copy, small, events[1:], delay=300)
    deliver(copy, small, events[:1], delay=302)
    found = compared(copy, small)
    assert found.agrees
    assert events[0]["id"] in flagged(found)["is_late"]


def test_an_overtaken_event_is_out_of_order(copy: Path, small: Account) -> None:
    """Delivered after a newer event about the same object: told by its id, and no disagreement."""
    events = events_of(small)
    by_object: dict[str, list[Event]] = {}
    for event in events:
        by_object.setdefault(str(event["data"]["object"].get("id")), []).append(event)
    old = next(some[0] for some in by_object.values() if some[0]["created"] < some[-1]["created"])
    deliver(copy, small, [*(event for event in events if event is not old), old])
    found = compared(copy, small)
    assert found.agrees
    assert flagged(found)["is_out_of_order"] == (old["id"],)


def test_what_nobody_can_know_yet_is_not_held_against_anybody(copy: Path, small: Account) -> None:
    """An event newer than the last run is not extra, and one that happened just now is not missing."""
    events = events_of(small)
    newest = events[-1]
    fresh = {**newest, "id": "evt_fresh", "created": small.clock() + 5}
    deliver(copy, small, [*events[:-1], fresh])
    age = small.clock() - newest["created"]
    found = compared(copy, small, now=300 - age)
    assert found.agrees
    assert flagged(found) == {}
    found = compared(copy, small, now=301 - age)
    assert flagged(found) == {"is_missing": (newest["id"],)}
    found = compared(copy, small, read_until=6, now=300 - age)
    assert flagged(found) == {"is_extra": ("evt_fresh",), "is_object_stale": ("evt_fresh",)}


def test_an_object_that_was_read_is_not_stale_though_silver_has_no_column_for_what_changed(
    lake: Path,
) -> None:
    """A customer moves within the town: nothing of silver is written for it, and a run has read the customer since."""
    with account_of(days=2.4, customers_per_day=2) as account:
        run(lake, account)
        account.clock.advance(3600)
        with account.world.lock:
            account.world.play(account.clock())
            customer = next(row for row in account.world.rows("customers") if row["address"])
            account.world.update_customer(
                customer["id"], address={**customer["address"], "line1": "Elsewhere 1"}
            )
        account.clock.advance(60)
        deliver(lake, account, events_of(account))
        stale = compared(lake, account, read_until=1)
        run(lake, account)
        assert len(flagged(stale)["is_object_stale"]) > 0
        assert flagged(compared(lake, account)) == {}


def test_a_line_that_the_build_did_not_take_is_no_reading_of_the_object(lake: Path) -> None:
    """A customer is renamed, and listed again with a key that occurs twice: silver shows the old name, and that is told."""
    twice = Rule(Poison('false, "livemode": false', field="livemode"), path="/v1/customers", times=1)
    with account_of(days=2.4, customers_per_day=2) as account:
        with account.world.lock:
            account.world.play(account.clock())
            customer = account.world.create_customer(name="Old")["id"]
        account.clock.advance(100)
        run(lake, account)
        account.clock.advance(100)
        with account.world.lock:
            account.world.play(account.clock())
            account.world.update_customer(customer, name="New")
        account.clock.advance(100)
        account.faults.replace(Script((twice,)))
        done = run(lake, account, environ={"MAX_QUARANTINE_SHARE": "0.9"})
        assert done.transform is not None
        assert done.transform.counts["customers"].quarantined == 1
        deliver(lake, account, events_of(account))
        assert len(flagged(compared(lake, account))["is_object_stale"]) == 1


def test_a_damaged_part_of_bronze_is_named(copy: Path, small: Account) -> None:
    """What was read is not told from other bytes than those that were committed."""
    [part, *_] = sorted(copy.glob("bronze/source=stripe/entity=charges/dt=*/*/part-*.jsonl"))
    part.write_bytes(part.read_bytes().replace(b'"observed_at":"2', b'"observed_at":"3', 1))
    with pytest.raises(CorruptObject, match=part.name):
        compared(copy, small)


def test_only_the_period_is_compared(copy: Path, small: Account) -> None:
    """Of events before it nothing is said, though none of them was delivered."""
    since = small.clock() - 6 * 3600
    recent = [event for event in events_of(small) if event["created"] >= since]
    deliver(copy, small, recent)
    found = compared(copy, small, hours=6)
    assert found.agrees
    assert found.events == len(recent) > 0


def test_an_event_that_came_to_two_receivers_is_one_row(copy: Path, small: Account) -> None:
    """Rolled and in the journal at once, as while a run rolls: it counts once."""
    events = events_of(small)
    deliver(copy, small, events)
    part = next((copy / "bronze/source=stripe/entity=webhook_events").glob("dt=*/journal=*/part-*1.jsonl"))
    twin = part.parent.parent / "run_id=killed" / "part-000001-00000009.jsonl"
    twin.parent.mkdir()
    twin.write_bytes(part.read_bytes())
    assert compared(copy, small).events == len(events)


def test_sql_sees_the_last_comparison(copy: Path, small: Account) -> None:
    """`marts.webhook_reconciliation` has no rows before the first, then those of the last; a damaged file is not served."""
    count = "SELECT count(*), count(*) filter (is_missing) FROM marts.Webhook_Reconciliation"

    def asked() -> list[tuple[object, ...]]:
        with open_for_reading(settings_for(copy)) as opened:
            return [tuple(row) for row in run_query(opened, count).rows]

    assert asked() == [(0, 0)]
    events = events_of(small)
    deliver(copy, small, events[1:])
    compared(copy, small)
    assert asked() == [(len(events), 1)]
    compared(copy, small, hours=0)
    assert asked() == [(0, 0)]
    compared(copy, small)
    [file] = (copy / "_state/reports").glob("*.parquet")
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(CorruptObject, match="reconcile"):
        asked()


def test_the_reports_say_what_was_found(copy: Path, small: Account) -> None:
    """JSON for machines and Markdown for people, named after the period."""
    events = events_of(small)
    deliver(copy, small, events[1:])
    found = compared(copy, small)
    stem = copy / "_state/reports" / f"reconcile_{found.name}"
    told = json.loads(stem.with_suffix(".json").read_text())
    assert (told["agrees"], told["events"], told["received"]) == (False, len(events), len(events) - 1)
    assert told["counts"]["is_missing"] == 1
    text = stem.with_suffix(".md").read_text()
    assert "do not agree" in text
    assert f"| 1 | `is_missing` | in the feed, and no webhook brought it | `{events[0]['id']}` |" in text


def test_what_retention_removed_is_not_called_missing(copy: Path, small: Account) -> None:
    """The index still knows them, and would take them for duplicates if they were sent again: the period is refused."""
    deliver(copy, small, events_of(small))
    run(copy, small, environ={"RUN_ID": "rolled"})
    with open_existing(settings_for(copy), small.now, Quiet()) as opened:
        collect_garbage(opened, min_age_seconds=-1e9, dry_run=False, retention=Retention(bronze=0))
    with pytest.raises(UsageError, match=r"were removed \('gc --bronze-days'\)"):
        compared(copy, small)
