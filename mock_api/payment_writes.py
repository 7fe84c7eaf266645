"""The writes that move money, and the test cards with which they may be asked for (`tok_visa`, `pm_card_chargeDeclined`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mock_api.customers import TEST_CARDS
from mock_api.errors import ApiError, missing
from mock_api.filters import Obj

if TYPE_CHECKING:
    from mock_api.world import World

_TOKEN, _METHOD = "tok_", "pm_card_"
_MAX_AMOUNT = 99_999_999


def card_of_token(token: str) -> Obj:
    """The card that a test token stands for; raises `ApiError` (400) for one that Stripe does not have."""
    return _test_card(token, _TOKEN, "token", "card[token]")


def _test_card(name: str, prefix: str, noun: str, param: str) -> Obj:
    known = TEST_CARDS.get(name.removeprefix(prefix)) if name.startswith(prefix) else None
    if known is None:
        raise missing(noun, name, param=param, status=400)
    brand, last4 = known
    return {"brand": brand, "last4": last4}


def own_payment_method(world: World, name: str, customer: str | None) -> str:
    """The id of a payment method; a test name like `pm_card_visa` makes a new one, attached to the customer if there is one."""
    if not name.startswith(_METHOD):
        return name
    method = world.create_payment_method(
        type="card", card=_test_card(name, _METHOD, "PaymentMethod", "payment_method")
    )
    if customer:
        world.attach_payment_method(method["id"], customer)
    return str(method["id"])


def create_payment_intent(world: World, _: str, fields: Obj) -> Obj:
    """A new payment intent, confirmed at once if `confirm` says so."""
    confirm = fields.pop("confirm", False)
    if fields["amount"] > _MAX_AMOUNT:
        message = f"Amount must be no more than {_MAX_AMOUNT} in the smallest currency unit"
        raise ApiError(400, "invalid_request_error", message, code="amount_too_large", param="amount")
    if "payment_method" in fields:
        fields["payment_method"] = own_payment_method(world, fields["payment_method"], fields.get("customer"))
    intent = world.create_payment_intent(**fields)
    return _charged(world.confirm_payment_intent(intent["id"])) if confirm else intent


def confirm_payment_intent(world: World, intent_id: str, fields: Obj) -> Obj:
    """The intent after an attempt to pay; raises `ApiError` (402) when the card declines, which the intent then tells too."""
    intent = world.get("payment_intents", intent_id) or {}
    if "payment_method" in fields:
        fields["payment_method"] = own_payment_method(world, fields["payment_method"], intent.get("customer"))
    return _charged(world.confirm_payment_intent(intent_id, **fields))


def _charged(intent: Obj) -> Obj:
    error = intent["last_payment_error"]
    if error is None or intent["status"] != "requires_payment_method":
        return intent
    raise declined(error, intent)


def declined(error: Obj, intent: Obj | None = None) -> ApiError:
    """The 402 `card_error` for an intent's `last_payment_error`."""
    told = {name: error[name] for name in ("charge", "code", "decline_code", "payment_method")}
    return ApiError(402, "card_error", error["message"], **told, payment_intent=intent)


def pay_invoice(world: World, invoice_id: str, fields: Obj) -> Obj:
    """The invoice after an attempt to collect it; raises `ApiError` (402) when that declines or there is nothing to charge."""
    invoice = world.pay_invoice(invoice_id, **fields)
    if invoice["status"] == "paid":
        return invoice
    intents = [
        _intent_of(world, row) for row in world.rows("invoice_payments") if row["invoice"] == invoice_id
    ]
    if any(intent.get("status") == "processing" for intent in intents):
        return invoice
    errors = [intent["last_payment_error"] for intent in intents if intent.get("last_payment_error")]
    if not errors:
        message = "Cannot charge a customer that has no active card"
        raise ApiError(402, "card_error", message, code="missing", param="customer")
    raise declined(errors[-1])


def _intent_of(world: World, invoice_payment: Obj) -> Obj:
    return world.get("payment_intents", invoice_payment["payment"]["payment_intent"]) or {}
