"""Holds: money that a card keeps ready until it is captured, in whole or in part, or let go."""

from __future__ import annotations

from functools import partial
from typing import Any

from mock_api.ledger import SETTLEMENT_DAYS, Entry
from mock_api.money import DAY, SETTLES_IN
from mock_api.payments import HOLD_DAYS
from mock_api.refunds import Refunds
from mock_api.shapes import Obj
from mock_api.state import WorldError

REFUNDED_BEFORE = "2025-03-31"
"""Requests of earlier API versions make a refund of what they let go; since then nothing is made of it."""


class Holds(Refunds):
    """A hold is captured once, for no more than was authorized; the rest is let go, and nobody gets money back."""

    def confirm_payment_intent(self, id: str, **fields: Any) -> Obj:
        """Try to pay; a hold is let go if nobody captures it in time."""
        intent = super().confirm_payment_intent(id, **fields)
        if intent["status"] == "requires_capture":
            self.at(self.now + HOLD_DAYS * DAY, partial(self._expire, id))
        return intent

    def capture_payment_intent(self, id: str, *, amount_to_capture: int | None = None) -> Obj:
        """Take `amount_to_capture` (default: all) of what is held; the rest is let go."""
        intent = self._find("payment_intents", id, "intent")
        if intent["status"] != "requires_capture":
            message = (
                f"This PaymentIntent could not be captured because it has a status of {intent['status']}. "
                "Only a PaymentIntent with one of the following statuses may be captured: requires_capture."
            )
            raise WorldError("payment_intent_unexpected_state", message, "intent")
        amount = _capturable(intent, amount_to_capture)
        held = self._find("charges", intent["latest_charge"])
        rest = held["amount"] - amount
        booked = self._credit(held, held["amount"] if self._refunds_releases() else amount)
        charge = self._change(
            "charges",
            held["id"],
            "captured",
            amount_captured=amount,
            balance_transaction=booked,
            captured=True,
        )
        if rest and self._refunds_releases():
            self._reverse(charge, rest)
        captured = self._change(
            "payment_intents",
            id,
            "succeeded",
            amount_capturable=0,
            amount_received=amount,
            status="succeeded",
        )
        self._payment_finished(captured)
        return captured

    def cancel_payment_intent(self, id: str, *, cancellation_reason: str | None = None) -> Obj:
        """Give up an intent that has not succeeded, and let go of what is held for it."""
        intent = self._find("payment_intents", id, "intent")
        if intent["status"] == "requires_capture" and self._refunds_releases():
            charge = self._find("charges", intent["latest_charge"])
            self._count_release(self._new_refund(charge, charge["amount"]), charge)
        return super().cancel_payment_intent(id, cancellation_reason=cancellation_reason)

    def _expire(self, id: str) -> None:
        """The card keeps the money no longer; Stripe itself cancels the intent, in the account's own version."""
        intent = self._find("payment_intents", id)
        if intent["status"] == "requires_capture":
            self._emit("charge.expired", self._find("charges", intent["latest_charge"]))
            self.cancel_payment_intent(id, cancellation_reason="expired")

    def _refunds_releases(self) -> bool:
        return self._version < REFUNDED_BEFORE

    def _reverse(self, charge: Obj, rest: int) -> None:
        """Take back what was credited and not captured, and the fee on it, by a refund."""
        currency = charge["currency"]
        fee = self._fee(charge["amount_captured"], currency) - self._fee(charge["amount"], currency)
        refund = self._new_refund(charge, rest)
        entry = Entry(
            "refund",
            refund["id"],
            -rest,
            currency,
            fee,
            "REFUND FOR CHARGE",
            category="partial_capture_reversal",
            pending_days=SETTLEMENT_DAYS[SETTLES_IN[currency]],
        )
        booked = self._book(entry)["id"]
        self._count_release(self._change_quietly("refunds", refund["id"], balance_transaction=booked), charge)

    def _count_release(self, refund: Obj, charge: Obj) -> None:
        self._releases[charge["id"]] = refund
        self._count_refund(refund, charge)


def _capturable(intent: Obj, wanted: int | None) -> int:
    """What to capture of an intent, refused unless that much is held."""
    most = int(intent["amount_capturable"])
    amount = most if wanted is None else wanted
    if amount < 1:
        message = "This value must be greater than or equal to 1."
        raise WorldError("parameter_invalid_integer", message, "amount_to_capture")
    if amount > most:
        message = (
            "The payment could not be captured because the requested capture amount is greater than the amount "
            "you can capture for this charge."
        )
        raise WorldError("amount_too_large", message, "amount_to_capture")
    return amount
