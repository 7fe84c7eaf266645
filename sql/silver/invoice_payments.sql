/*
description = "Which payment settles which invoice, as last observed: the only link between the two."
grain = ["invoice_payment_id"]
partition_by = "created_at"
links = ["invoice_id", "payment_intent_id", "charge_id"]
not_null = ["invoice_payment_id", "is_deleted", "_observed_at"]

[accepted]
status = ["open", "paid", "canceled"]

[references]
invoice_id = "silver.invoices.invoice_id"
payment_intent_id = "silver.payment_intents.payment_intent_id"
charge_id = "silver.charges.charge_id"

[columns]
invoice_payment_id = "Stripe id, inpay_… (id)"
invoice_id = "Invoice to be paid (invoice)"
payment_intent_id = "Payment that pays it (payment.payment_intent)"
charge_id = "Charge that pays it, when made without an intent (payment.charge)"
currency = "Currency of the amounts, lower-case ISO 4217 (currency)"
status = "open, paid or canceled (status)"
payment_type = "payment_intent, charge or payment_record (payment.type)"
requested_minor = "What it is to pay of the invoice, minor units (amount_requested)"
paid_minor = "What it paid; NULL until paid, minor units (amount_paid)"
is_default = "Whether Stripe made it when the invoice was finalized (is_default)"
is_livemode = "Whether the object exists in live mode (livemode)"
created_at = "When the object was created, UTC (created)"
paid_at = "When it was paid, UTC (status_transitions.paid_at)"
canceled_at = "When it was canceled, UTC (status_transitions.canceled_at)"
is_deleted = "Whether the object was observed as deleted"
deleted_at = "When it was deleted, UTC, where the observation says so"
_observed_at = "When this state was observed, UTC"
*/
with

invoice_payments as (
    select * from bronze.invoice_payments
)

select
    id as invoice_payment_id,
    invoice as invoice_id,
    payment.payment_intent as payment_intent_id,
    payment.charge as charge_id,

    currency,
    status,
    payment.type as payment_type,

    amount_requested as requested_minor,
    amount_paid as paid_minor,

    is_default,
    livemode as is_livemode,

    make_timestamp(created * 1000000) as created_at,
    make_timestamp(status_transitions.paid_at * 1000000) as paid_at,
    make_timestamp(status_transitions.canceled_at * 1000000) as canceled_at,

    _is_deleted as is_deleted,
    _deleted_at as deleted_at,
    _observed_at,
from invoice_payments
