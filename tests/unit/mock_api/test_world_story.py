"""What the simulated business contains, and that it is the same everywhere."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter
from datetime import date

import pytest

from mock_api.money import DAY, EXPONENTS
from mock_api.world import KINDS, World

DIGEST = "from tests.unit.mock_api.test_world_story import digest; print(digest())"


def digest() -> str:
    """The sha256 of everything in one small world."""
    world = World(seed=7, start=date(2026, 3, 20), customers_per_day=3)
    world.play(world.now + 25 * DAY)
    return hashlib.sha256(json.dumps(world.truth()).encode()).hexdigest()


@pytest.fixture(scope="module")
def world() -> World:
    """The demo: ninety days, ten customers a day."""
    world = World(seed=42, start=date(2026, 8, 1), customers_per_day=10)
    world.play(world.now + 90 * DAY)
    return world


def values(world: World, kind: str, name: str) -> set[object]:
    """Every value of one field."""
    return {row[name] for row in world.rows(kind)}


@pytest.mark.parametrize(
    ("kind", "statuses"),
    [
        ("subscriptions", "active canceled incomplete_expired past_due trialing"),
        ("invoices", "draft open paid uncollectible void"),
        (
            "payment_intents",
            "canceled processing requires_action requires_capture requires_payment_method succeeded",
        ),
        ("charges", "failed pending succeeded"),
        ("refunds", "failed succeeded"),
        ("disputes", "lost needs_response under_review warning_closed won"),
        ("balance_transactions", "available pending"),
        ("payouts", "failed in_transit paid"),
        ("invoice_payments", "canceled open paid"),
    ],
)
def test_every_status_occurs(world: World, kind: str, statuses: str) -> None:
    """The demo shows each object in every state that a pipeline must cope with."""
    assert values(world, kind, "status") >= set(statuses.split())


def test_every_currency_is_sold_in(world: World) -> None:
    """Two-, zero- and three-decimal currencies are charged; dinars settle in dollars at an exact rate."""
    assert values(world, "charges", "currency") == set(EXPONENTS)
    converted = [txn for txn in world.rows("balance_transactions") if txn["exchange_rate"] is not None]
    assert converted
    assert {txn["currency"] for txn in converted} == {"usd"}


def test_every_reporting_category_occurs(world: World) -> None:
    """The books show sales, what was not captured of them, refunds, disputes, payouts, what came back, and fees."""
    expected = "charge dispute dispute_reversal fee partial_capture_reversal payout payout_reversal refund refund_failure"
    assert values(world, "balance_transactions", "reporting_category") == set(expected.split())


def test_every_billing_reason_occurs(world: World) -> None:
    """Invoices begin, renew and change subscriptions, or stand alone."""
    expected = {"manual", "subscription_create", "subscription_cycle", "subscription_update"}
    assert values(world, "invoices", "billing_reason") == expected


def test_the_awkward_cases_occur(world: World) -> None:
    """More than ten lines, prorations, several charges per intent, several refunds per charge, deleted customers."""
    invoices = world.rows("invoices")
    assert max(len(invoice["lines"]["data"]) for invoice in invoices) > 10
    assert any(line["amount"] < 0 for invoice in invoices for line in invoice["lines"]["data"])
    assert max(Counter(charge["payment_intent"] for charge in world.rows("charges")).values()) > 2
    assert max(Counter(refund["charge"] for refund in world.rows("refunds")).values()) > 1
    assert any("deleted" in customer for customer in world.truth()["customers"].values())
    assert None in values(world, "payment_intents", "latest_charge")
    assert None in values(world, "balance_transactions", "source")
    assert values(world, "products", "active") == values(world, "prices", "active") == {True, False}
    assert values(world, "payment_methods", "type") == {"card", "sepa_debit"}
    assert max(Counter(event["created"] for event in world.rows("events")).values()) > 5


def test_decline_codes_are_real_and_varied(world: World) -> None:
    """Declined charges say why, in the codes of card networks."""
    codes = {charge["outcome"]["reason"] for charge in world.rows("charges") if charge["status"] == "failed"}
    assert codes >= {"generic_decline", "insufficient_funds", "do_not_honor", "expired_card"}


def test_requests_and_automatic_acts_are_told_apart(world: World) -> None:
    """What the merchant asked for names its request, and all its events the same one; renewals name none."""
    by_type: dict[str, set[bool]] = {}
    for event in world.rows("events"):
        by_type.setdefault(event["type"], set()).add(event["request"]["id"] is not None)
    assert by_type["customer.created"] == {True}
    assert by_type["payout.paid"] == {False}
    assert by_type["invoice.paid"] == {True, False}


@pytest.mark.parametrize(("zone", "hash_seed"), [("Asia/Tokyo", "1"), ("America/New_York", "2")])
def test_every_process_sees_the_same_world(zone: str, hash_seed: str) -> None:
    """Time zone and hash seed of a process have no say."""
    environ = {"TZ": zone, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)}
    ran = subprocess.run(
        [sys.executable, "-c", DIGEST], env=environ, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == digest()


def test_ids_look_like_stripes(world: World) -> None:
    """Every id has the prefix of its kind and is unique in the whole account."""
    prefixes = {"charges": ("ch_", "py_"), "refunds": ("re_", "pyr_")}
    ids = [row["id"] for kind in KINDS for row in world.rows(kind)]
    assert len(ids) == len(set(ids))
    for kind, (_, prefix) in KINDS.items():
        assert all(row["id"].startswith(prefixes.get(kind, prefix)) for row in world.rows(kind))


def test_what_succeeded_was_captured_and_what_failed_was_not(world: World) -> None:
    """`amount_captured` is the whole amount of a charge that was not refused, unless it was only held."""
    charges = world.rows("charges")
    held = {intent["id"] for intent in world.rows("payment_intents") if intent["capture_method"] == "manual"}
    assert {charge["status"] for charge in charges} == {"succeeded", "pending", "failed"}
    for charge in charges:
        if charge["payment_intent"] not in held:
            assert charge["amount_captured"] == (0 if charge["status"] == "failed" else charge["amount"])


def test_holds_end_in_every_way(world: World) -> None:
    """Captured in full or in part, canceled, expired; with and without a refund of what was let go; and refunded."""
    kinds: Counter[str] = Counter()
    for intent in world.rows("payment_intents"):
        if intent["capture_method"] == "manual" and intent["latest_charge"]:
            charge = world.get("charges", intent["latest_charge"]) or {}
            part = intent["status"] == "succeeded" and charge["amount_captured"] < charge["amount"]
            counted = charge["amount_refunded"] >= charge["amount"] - charge["amount_captured"] > 0
            end = intent["cancellation_reason"] or ("part" if part else intent["status"])
            kinds[f"{end}, refunded" if counted else end] += 1
    assert set(kinds) == {
        "requires_capture",
        "succeeded",
        "part",
        "part, refunded",
        "requested_by_customer",
        "requested_by_customer, refunded",
        "expired",
    }
