"""Write shapes.json: the field defaults of every Stripe object, from the official SDK's resource classes.

Development only (`python -m mock_api.make_shapes`): it is the one module here that imports `stripe`.
The SDK writes both "may be null" and "may be absent" as Optional; `LEFT_OUT` names the fields that the API
leaves out unless asked or unless they apply, as Stripe's published fixtures (stripe/openapi, fixtures3.json) show.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, ForwardRef, Literal, Union, get_args, get_origin

import stripe
from stripe import StripeObject

CLASSES: Mapping[str, type[StripeObject]] = {
    "balance_transaction": stripe.BalanceTransaction,
    "charge": stripe.Charge,
    "customer": stripe.Customer,
    "dispute": stripe.Dispute,
    "event": stripe.Event,
    "invoice": stripe.Invoice,
    "invoice_payment": stripe.InvoicePayment,
    "line_item": stripe.InvoiceLineItem,
    "payment_intent": stripe.PaymentIntent,
    "payment_method": stripe.PaymentMethod,
    "payout": stripe.Payout,
    "plan": stripe.Plan,
    "price": stripe.Price,
    "product": stripe.Product,
    "refund": stripe.Refund,
    "subscription": stripe.Subscription,
    "subscription_item": stripe.SubscriptionItem,
}

NESTED = (
    "balance_transaction.fee_details",
    "charge.outcome",
    "charge.payment_method_details",
    "charge.payment_method_details.card",
    "charge.payment_method_details.sepa_debit",
    "customer.address",
    "customer.invoice_settings",
    "dispute.payment_method_details",
    "dispute.payment_method_details.card",
    "event.request",
    "invoice.parent",
    "line_item.parent",
    "line_item.parent.invoice_item_details",
    "line_item.parent.subscription_item_details",
    "line_item.pricing",
    "payment_intent.last_payment_error",
    "payment_intent.next_action",
    "payment_method.card",
    "payment_method.sepa_debit",
    "payout.trace_id",
    "price.recurring",
    "refund.destination_details",
    "refund.destination_details.card",
    "subscription.cancellation_details",
    "subscription.payment_settings",
    "subscription.trial_settings",
)
"""Nullable parts that the world fills in: each gets its own template, named by its path."""

VARIANTS = (
    "payment_method",
    "charge.payment_method_details",
    "dispute.payment_method_details",
    "refund.destination_details",
    "payment_intent.next_action",
    "invoice_payment.payment",
)
"""Tagged unions: only the part named by `type` is present, so every nullable part is left out."""

LEFT_OUT: Mapping[str, str] = {
    "charge": "authorization_code level3 presentment_details radar_options refunds transfer",
    "charge.fraud_details": "stripe_report user_report",
    "charge.payment_method_details.card": (
        "capture_before description electronic_commerce_indicator iin issuer moto "
        "setup_credential_usage stored_credential_usage"
    ),
    "customer": (
        "business_name cash_balance customer_account individual_name invoice_credit_balance sources "
        "subscriptions tax tax_ids"
    ),
    "dispute": "intended_submission_method network_reason_code",
    "dispute.evidence": "appeal",
    "dispute.evidence.enhanced_evidence": "mastercard_compliance visa_compelling_evidence_3 visa_compliance",
    "dispute.evidence_details.enhanced_eligibility": (
        "mastercard_compliance visa_compelling_evidence_3 visa_compliance"
    ),
    "event": "account context",
    "event.data": "previous_attributes",
    "invoice": "amount_paid_off_stripe confirmation_secret payments status_details threshold_reason",
    "invoice.issuer": "account",
    "invoice.parent.subscription_details": "subscription_proration_date",
    "line_item.pricing": "price_details",
    "payment_intent": "allowed_payment_method_types hooks payment_details payment_record presentment_details",
    "payment_intent.amount_details": "discount_amount error line_items shipping tax",
    "payment_intent.amount_details.tip": "amount",
    "payment_intent.last_payment_error": (
        "advice_code charge code decline_code network_advice_code network_decline_code param payment_intent "
        "payment_method payment_method_type request_log_url setup_intent source"
    ),
    "payment_method.card": "description iin issuer",
    "price": "currency_options tiers",
    "product": "tax_details",
    "plan": "tiers",
    "refund": (
        "description failure_balance_transaction failure_reason instructions_email next_action pending_reason "
        "presentment_details"
    ),
    "refund.destination_details.card": "reference reference_status reference_type",
    "subscription": "presentment_details status_details",
    "subscription.invoice_settings.issuer": "account",
    "subscription_item": "billed_until current_trial",
}

# Nullable in the SDK, never left out of a payment method although its siblings (one per type) are.
KEPT_IN_VARIANTS = frozenset({"allow_redisplay", "customer", "customer_account", "metadata"})


def fields(cls: type[StripeObject]) -> dict[str, Any]:
    """Declared fields of a resource class: name -> annotation."""
    return {name: hint for name, hint in cls.__annotations__.items() if "ClassVar" not in str(hint)}


def optional(hint: Any) -> bool:
    """Whether the SDK declares a field as nullable or absent."""
    return get_origin(hint) is Union and type(None) in get_args(hint)


def parts(hint: Any) -> Iterator[type[StripeObject]]:
    """The nested resource classes that an annotation mentions, lists and unions opened."""
    if isinstance(hint, type) and issubclass(hint, StripeObject):
        yield hint
    elif not isinstance(hint, ForwardRef):
        for argument in get_args(hint):
            yield from parts(argument)


def always_present(path: str, cls: type[StripeObject]) -> dict[str, Any]:
    """The fields that the API always sends for the object or part named `path`."""
    left_out = {"deleted", *LEFT_OUT.get(path, "").split()}
    variant = path in VARIANTS
    return {
        name: hint
        for name, hint in fields(cls).items()
        if name not in left_out and not (variant and optional(hint) and name not in KEPT_IN_VARIANTS)
    }


def default(path: str, hint: Any) -> Any:
    """The plainest legal value of an annotation: null where allowed, else zero, empty or the first literal."""
    if optional(hint):
        return None
    if hint in (int, bool, float, str, Decimal):
        return "0" if hint is Decimal else hint()
    origin = get_origin(hint)
    if origin is Literal:
        return get_args(hint)[0]
    if origin is Union:
        return default(path, get_args(hint)[0])
    if origin is list:
        return []
    nested = next(parts(hint), None)
    return template(path, nested) if nested and nested.__annotations__ and nested is not StripeObject else {}


def template(path: str, cls: type[StripeObject]) -> dict[str, Any]:
    """Every always-present field of `cls` with its default."""
    return {name: default(f"{path}.{name}", hint) for name, hint in sorted(always_present(path, cls).items())}


def part(path: str) -> type[StripeObject]:
    """The resource class that a dotted path such as `charge.outcome` names."""
    first, *rest = path.split(".")
    cls = CLASSES[first]
    for name in rest:
        cls = next(parts(fields(cls)[name]))
    return cls


def shapes() -> dict[str, dict[str, Any]]:
    """path -> template, for every object and every part in `NESTED`."""
    return {path: template(path, part(path)) for path in sorted((*CLASSES, *NESTED))}


def rendered() -> str:
    """The text of shapes.json."""
    return json.dumps(shapes(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("shapes.json").write_text(rendered(), encoding="utf-8")
