"""Customers who book: their card holds the price until it is known what they owe."""

from __future__ import annotations

from functools import partial
from random import Random

from mock_api.aftermath import follow_up
from mock_api.lives import Life
from mock_api.shoppers import UNITS

BOOKING_SHARE = 0.25
OLD_VERSION, OLD_SHARE = "2025-02-24.acacia", 0.4
"""A part of the merchant's servers still speaks a version that makes refunds of what is let go."""

ENDINGS = ("all", "part", "cancel", "forget")
ENDING_WEIGHTS = (45, 30, 15, 10)


def book(life: Life, dice: Random) -> None:
    """Some customers book once, by dice of their own: the rest of their life is as it would be without."""
    guest = life.apart(dice)
    if guest.chance(BOOKING_SHARE):
        guest.version = OLD_VERSION if guest.chance(OLD_SHARE) else guest.version
        guest.later(dice.uniform(0, 15), partial(_reserve, guest))


def _reserve(guest: Life) -> None:
    methods = guest.business.payment_methods_of(guest.customer)
    card = next((method["id"] for method in methods if method["type"] == "card"), None)
    if card is None:
        return
    intent = guest.ask(
        guest.business.create_payment_intent,
        amount=guest.dice.randint(50, 900) * UNITS[guest.currency],
        currency=guest.currency,
        capture_method="manual",
        customer=guest.customer,
        payment_method=card,
        description="Booking",
    )["id"]
    guest.ask(guest.business.confirm_payment_intent, intent)
    ending = guest.dice.choices(ENDINGS, ENDING_WEIGHTS)[0]
    if ending != "forget":
        guest.later(guest.dice.uniform(0, 5), partial(_settle, guest, intent, ending))


def _settle(guest: Life, intent: str, ending: str) -> None:
    business = guest.business
    if ending == "cancel":
        guest.ask(business.cancel_payment_intent, intent, cancellation_reason="requested_by_customer")
        return
    held = business.get("payment_intents", intent)
    assert held is not None, "intents are never deleted"
    amount = None if ending == "all" else held["amount_capturable"] * guest.dice.randint(20, 95) // 100
    captured = guest.ask(business.capture_payment_intent, intent, amount_to_capture=amount)
    follow_up(guest, captured["latest_charge"])
