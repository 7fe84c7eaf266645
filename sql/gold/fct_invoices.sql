/*
description = "One row per invoice, with what became of it and the payment made for it."
grain = ["invoice_id"]
partition_by = "created_at"
scope = "linked"
not_null = [
    "invoice_id", "currency", "status", "total_minor", "amount_due_minor", "amount_paid_minor",
    "amount_remaining_minor", "created_at",
]
caveats = [
    "Deleted drafts are left out: they never became a document.",
    "Drafts are included; their amounts may still change.",
    "A void or uncollectible invoice keeps the amounts it had.",
]

[accepted]
status = ["draft", "open", "paid", "uncollectible", "void"]
collection_method = ["charge_automatically", "send_invoice"]

[references]
customer_id = "gold.dim_customers.customer_id"
subscription_id = "silver.subscriptions.subscription_id"
payment_intent_id = "silver.payment_intents.payment_intent_id"
revised_invoice_id = "silver.invoices.invoice_id"

[columns]
invoice_id = "Stripe id, in_…"
customer_id = "Who is billed"
subscription_id = "Subscription that produced it"
payment_intent_id = "Payment made for it: of several a paid one, then one not canceled, the default, the newest; a canceled one settled nothing"
revised_invoice_id = "Invoice that this one revises"
number = "Number shown to the customer; NULL while a draft"
status = "draft, open, paid, uncollectible or void"
billing_reason = "What made it"
collection_method = "charge_automatically or send_invoice"
currency = "Currency of the amounts, lower-case ISO 4217"
attempt_count = "Payment attempts that count for dunning"
line_count = "Lines of the invoice"
seconds_to_paid = "Collection lag: seconds from finalized_at to paid_at"
subtotal_minor = "Sum of the lines before invoice-level discounts and exclusive taxes, minor units"
discount_minor = "Sum of the discounts, minor units"
tax_minor = "Sum of the taxes, inclusive and exclusive, minor units"
total_minor = "Total after discounts and taxes, minor units"
amount_due_minor = "What the customer owes for it, minor units"
amount_paid_minor = "What was paid of it, minor units"
amount_remaining_minor = "What is still owed, minor units"
amount_overpaid_minor = "What was paid too much, minor units"
is_attempted = "Whether payment was ever tried"
is_auto_advancing = "Whether Stripe moves it forward by itself"
created_at = "When it was created, UTC"
period_started_at = "Start of the period whose usage is billed, UTC"
period_ended_at = "End of that period, UTC"
finalized_at = "When it became open, UTC"
due_at = "When payment is due, UTC; NULL when charged automatically"
next_payment_attempt_at = "When payment is tried next, UTC"
paid_at = "When it became paid, UTC"
voided_at = "When it became void, UTC"
marked_uncollectible_at = "When it was given up, UTC"
*/
with

invoices as (
    select * from silver.invoices where not is_deleted
),

invoice_payments as (
    select * from silver.invoice_payments where not is_deleted
),

settling_payments as (
    select
        invoice_id,
        payment_intent_id,
    from invoice_payments
    where payment_intent_id is not null
    qualify row_number() over (
        partition by invoice_id
        order by
            status is not distinct from 'paid' desc,
            status is distinct from 'canceled' desc,
            coalesce(is_default, false) desc,
            created_at desc,
            invoice_payment_id desc
    ) = 1
)

select
    invoices.invoice_id,
    invoices.customer_id,
    invoices.subscription_id,
    settling_payments.payment_intent_id,
    invoices.revised_invoice_id,

    invoices.number,
    invoices.status,
    invoices.billing_reason,
    invoices.collection_method,
    invoices.currency,

    invoices.attempt_count,
    invoices.line_count,
    date_diff('second', invoices.finalized_at, invoices.paid_at) as seconds_to_paid,

    invoices.subtotal_minor,
    invoices.discount_minor,
    invoices.tax_minor,
    invoices.total_minor,
    invoices.amount_due_minor,
    invoices.amount_paid_minor,
    invoices.amount_remaining_minor,
    invoices.amount_overpaid_minor,

    invoices.is_attempted,
    invoices.is_auto_advancing,

    invoices.created_at,
    invoices.period_started_at,
    invoices.period_ended_at,
    invoices.finalized_at,
    invoices.due_at,
    invoices.next_payment_attempt_at,
    invoices.paid_at,
    invoices.voided_at,
    invoices.marked_uncollectible_at,
from invoices
left join settling_payments on invoices.invoice_id = settling_payments.invoice_id
