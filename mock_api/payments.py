"""Payment intents and the charges that their confirmation makes."""

from __future__ import annotations

from functools import partial
from typing import Any

from mock_api.customers import DECLINING_CARDS, Customers, merged, refuse_unknown
from mock_api.ledger import SETTLEMENT_DAYS, Entry, Ledger, is_supported
from mock_api.money import DAY, SETTLES_IN, exchange_rate, processing_fee, settled
from mock_api.shapes import Obj, shape
from mock_api.state import WorldError, require

CARD_ERRORS = {
    "expired_card": "expired_card",
    "incorrect_cvc": "incorrect_cvc",
    "processing_error": "processing_error",
}
"""Decline codes that are error codes of their own; all others are `card_declined`."""

DECLINE_MESSAGES = {
    "expired_card": "Your card has expired.",
    "incorrect_cvc": "Your card's security code is incorrect.",
    "insufficient_funds": "Your card has insufficient funds.",
    "processing_error": "An error occurred while processing your card. Try again in a little bit.",
}
SEPA_DAYS = 3
"""Days until a SEPA debit succeeds or bounces."""

HOLD_DAYS = 7
"""Days until a hold that nobody captures is let go."""

CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")
CANCELABLE = (*CONFIRMABLE, "requires_capture", "processing")


