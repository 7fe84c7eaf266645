"""Refunds: money going back, sometimes in vain."""

from __future__ import annotations

from functools import partial
from typing import Any

from mock_api.ledger import Entry
from mock_api.money import DAY
from mock_api.payments import Payments
from mock_api.shapes import Obj, shape
from mock_api.state import WorldError

REASONS = ("duplicate", "fraudulent", "requested_by_customer")
BANK_DAYS = 4
"""Days until the bank credits a refund of a debit."""


class Refunds(Payments):
    """The refunds of a charge that did not fail add up to its `amount_refunded`; what was captured is refunded once."""

    def create_refund(
        self,
        *,
        charge: str | None = None,
        payment_intent: str | None = None,
        amount: int | None = None,
        reason: str | None = None,
        metadata: Obj | None = None,
    ) -> Obj:
        """Refund `amount` (default: what is left) of a succeeded charge: booked at once, fees are kept."""
        paid = self._refundable(charge, payment_intent)
        left = self._left(paid)
        amount = left if amount is None else amount
        if reason is not None and reason not in REASONS:
            raise WorldError(
                "parameter_invalid", f"Invalid reason: must be one of {', '.join(REASONS)}", "reason"
            )
        if not 0 < amount <= left:
            message = f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})"
            raise WorldError(
                "amount_too_large" if amount > left else "parameter_invalid_integer", message, "amount"
            )
        debit = paid["payment_method_details"]["type"] == "sepa_debit"
        waits = {"status": "pending", "pending_reason": "processing"} if debit else {}
        refund = self._new_refund(paid, amount, reason=reason, metadata=metadata or {}, **waits)
        return self._book_refund(refund, paid, debit=debit)

    def fail_refund(self, id: str, reason: str = "expired_or_canceled_card") -> Obj:
        """The bank returns a refund: its amount is back in the balance and refundable again."""
        refund = self._find("refunds", id, "refund")
        release = self._releases.get(refund["charge"])
        if refund["status"] not in ("succeeded", "pending") or (release and release["id"] == id):
            raise WorldError(
                "refund_unexpected_state", f"Refund {id} is already {refund['status']}.", "refund"
            )
        debit = id.startswith("pyr_")
        entry = Entry(
            "refund_failure", id, refund["amount"], refund["currency"], description="REFUND FAILURE"
        )
        failed = self._change(
            "refunds",
            id,
            "updated",
            "charge.refund.updated",
            "failed",
            failure_balance_transaction=self._book(entry)["id"],
            failure_reason="lost_or_stolen_card" if debit else reason,
            status="failed",
        )
        charge = self._find("charges", refund["charge"])
        refunded = charge["amount_refunded"] - refund["amount"]
        self._change_quietly("charges", charge["id"], amount_refunded=refunded, refunded=False)
        return failed

    def _refundable(self, charge: str | None, payment_intent: str | None) -> Obj:
        if charge is None and payment_intent is None:
            message = (
                "One of the following params should be provided for this request: payment_intent or charge."
            )
            raise WorldError("parameter_missing", message, "charge")
        if charge is None:
            intent = self._find("payment_intents", payment_intent, "payment_intent")
            charge = intent["latest_charge"]
            if charge is None or intent["status"] != "succeeded":
                message = f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund."
                raise WorldError("payment_intent_unexpected_state", message, "payment_intent")
        paid = self._find("charges", charge, "charge")
        if paid["status"] != "succeeded":
            raise WorldError("charge_not_refundable", f"Charge {charge} has not succeeded.", "charge")
        if paid["refunded"]:
            raise WorldError(
                "charge_already_refunded", f"Charge {charge} has already been refunded.", "charge"
            )
        if not paid["captured"]:
            raise WorldError("charge_not_refundable", f"Charge {charge} has not been captured.", "charge")
        if paid["disputed"]:
            raise WorldError("charge_disputed", f"Charge {charge} has been charged back.", "charge")
        return paid

    def _new_refund(self, paid: Obj, amount: int, **values: Any) -> Obj:
        """A refund without event, which its caller books."""
        debit = paid["payment_method_details"]["type"] == "sepa_debit"
        usual: Obj = {"metadata": {}, "status": "succeeded"}
        return self._create(
            "refunds",
            event=None,
            prefix="pyr_" if debit else None,
            amount=amount,
            charge=paid["id"],
            currency=paid["currency"],
            customer=paid["customer"],
            destination_details=_destination(debit),
            payment_intent=paid["payment_intent"],
            payment_method=paid["payment_method"],
            **(usual | values),
        )

    def _book_refund(self, refund: Obj, paid: Obj, *, debit: bool) -> Obj:
        type = "payment_refund" if debit else "refund"
        description = (
            f"REFUND FOR CHARGE ({paid['description']})" if paid["description"] else "REFUND FOR CHARGE"
        )
        entry = Entry(type, refund["id"], -refund["amount"], refund["currency"], description=description)
        refund = self._change_quietly("refunds", refund["id"], balance_transaction=self._book(entry)["id"])
        self._count_refund(refund, paid)
        if debit:
            self.at(self.now + BANK_DAYS * DAY, partial(self._refund_arrives, refund["id"]))
        return refund

    def _count_refund(self, refund: Obj, paid: Obj) -> None:
        """Announce a refund, and add it to what its charge says was refunded."""
        self._emit("refund.created", refund)
        charge = {**paid, "amount_refunded": paid["amount_refunded"] + refund["amount"]}
        counted = {"amount_refunded": charge["amount_refunded"], "refunded": self._left(charge) == 0}
        self._change("charges", paid["id"], "refunded", **counted)

    def _refund_arrives(self, id: str) -> None:
        refund = self._find("refunds", id)
        if refund["status"] == "pending":
            done = {key: value for key, value in refund.items() if key != "pending_reason"}
            self._store("refunds", done)
            self._change("refunds", id, "updated", "charge.refund.updated", status="succeeded")


def _destination(debit: bool) -> Obj:
    if debit:
        return shape("refund.destination_details", type="eu_bank_transfer", eu_bank_transfer={})
    card = shape("refund.destination_details.card", type="refund", reference_status="pending")
    return shape("refund.destination_details", type="card", card=card)
