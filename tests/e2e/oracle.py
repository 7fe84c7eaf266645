"""What every silver row must say, worked out from the simulated account's own objects and from nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

Obj = Mapping[str, Any]
Truth = Mapping[str, Mapping[str, Obj]]
Field = str | Callable[[Obj], Any]
"""A dotted path into the object (`@path`: Unix seconds, `#path`: a JSON value), or how to work the column out."""

KEYS = {
    "customers": "customer_id",
    "products": "product_id",
    "prices": "price_id",
    "payment_methods": "payment_method_id",
    "subscriptions": "subscription_id",
    "invoices": "invoice_id",
    "payment_intents": "payment_intent_id",
    "charges": "charge_id",
    "refunds": "refund_id",
    "disputes": "dispute_id",
    "balance_transactions": "balance_transaction_id",
    "payouts": "payout_id",
    "invoice_payments": "invoice_payment_id",
    "events": "event_id",
}
"""Entity to the column of its id."""


def value(obj: Any, field: Field) -> Any:
    """The field's value in `obj`: None where any step of the path is absent or null."""
    if callable(field):
        return field(obj)
    kind, path = (field[0], field[1:]) if field[0] in "@#" else ("", field)
    for step in path.split("."):
        obj = obj.get(step) if isinstance(obj, Mapping) else None
    if kind == "@" and obj is not None:
        return datetime.fromtimestamp(obj, UTC).replace(tzinfo=None)
    return obj


def expected(entity: str, obj: Obj) -> dict[str, Any]:
    """What the entity's row must hold in the columns that this oracle knows."""
    return {column: value(obj, field) for column, field in FIELDS[entity].items()}


def expected_lines(invoice: Obj) -> list[dict[str, Any]]:
    """The rows of `invoice_lines` that an invoice must have."""
    return [
        {
            "invoice_id": invoice["id"],
            "position": position,
            "invoice_created_at": value(invoice, "@created"),
            **{column: value(line, field) for column, field in INVOICE_LINE.items()},
        }
        for position, line in enumerate(invoice["lines"]["data"], start=1)
    ]


def seen(row: Obj, columns: Sequence[str] | Mapping[str, Any], json_columns: Sequence[str]) -> dict[str, Any]:
    """The same columns of a published row, JSON texts as their values."""
    return {
        column: json.loads(row[column]) if column in json_columns and row[column] is not None else row[column]
        for column in columns
    }


def json_columns(fields: Mapping[str, Field]) -> list[str]:
    """The columns that hold JSON."""
    return [column for column, field in fields.items() if isinstance(field, str) and field[0] == "#"]


def _sum(name: str, part: str = "amount") -> Callable[[Obj], int]:
    return lambda obj: sum(item[part] for item in obj.get(name) or ())


def _first(*paths: str) -> Callable[[Obj], Any]:
    return lambda obj: next((found for path in paths if (found := value(obj, path)) is not None), None)


def _day(path: str) -> Callable[[Obj], date | None]:
    def day(obj: Obj) -> date | None:
        moment = value(obj, f"@{path}")
        return None if moment is None else moment.date()

    return day


def _parse(text: str) -> dict[str, Field]:
    """`column path` lines; a column alone is named as in Stripe."""
    pairs = (line.split() for line in text.strip().splitlines())
    return {pair[0]: pair[-1] for pair in pairs}


_CHARGE = _parse("""
    charge_id id
    customer_id customer
    payment_intent_id payment_intent
    payment_method_id payment_method
    balance_transaction_id balance_transaction
    failure_balance_transaction_id failure_balance_transaction
    currency
    status
    outcome_type outcome.type
    outcome_reason outcome.reason
    network_status outcome.network_status
    network_decline_code outcome.network_decline_code
    network_advice_code outcome.network_advice_code
    advice_code outcome.advice_code
    risk_level outcome.risk_level
    risk_score outcome.risk_score
    failure_code
    failure_message
    stripe_fraud_report fraud_details.stripe_report
    user_fraud_report fraud_details.user_report
    billing_country billing_details.address.country
    payment_method_type payment_method_details.type
    card_brand payment_method_details.card.brand
    card_funding payment_method_details.card.funding
    card_country payment_method_details.card.country
    card_network payment_method_details.card.network
    card_fingerprint payment_method_details.card.fingerprint
    card_last4 payment_method_details.card.last4
    wallet_type payment_method_details.card.wallet.type
    cvc_check payment_method_details.card.checks.cvc_check
    address_line1_check payment_method_details.card.checks.address_line1_check
    postal_code_check payment_method_details.card.checks.address_postal_code_check
    three_d_secure_result payment_method_details.card.three_d_secure.result
    three_d_secure_flow payment_method_details.card.three_d_secure.authentication_flow
    multicapture_status payment_method_details.card.multicapture.status
    statement_descriptor calculated_statement_descriptor
    transfer_group
    description
    metadata #metadata
    amount_minor amount
    captured_minor amount_captured
    refunded_minor amount_refunded
    application_fee_minor application_fee_amount
    is_paid paid
    is_captured captured
    is_refunded refunded
    is_disputed disputed
    is_livemode livemode
    created_at @created
""")

