"""What is owed: subscriptions, invoices, and the payments that settle an invoice."""

from __future__ import annotations

from payments_pipeline.entities.spec import ChildList, EntitySpec, Reference, fields

__all__ = ["INVOICES", "INVOICE_PAYMENTS", "SUBSCRIPTIONS"]

SUBSCRIPTIONS = EntitySpec(
    name="subscriptions",
    object="subscription",
    prefixes=("sub_",),
    columns=fields(
        text="id object customer currency status collection_method default_payment_method description "
        "latest_invoice schedule test_clock",
        integer="created start_date billing_cycle_anchor cancel_at canceled_at ended_at trial_start trial_end "
        "days_until_due",
        flag="livemode cancel_at_period_end",
        json="metadata",
        cancellation_details=fields(text="reason feedback"),
        pause_collection=fields(text="behavior", integer="resumes_at"),
        items=fields(
            data=[
                fields(
                    text="id",
                    integer="created quantity current_period_start current_period_end",
                    json="metadata",
                    price=fields(
                        text="id product currency unit_amount_decimal",
                        integer="unit_amount",
                        recurring=fields(text="interval usage_type", integer="interval_count"),
                    ),
                )
            ],
        ),
    ),
    references=(
        Reference("customer", "customers"),
        Reference("default_payment_method", "payment_methods"),
        Reference("items.data[].price.id", "prices"),
        Reference("items.data[].price.product", "products"),
    ),
    # Without it, only subscriptions that are not canceled.
    listings=({"status": "all"},),
    child_list=ChildList("items", "subscription_items", {"subscription": "{id}"}),
)

_INVOICE_LINE = fields(
    text="id currency description quantity_decimal",
    integer="amount subtotal quantity",
    flag="discountable",
    json="metadata",
    discount_amounts=[fields(integer="amount")],
    taxes=[fields(integer="amount")],
    period=fields(integer="start end"),
    parent=fields(
        invoice_item_details=fields(text="invoice_item subscription", flag="proration"),
        subscription_item_details=fields(
            text="invoice_item subscription subscription_item", flag="proration"
        ),
    ),
    pricing=fields(text="unit_amount_decimal", price_details=fields(text="price product")),
)

INVOICES = EntitySpec(
    name="invoices",
    object="invoice",
    prefixes=("in_",),
    columns=fields(
        text="id object customer currency status number billing_reason collection_method "
        "default_payment_method description account_country customer_tax_exempt test_clock",
        integer="created amount_due amount_overpaid amount_paid amount_remaining amount_shipping attempt_count "
        "due_date effective_at ending_balance next_payment_attempt period_end period_start "
        "post_payment_credit_notes_amount pre_payment_credit_notes_amount starting_balance subtotal "
        "total total_excluding_tax",
        flag="livemode attempted auto_advance",
        json="metadata",
        from_invoice=fields(text="invoice"),
        lines=fields(data=[_INVOICE_LINE]),
        parent=fields(subscription_details=fields(text="subscription")),
        status_transitions=fields(integer="finalized_at marked_uncollectible_at paid_at voided_at"),
        total_discount_amounts=[fields(integer="amount")],
        total_taxes=[fields(integer="amount")],
    ),
    references=(
        Reference("customer", "customers"),
        Reference("default_payment_method", "payment_methods"),
        Reference("from_invoice.invoice", "invoices"),
        Reference("parent.subscription_details.subscription", "subscriptions"),
        Reference("lines.data[].parent.invoice_item_details.subscription", "subscriptions"),
        Reference("lines.data[].parent.subscription_item_details.subscription", "subscriptions"),
        Reference("lines.data[].pricing.price_details.price", "prices"),
        Reference("lines.data[].pricing.price_details.product", "products"),
    ),
    amount=("total", "currency"),
    child_list=ChildList("lines", "invoices/{id}/lines", {}),
)

INVOICE_PAYMENTS = EntitySpec(
    name="invoice_payments",
    object="invoice_payment",
    prefixes=("inpay_",),
    columns=fields(
        text="id object invoice currency status",
        integer="created amount_paid amount_requested",
        flag="livemode is_default",
        payment=fields(text="type charge payment_intent"),
        status_transitions=fields(integer="canceled_at paid_at"),
    ),
    references=(
        Reference("invoice", "invoices"),
        Reference("payment.charge", "charges"),
        Reference("payment.payment_intent", "payment_intents"),
    ),
    amount=("amount_requested", "currency"),
    # Only being paid is announced (invoice_payment.paid); being cancelled is not. Both are for good.
    mutable_days=31,
    settled=("paid", "canceled"),
)
