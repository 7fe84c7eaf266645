/*
description = "Subscriptions as last observed, canceled ones included."
grain = ["subscription_id"]
partition_by = "created_at"
not_null = ["subscription_id", "is_deleted", "_observed_at"]

[accepted]
status = ["active", "canceled", "incomplete", "incomplete_expired", "past_due", "paused", "trialing", "unpaid"]
collection_method = ["charge_automatically", "send_invoice"]

[references]
customer_id = "silver.customers.customer_id"
default_payment_method_id = "silver.payment_methods.payment_method_id"

[columns]
subscription_id = "Stripe id, sub_… (id)"
customer_id = "Who subscribes (customer)"
default_payment_method_id = "Payment method; NULL: the customer default (default_payment_method)"
latest_invoice_id = "Most recent invoice; may be a draft deleted since (latest_invoice)"
schedule_id = "Subscription schedule (schedule)"
test_clock_id = "Test clock; NULL in live mode (test_clock)"
currency = "Currency of the amounts, lower-case ISO 4217 (currency)"
status = "Where it stands in its life (status)"
collection_method = "charge_automatically or send_invoice (collection_method)"
cancellation_reason = "Why it was canceled, as Stripe sees it (cancellation_details.reason)"
cancellation_feedback = "Why it was canceled, as the customer says (cancellation_details.feedback)"
pause_behavior = "What happens to invoices while collection is paused (pause_collection.behavior)"
days_until_due = "Days to pay a sent invoice (days_until_due)"
description = "Text shown to the customer (description)"
metadata = "Keys and values set by the merchant, as JSON (metadata)"
is_cancel_at_period_end = "Whether it ends with the current period (cancel_at_period_end)"
is_livemode = "Whether the object exists in live mode (livemode)"
created_at = "When the object was created, UTC (created)"
started_at = "When it first started, UTC; before created_at if backdated (start_date)"
billing_cycle_anchor_at = "Reference point of billing periods, UTC (billing_cycle_anchor)"
trial_started_at = "When the trial began, UTC (trial_start)"
trial_ends_at = "When the trial ends or ended, UTC (trial_end)"
cancels_at = "When it is going to end, UTC (cancel_at)"
canceled_at = "When cancellation was asked for, UTC (canceled_at)"
ended_at = "When it ended, UTC (ended_at)"
pause_resumes_at = "When collection resumes, UTC (pause_collection.resumes_at)"
is_deleted = "Whether the object was observed as deleted"
deleted_at = "When it was deleted, UTC, where the observation says so"
_observed_at = "When this state was observed, UTC"
*/
with

subscriptions as (
    select * from bronze.subscriptions
)

select
    id as subscription_id,
    customer as customer_id,
    default_payment_method as default_payment_method_id,
    latest_invoice as latest_invoice_id,
    schedule as schedule_id,
    test_clock as test_clock_id,

    currency,
    status,
    collection_method,
    cancellation_details.reason as cancellation_reason,
    cancellation_details.feedback as cancellation_feedback,
    pause_collection.behavior as pause_behavior,
    days_until_due,
    description,
    metadata,

    cancel_at_period_end as is_cancel_at_period_end,
    livemode as is_livemode,

    make_timestamp(created * 1000000) as created_at,
    make_timestamp(start_date * 1000000) as started_at,
    make_timestamp(billing_cycle_anchor * 1000000) as billing_cycle_anchor_at,
    make_timestamp(trial_start * 1000000) as trial_started_at,
    make_timestamp(trial_end * 1000000) as trial_ends_at,
    make_timestamp(cancel_at * 1000000) as cancels_at,
    make_timestamp(canceled_at * 1000000) as canceled_at,
    make_timestamp(ended_at * 1000000) as ended_at,
    make_timestamp(pause_collection.resumes_at * 1000000) as pause_resumes_at,

    _is_deleted as is_deleted,
    _deleted_at as deleted_at,
    _observed_at,
from subscriptions