class Payments(Ledger, Customers):
    """Every attempt to pay is one charge; a succeeded charge that was captured has exactly one balance transaction."""

    def __init__(self, seed: int, start: int) -> None:
        super().__init__(seed, start)
        self._declining: dict[str, str] = {}
        self._releases: dict[str, Obj] = {}

    def create_payment_intent(
        self,
        *,
        amount: int | None = None,
        currency: str | None = None,
        capture_method: str = "automatic_async",
        **fields: Any,
    ) -> Obj:
        """An intent that waits for a payment method, or for confirmation when it has one."""
        refuse_unknown(fields, {"customer", "payment_method", "description", "metadata", "receipt_email"})
        currency = require("currency", currency)
        if not is_supported(currency):
            raise WorldError("parameter_invalid", f"Invalid currency: {currency}", "currency")
        if require("amount", amount) <= 0:
            raise WorldError(
                "parameter_invalid_integer", "This value must be greater than or equal to 1.", "amount"
            )
        method = fields.get("payment_method")
        _refuse_hold(capture_method, self._payer(fields.get("customer"), method), "capture_method")
        intent = self._create(
            "payment_intents",
            event=None,
            amount=amount,
            amount_details={"tip": {}},
            currency=currency,
            capture_method=capture_method,
            payment_method_types=[self._find("payment_methods", method)["type"] if method else "card"],
            status="requires_confirmation" if method else "requires_payment_method",
            **fields,
        )
        secret = f"{intent['id']}_secret_{self._unique('')}"
        intent = self._change_quietly("payment_intents", intent["id"], client_secret=secret)
        self._emit("payment_intent.created", intent)
        return intent

    def create_payment(
        self, *, amount: int, currency: str, decline_code: str | None = None, **fields: Any
    ) -> Obj:
        """An intent confirmed at once: the paid, processing or declined payment intent."""
        require("payment_method", fields.get("payment_method"))
        intent = self.create_payment_intent(amount=amount, currency=currency, **fields)
        return self.confirm_payment_intent(intent["id"], decline_code=decline_code)

    def confirm_payment_intent(
        self,
        id: str,
        *,
        payment_method: str | None = None,
        decline_code: str | None = None,
        challenge: bool = False,
    ) -> Obj:
        """Try to pay: succeeded, held or declined for a card, processing for a debit, requires_action under `challenge`."""
        intent = self._find("payment_intents", id, "intent")
        if intent["status"] not in CONFIRMABLE:
            message = f"This PaymentIntent's status is {intent['status']}: it can't be confirmed."
            raise WorldError("payment_intent_unexpected_state", message, "intent")
        method = self._payer(
            intent["customer"], require("payment_method", payment_method or intent["payment_method"])
        )
        assert method is not None
        _refuse_hold(intent["capture_method"], method, "payment_method")
        if challenge:
            return self._change(
                "payment_intents",
                id,
                "requires_action",
                next_action=shape("payment_intent.next_action", type="use_stripe_sdk", use_stripe_sdk={}),
                payment_method=method["id"],
                payment_method_types=[method["type"]],
                status="requires_action",
            )
        decline_code = decline_code or self._decline_of(method)
        if method["type"] == "sepa_debit":
            return self._start_debit(intent, method, decline_code)
        if decline_code:
            charge = self._charge(intent, method, status="failed", **_failure(decline_code))
            self._emit("charge.failed", charge)
            return self._declined(intent, method, charge)
        if intent["capture_method"] == "manual":
            return self._hold(intent, method)
        charge = self._charge(intent, method, status="succeeded", **_success())
        return self._succeeded(intent, method, charge)

    def cancel_payment_intent(self, id: str, *, cancellation_reason: str | None = None) -> Obj:
        """Give up an intent that has not succeeded."""
        intent = self._find("payment_intents", id, "intent")
        if intent["status"] not in CANCELABLE or intent["status"] == "processing":
            message = f"You cannot cancel this PaymentIntent because it has a status of {intent['status']}."
            raise WorldError("payment_intent_unexpected_state", message, "intent")
        return self._change(
            "payment_intents",
            id,
            "canceled",
            amount_capturable=0,
            canceled_at=self.now,
            cancellation_reason=cancellation_reason,
            next_action=None,
            status="canceled",
        )

    def update_charge(self, id: str, **fields: Any) -> Obj:
        """Change a charge's `description` or `metadata`."""
        charge = self._find("charges", id, "charge")
        refuse_unknown(fields, {"description", "metadata"})
        if "metadata" in fields:
            fields["metadata"] = merged(charge["metadata"], fields["metadata"])
        return self._change("charges", id, **fields)

    def let_decline(self, payment_method: str, decline_code: str | None) -> None:
        """From now on the bank declines every payment with this method; None: it pays again."""
        if decline_code:
            self._declining[payment_method] = decline_code
        else:
            self._declining.pop(payment_method, None)

    def _payer(self, customer: str | None, method: str | None) -> Obj | None:
        """The payment method, refused when the customer is gone or it belongs to somebody else."""
        if customer:
            self._find("customers", customer, "customer")
            return self._own_payment_method(method, customer)
        return self._find("payment_methods", method, "payment_method") if method else None

    def _decline_of(self, method: Obj) -> str | None:
        test_card = DECLINING_CARDS.get(method["card"]["last4"]) if method["type"] == "card" else None
        return self._declining.get(method["id"]) or test_card

    def _charge(self, intent: Obj, method: Obj, **values: Any) -> Obj:
        """A new charge without event; its caller says what became of it."""
        sepa = method["type"] == "sepa_debit"
        return self._create(
            "charges",
            event=None,
            prefix="py_" if sepa else None,
            amount=intent["amount"],
            amount_captured=intent["amount"] if values.get("captured") else 0,
            billing_details=method["billing_details"],
            calculated_statement_descriptor=None if sepa else "MOCK STORE",
            currency=intent["currency"],
            customer=intent["customer"],
            description=intent["description"],
            fraud_details={},
            metadata=intent["metadata"],
            payment_intent=intent["id"],
            payment_method=method["id"],
            payment_method_details=_details(method),
            receipt_email=intent["receipt_email"],
            **values,
        )

    def _succeeded(self, intent: Obj, method: Obj, charge: Obj) -> Obj:
        """Book the money. As with Stripe's asynchronous capture, charge.succeeded does not know it yet."""
        if intent["capture_method"] == "automatic":
            booked = self._credit(charge, charge["amount"])
            charge = self._change_quietly("charges", charge["id"], balance_transaction=booked)
            self._emit("charge.succeeded", charge)
        else:
            self._emit("charge.succeeded", charge)
            booked = self._credit(charge, charge["amount"])
            self._change("charges", charge["id"], balance_transaction=booked)
        succeeded = self._change(
            "payment_intents",
            intent["id"],
            "succeeded",
            **_approved(method, charge),
            amount_received=charge["amount"],
            status="succeeded",
        )
        self._payment_finished(succeeded)
        return succeeded

    def _hold(self, intent: Obj, method: Obj) -> Obj:
        """The card keeps the money ready until it is captured; nothing is booked."""
        charge = self._charge(intent, method, status="succeeded", **_success(captured=False))
        details = charge["payment_method_details"]
        card = {**details["card"], "capture_before": self.now + HOLD_DAYS * DAY}
        charge = self._change_quietly(
            "charges", charge["id"], payment_method_details={**details, "card": card}
        )
        self._emit("charge.succeeded", charge)
        return self._change(
            "payment_intents",
            intent["id"],
            "amount_capturable_updated",
            **_approved(method, charge),
            amount_capturable=charge["amount"],
            status="requires_capture",
        )

    def _credit(self, charge: Obj, amount: int) -> str:
        """The id of the transaction that books `amount` of a charge, less Stripe's fee."""
        currency = charge["currency"]
        debit = charge["payment_method_details"]["type"] == "sepa_debit"
        entry = Entry(
            "payment" if debit else "charge",
            charge["id"],
            amount,
            currency,
            self._fee(amount, currency),
            charge["description"],
            pending_days=SETTLEMENT_DAYS[SETTLES_IN[currency]],
        )
        return str(self._book(entry)["id"])

    def _fee(self, amount: int, currency: str) -> int:
        """What Stripe takes of a payment today, in the settlement currency."""
        rate = exchange_rate(currency, self.now)
        return processing_fee(settled(amount, currency, rate), SETTLES_IN[currency])

    def _left(self, charge: Obj) -> int:
        """What was captured and not given back; a refund of what was let go gave nothing back."""
        release = self._releases.get(charge["id"])
        let_go: int = release["amount"] if release else 0
        return int(charge["amount_captured"]) + let_go - int(charge["amount_refunded"])

    def _declined(self, intent: Obj, method: Obj, charge: Obj) -> Obj:
        error = shape(
            "payment_intent.last_payment_error",
            charge=charge["id"],
            code=charge["failure_code"],
            decline_code=charge["outcome"]["reason"],
            doc_url=f"https://stripe.com/docs/error-codes/{charge['failure_code'].replace('_', '-')}",
            message=charge["failure_message"],
            payment_method=method,
            type="card_error",
        )
        declined = self._change(
            "payment_intents",
            intent["id"],
            "payment_failed",
            last_payment_error=error,
            latest_charge=charge["id"],
            next_action=None,
            payment_method=None,
            payment_method_types=[method["type"]],
            status="requires_payment_method",
        )
        self._payment_finished(declined)
        return declined

    def _start_debit(self, intent: Obj, method: Obj, decline_code: str | None) -> Obj:
        charge = self._charge(intent, method, status="pending", **{**_success(), "paid": False})
        self._emit("charge.pending", charge)
        self.at(self.now + SEPA_DAYS * DAY, partial(self._debit_settles, charge["id"], decline_code))
        return self._change(
            "payment_intents",
            intent["id"],
            "processing",
            latest_charge=charge["id"],
            payment_method=method["id"],
            payment_method_types=["sepa_debit"],
            status="processing",
        )

    def _debit_settles(self, id: str, decline_code: str | None) -> Obj:
        """The bank answers a SEPA debit: the pending charge becomes succeeded or failed."""
        pending = self._find("charges", id)
        intent = self._find("payment_intents", pending["payment_intent"])
        method = self._find("payment_methods", pending["payment_method"])
        if decline_code:
            failure = _failure(decline_code)
            charge = self._change_quietly("charges", id, status="failed", amount_captured=0, **failure)
            self._emit("charge.failed", charge)
            return self._declined(intent, method, charge)
        charge = self._change_quietly("charges", id, status="succeeded", paid=True)
        return self._succeeded(intent, method, charge)

    def _payment_finished(self, intent: Obj) -> None:
        """An attempt to pay this intent succeeded or was declined; invoices listen here."""