_INVOICE: dict[str, Field] = {
    **_parse("""
    invoice_id id
    customer_id customer
    subscription_id parent.subscription_details.subscription
    default_payment_method_id default_payment_method
    revised_invoice_id from_invoice.invoice
    test_clock_id test_clock
    number
    status
    currency
    billing_reason
    collection_method
    account_country
    customer_tax_exempt
    description
    metadata #metadata
    attempt_count
    subtotal_minor subtotal
    total_excluding_tax_minor total_excluding_tax
    total_minor total
    amount_due_minor amount_due
    amount_paid_minor amount_paid
    amount_remaining_minor amount_remaining
    amount_overpaid_minor amount_overpaid
    amount_shipping_minor amount_shipping
    starting_balance_minor starting_balance
    ending_balance_minor ending_balance
    pre_payment_credit_notes_minor pre_payment_credit_notes_amount
    post_payment_credit_notes_minor post_payment_credit_notes_amount
    is_attempted attempted
    is_auto_advancing auto_advance
    is_livemode livemode
    created_at @created
    period_started_at @period_start
    period_ended_at @period_end
    effective_at @effective_at
    due_at @due_date
    next_payment_attempt_at @next_payment_attempt
    finalized_at @status_transitions.finalized_at
    paid_at @status_transitions.paid_at
    voided_at @status_transitions.voided_at
    marked_uncollectible_at @status_transitions.marked_uncollectible_at
"""),
    "line_count": lambda obj: len(obj["lines"]["data"]),
    "discount_minor": _sum("total_discount_amounts"),
    "tax_minor": _sum("total_taxes"),
}

INVOICE_LINE: dict[str, Field] = {
    **_parse("""
    invoice_line_id id
    price_id pricing.price_details.price
    product_id pricing.price_details.product
    subscription_item_id parent.subscription_item_details.subscription_item
    description
    quantity
    quantity_decimal
    currency
    metadata #metadata
    amount_minor amount
    subtotal_minor subtotal
    unit_amount_decimal pricing.unit_amount_decimal
    is_discountable discountable
    period_started_at @period.start
    period_ended_at @period.end
"""),
    "subscription_id": _first(
        "parent.subscription_item_details.subscription", "parent.invoice_item_details.subscription"
    ),
    "invoice_item_id": _first(
        "parent.invoice_item_details.invoice_item", "parent.subscription_item_details.invoice_item"
    ),
    "is_proration": lambda line: any(
        value(line, f"parent.{kind}_details.proration") for kind in ("subscription_item", "invoice_item")
    ),
    "discount_minor": _sum("discount_amounts"),
    "tax_minor": _sum("taxes"),
}
"""All of `invoice_lines` but what comes from the invoice itself."""

_BALANCE_TRANSACTION: dict[str, Field] = {
    **_parse("""
    balance_transaction_id id
    source_id source
    currency
    type
    reporting_category
    status
    balance_type
    description
    amount_minor amount
    fee_minor fee
    net_minor net
    exchange_rate
    created_at @created
    available_at @available_on
"""),
    "itemised_fee_minor": _sum("fee_details"),
}

FIELDS: Mapping[str, Mapping[str, Field]] = {
    "charges": _CHARGE,
    "invoices": _INVOICE,
    "balance_transactions": _BALANCE_TRANSACTION,
    "customers": {
        **_parse("""
        customer_id id
        default_payment_method_id invoice_settings.default_payment_method
        email
        name
        currency
        metadata #metadata
        balance_minor balance
        is_delinquent delinquent
        created_at @created
        """),
        "country": _first("address.country", "shipping.address.country"),
    },
    "products": _parse("""
        product_id id
        default_price_id default_price
        name
        is_active active
        created_at @created
        updated_at @updated
    """),
    "prices": _parse("""
        price_id id
        product_id product
        currency
        type
        billing_interval recurring.interval
        billing_interval_count recurring.interval_count
        unit_amount_minor unit_amount
        unit_amount_decimal
        is_active active
        created_at @created
    """),
    "payment_methods": _parse("""
        payment_method_id id
        customer_id customer
        type
        card_brand card.brand
        card_country card.country
        card_exp_year card.exp_year
        created_at @created
    """),
    "subscriptions": _parse("""
        subscription_id id
        customer_id customer
        latest_invoice_id latest_invoice
        status
        currency
        cancellation_reason cancellation_details.reason
        is_cancel_at_period_end cancel_at_period_end
        trial_ends_at @trial_end
        canceled_at @canceled_at
        ended_at @ended_at
        created_at @created
    """),
    "payment_intents": _parse("""
        payment_intent_id id
        customer_id customer
        latest_charge_id latest_charge
        currency
        status
        last_error_code last_payment_error.code
        amount_minor amount
        received_minor amount_received
        created_at @created
    """),
    "refunds": _parse("""
        refund_id id
        charge_id charge
        payment_intent_id payment_intent
        balance_transaction_id balance_transaction
        currency
        status
        reason
        amount_minor amount
        created_at @created
    """),
    "disputes": {
        **_parse("""
        dispute_id id
        charge_id charge
        currency
        status
        reason
        amount_minor amount
        evidence_due_at @evidence_details.due_by
        created_at @created
        """),
        "balance_transaction_ids": lambda obj: [item["id"] for item in obj["balance_transactions"]],
        "ledger_net_minor": _sum("balance_transactions", "net"),
    },
    "payouts": {
        **_parse("""
        payout_id id
        balance_transaction_id balance_transaction
        currency
        status
        amount_minor amount
        is_automatic automatic
        created_at @created
        """),
        "arrival_date": _day("arrival_date"),
    },
    "invoice_payments": _parse("""
        invoice_payment_id id
        invoice_id invoice
        payment_intent_id payment.payment_intent
        currency
        status
        requested_minor amount_requested
        paid_minor amount_paid
        paid_at @status_transitions.paid_at
        canceled_at @status_transitions.canceled_at
        created_at @created
    """),
    "events": _parse("""
        event_id id
        object_id data.object.id
        object_type data.object.object
        type
        request_id request.id
        previous_attributes #data.previous_attributes
        created_at @created
    """),
}
"""Entity to the columns this oracle knows; all of them for charges, invoices and balance transactions."""
