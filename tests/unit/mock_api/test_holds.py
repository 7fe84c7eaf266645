"""Holds in the simulated account: what the bank and Stripe itself may do to them, without a client."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from mock_api.money import DAY
from mock_api.world import World, WorldError

OLD = "2025-02-24.acacia"


@pytest.fixture
def world() -> World:
    """An account without any customers but those a test creates."""
    world = World(seed=1, start=date(2026, 3, 2), customers_per_day=0)
    world.play(world.now + DAY // 2)
    return world


def hold(world: World, currency: str = "usd") -> dict[str, Any]:
    """A hundred held on a card."""
    card = world.create_payment_method()["id"]
    return world.create_payment(
        amount=10_000, currency=currency, payment_method=card, capture_method="manual"
    )


def test_a_declined_card_holds_nothing(world: World) -> None:
    """The intent waits for another card, and nothing expires."""
    card = world.create_payment_method()["id"]
    world.let_decline(card, "insufficient_funds")
    intent = world.create_payment(amount=500, currency="usd", payment_method=card, capture_method="manual")
    assert (intent["status"], intent["amount_capturable"]) == ("requires_payment_method", 0)
    world.play(world.now + 8 * DAY)
    assert (world.get("payment_intents", intent["id"]) or {})["status"] == "requires_payment_method"


@pytest.mark.parametrize("end", ["capture_payment_intent", "cancel_payment_intent"])
def test_what_has_ended_does_not_expire(world: World, end: str) -> None:
    """A week later nothing more happens to it."""
    intent = hold(world)
    ended = getattr(world, end)(intent["id"])
    world.play(world.now + 8 * DAY)
    assert world.get("payment_intents", intent["id"]) == ended


def test_a_release_cannot_fail(world: World) -> None:
    """No money is on its way that a bank could send back, whether the release was booked or not."""
    captured, canceled = hold(world), hold(world)
    with world.request("req_1", version=OLD):
        world.capture_payment_intent(captured["id"], amount_to_capture=4_000)
        world.cancel_payment_intent(canceled["id"])
    for release in list(world.rows("refunds")):
        with pytest.raises(WorldError) as refused:
            world.fail_refund(release["id"])
        assert refused.value.code == "refund_unexpected_state"


@pytest.mark.parametrize("version", [OLD, "2025-03-31.basil"])
def test_only_what_was_captured_can_be_disputed(world: World, version: str) -> None:
    """A hold cannot be disputed at all; of a capture in part, what was not refunded."""
    intent = hold(world)
    with pytest.raises(WorldError):
        world.open_dispute(intent["latest_charge"])
    with world.request("req_1", version=version):
        world.capture_payment_intent(intent["id"], amount_to_capture=4_000)
    world.create_refund(charge=intent["latest_charge"], amount=1_000)
    assert world.open_dispute(intent["latest_charge"])["amount"] == 3_000


@pytest.mark.parametrize("currency", ["usd", "jpy", "kwd"])
def test_both_ways_of_booking_come_to_the_same(world: World, currency: str) -> None:
    """Credited as captured, or in full and reversed: amount and fee agree, but for the rounding of a conversion."""
    sums = []
    for version in (OLD, "2025-03-31.basil"):
        before = len(world.rows("balance_transactions"))
        intent = hold(world, currency)
        with world.request("req_1", version=version):
            world.capture_payment_intent(intent["id"], amount_to_capture=3_333)
        booked = world.rows("balance_transactions")[before:]
        sums.append((sum(txn["amount"] for txn in booked), sum(txn["fee"] for txn in booked)))
    (gross, fee), (other, other_fee) = sums
    assert abs(gross - other) <= (currency == "kwd")
    assert fee == other_fee