def _refuse_hold(capture_method: str, method: Obj | None, param: str) -> None:
    """Only a card can keep money ready."""
    if capture_method == "manual" and method and method["type"] != "card":
        message = f"The payment method type {method['type']} does not support manual capture."
        raise WorldError("payment_intent_incompatible_payment_method", message, param)


def _approved(method: Obj, charge: Obj) -> Obj:
    """What an intent says of the attempt that was approved."""
    return {
        "last_payment_error": None,
        "latest_charge": charge["id"],
        "next_action": None,
        "payment_method": method["id"],
        "payment_method_types": [method["type"]],
    }


def _success(*, captured: bool = True) -> Obj:
    outcome = shape(
        "charge.outcome",
        network_status="approved_by_network",
        risk_level="normal",
        seller_message="Payment complete.",
        type="authorized",
    )
    return {"captured": captured, "paid": True, "outcome": outcome}


def _failure(decline_code: str) -> Obj:
    """What a declined charge says about its decline."""
    blocked = decline_code == "fraudulent"
    outcome = shape(
        "charge.outcome",
        network_decline_code=None if blocked else "05",
        network_status="not_sent_to_network" if blocked else "declined_by_network",
        reason=decline_code,
        risk_level="highest" if blocked else "normal",
        seller_message="Stripe blocked this payment."
        if blocked
        else "The bank did not return any further details.",
        type="blocked" if blocked else "issuer_declined",
    )
    return {
        "captured": False,
        "paid": False,
        "failure_code": CARD_ERRORS.get(decline_code, "card_declined"),
        "failure_message": DECLINE_MESSAGES.get(decline_code, "Your card was declined."),
        "outcome": outcome,
    }


def _details(method: Obj) -> Obj:
    """A charge's `payment_method_details`, from the payment method it was made with."""
    type = method["type"]
    source = method[type]
    if type == "sepa_debit":
        same = {
            name: source[name] for name in ("bank_code", "branch_code", "country", "fingerprint", "last4")
        }
        part = shape(
            "charge.payment_method_details.sepa_debit", **same, mandate=f"mandate_{source['fingerprint']}"
        )
    else:
        names = "brand checks country exp_month exp_year fingerprint funding last4 regulated_status".split()
        same = {name: source[name] for name in names}
        network = {"network": source["brand"], "network_token": {"used": False}}
        part = shape("charge.payment_method_details.card", **same, **network)
    return shape("charge.payment_method_details", type=type, **{type: part})
