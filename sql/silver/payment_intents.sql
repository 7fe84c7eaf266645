/*
description = "Payment intents as last observed: what a customer set out to pay."
grain = ["payment_intent_id"]
partition_by = "created_at"
links = ["latest_charge_id"]
not_null = ["payment_intent_id", "is_deleted", "_observed_at"]

[accepted]
status = ["canceled", "processing", "requires_action", "requires_capture", "requires_confirmation", "requires_payment_method", "succeeded"]

[references]
customer_id = "silver.customers.customer_id"
latest_charge_id = "silver.charges.charge_id"
payment_method_id = "silver.payment_methods.payment_method_id"

[columns]
payment_intent_id = "Stripe id, pi_… (id)"
customer_id = "Who pays (customer)"
latest_charge_id = "Most recent attempt; NULL when none was made (latest_charge)"
payment_method_id = "Payment method chosen (payment_method)"
currency = "Currency of the amounts, lower-case ISO 4217 (currency)"
status = "Where the payment stands (status)"
cancellation_reason = "Why it was canceled (cancellation_reason)"
capture_method = "automatic, automatic_async or manual (capture_method)"
confirmation_method = "automatic or manual (confirmation_method)"
setup_future_usage = "on_session, off_session or NULL (setup_future_usage)"
last_error_type = "Kind of the latest error (last_payment_error.type)"
last_error_code = "Code of the latest error (last_payment_error.code)"
last_decline_code = "Decline code of the latest error (last_payment_error.decline_code)"
statement_descriptor = "Text on the bank statement (statement_descriptor)"
description = "Free text set by the merchant (description)"
metadata = "Keys and values set by the merchant, as JSON (metadata)"
amount_minor = "What is to be paid, minor units (amount)"
capturable_minor = "What can still be captured, minor units (amount_capturable)"
received_minor = "What was received, minor units (amount_received)"
is_livemode = "Whether the object exists in live mode (livemode)"
created_at = "When the object was created, UTC (created)"
canceled_at = "When it was canceled, UTC (canceled_at)"
is_deleted = "Whether the object was observed as deleted"
deleted_at = "When it was deleted, UTC, where the observation says so"
_observed_at = "When this state was observed, UTC"
*/
with

payment_intents as (
    select * from bronze.payment_intents
)

select
    id as payment_intent_id,
    customer as customer_id,
    latest_charge as latest_charge_id,
    payment_method as payment_method_id,

    currency,
    status,
    cancellation_reason,
    capture_method,
    confirmation_method,
    setup_future_usage,
    last_payment_error.type as last_error_type,
    last_payment_error.code as last_error_code,
    last_payment_error.decline_code as last_decline_code,
    statement_descriptor,
    description,
    metadata,

    amount as amount_minor,
    amount_capturable as capturable_minor,
    amount_received as received_minor,

    livemode as is_livemode,

    make_timestamp(created * 1000000) as created_at,
    make_timestamp(canceled_at * 1000000) as canceled_at,

    _is_deleted as is_deleted,
    _deleted_at as deleted_at,
    _observed_at,
from payment_intents
