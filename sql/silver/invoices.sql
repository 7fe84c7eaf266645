/*
description = "Invoices as last observed, drafts and deleted drafts included."
grain = ["invoice_id"]
partition_by = "created_at"
not_null = ["invoice_id", "is_deleted", "_observed_at"]
caveats = [
    "An object first seen after its deletion is only a stub: everything but its id is NULL.",
]

[accepted]
status = ["draft", "open", "paid", "uncollectible", "void"]
collection_method = ["charge_automatically", "send_invoice"]

[references]
customer_id = "silver.customers.customer_id"
subscription_id = "silver.subscriptions.subscription_id"
default_payment_method_id = "silver.payment_methods.payment_method_id"
revised_invoice_id = "silver.invoices.invoice_id"

[columns]
invoice_id = "Stripe id, in_… (id)"
customer_id = "Who is billed (customer)"
subscription_id = "Subscription that produced it (parent.subscription_details.subscription)"
default_payment_method_id = "Payment method; NULL: the subscription or customer default (default_payment_method)"
revised_invoice_id = "Invoice that this one revises (from_invoice.invoice)"
test_clock_id = "Test clock; NULL in live mode (test_clock)"
number = "Number shown to the customer; NULL while a draft (number)"
status = "draft, open, paid, uncollectible or void (status)"
currency = "Currency of the amounts, lower-case ISO 4217 (currency)"
billing_reason = "What made it (billing_reason)"
collection_method = "charge_automatically or send_invoice (collection_method)"
account_country = "Country of the merchant account (account_country)"
customer_tax_exempt = "none, exempt or reverse, when it was finalized (customer_tax_exempt)"
description = "Memo shown to the customer (description)"
metadata = "Keys and values set by the merchant, as JSON (metadata)"
attempt_count = "Payment attempts that count for dunning (attempt_count)"
line_count = "Lines of the invoice (lines.data)"
subtotal_minor = "Sum of the lines before invoice-level discounts and exclusive taxes, minor units (subtotal)"
discount_minor = "Sum of the discounts, minor units (total_discount_amounts[].amount)"
tax_minor = "Sum of the taxes, inclusive and exclusive, minor units (total_taxes[].amount)"
total_excluding_tax_minor = "Total without taxes, minor units (total_excluding_tax)"
total_minor = "Total after discounts and taxes, minor units (total)"
amount_due_minor = "What the customer owes for it, minor units (amount_due)"
amount_paid_minor = "What was paid of it, minor units (amount_paid)"
amount_remaining_minor = "What is still owed, minor units (amount_remaining)"
amount_overpaid_minor = "What was paid too much, minor units (amount_overpaid)"
amount_shipping_minor = "Shipping, minor units (amount_shipping)"
starting_balance_minor = "Customer balance before, minor units (starting_balance)"
ending_balance_minor = "Customer balance after; NULL while a draft, minor units (ending_balance)"
pre_payment_credit_notes_minor = "Credit notes before payment, minor units (pre_payment_credit_notes_amount)"
post_payment_credit_notes_minor = "Credit notes after payment, minor units (post_payment_credit_notes_amount)"
is_attempted = "Whether payment was ever tried (attempted)"
is_auto_advancing = "Whether Stripe moves it forward by itself (auto_advance)"
is_livemode = "Whether the object exists in live mode (livemode)"
created_at = "When the object was created, UTC (created)"
period_started_at = "Start of the period whose usage is billed, UTC (period_start)"
period_ended_at = "End of that period, UTC (period_end)"
effective_at = "Date printed on it, UTC (effective_at)"
due_at = "When payment is due, UTC; NULL when charged automatically (due_date)"
next_payment_attempt_at = "When payment is tried next, UTC (next_payment_attempt)"
finalized_at = "When it became open, UTC (status_transitions.finalized_at)"
paid_at = "When it became paid, UTC (status_transitions.paid_at)"
voided_at = "When it became void, UTC (status_transitions.voided_at)"
marked_uncollectible_at = "When it was given up, UTC (status_transitions.marked_uncollectible_at)"
is_deleted = "Whether the object was observed as deleted"
deleted_at = "When it was deleted, UTC, where the observation says so"
_observed_at = "When this state was observed, UTC"
*/
with

invoices as (
    select * from bronze.invoices
)

select
    id as invoice_id,
    customer as customer_id,
    parent.subscription_details.subscription as subscription_id,
    default_payment_method as default_payment_method_id,
    from_invoice.invoice as revised_invoice_id,
    test_clock as test_clock_id,

    number,
    status,
    currency,
    billing_reason,
    collection_method,
    account_country,
    customer_tax_exempt,
    description,
    metadata,

    attempt_count,
    cast(coalesce(len(lines.data), 0) as bigint) as line_count,

    subtotal as subtotal_minor,
    cast(
        coalesce(
            list_sum(list_transform(total_discount_amounts, lambda part: part.amount)), 0
        ) as bigint
    ) as discount_minor,
    cast(
        coalesce(
            list_sum(list_transform(total_taxes, lambda part: part.amount)), 0
        ) as bigint
    ) as tax_minor,
    total_excluding_tax as total_excluding_tax_minor,
    total as total_minor,
    amount_due as amount_due_minor,
    amount_paid as amount_paid_minor,
    amount_remaining as amount_remaining_minor,
    amount_overpaid as amount_overpaid_minor,
    amount_shipping as amount_shipping_minor,
    starting_balance as starting_balance_minor,
    ending_balance as ending_balance_minor,
    pre_payment_credit_notes_amount as pre_payment_credit_notes_minor,
    post_payment_credit_notes_amount as post_payment_credit_notes_minor,

    attempted as is_attempted,
    auto_advance as is_auto_advancing,
    livemode as is_livemode,

    make_timestamp(created * 1000000) as created_at,
    make_timestamp(period_start * 1000000) as period_started_at,
    make_timestamp(period_end * 1000000) as period_ended_at,
    make_timestamp(effective_at * 1000000) as effective_at,
    make_timestamp(due_date * 1000000) as due_at,
    make_timestamp(next_payment_attempt * 1000000) as next_payment_attempt_at,
    make_timestamp(status_transitions.finalized_at * 1000000) as finalized_at,
    make_timestamp(status_transitions.paid_at * 1000000) as paid_at,
    make_timestamp(status_transitions.voided_at * 1000000) as voided_at,
    make_timestamp(status_transitions.marked_uncollectible_at * 1000000) as marked_uncollectible_at,

    _is_deleted as is_deleted,
    _deleted_at as deleted_at,
    _observed_at,
from invoices
