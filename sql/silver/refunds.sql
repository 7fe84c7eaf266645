/*
description = "Refunds as last observed, failed and canceled ones included."
grain = ["refund_id"]
partition_by = "created_at"
links = ["charge_id", "payment_intent_id", "balance_transaction_id", "failure_balance_transaction_id"]
not_null = ["refund_id", "is_deleted", "_observed_at"]

[accepted]
status = ["pending", "requires_action", "succeeded", "failed", "canceled"]

[references]
charge_id = "silver.charges.charge_id"
payment_intent_id = "silver.payment_intents.payment_intent_id"
balance_transaction_id = "silver.balance_transactions.balance_transaction_id"
failure_balance_transaction_id = "silver.balance_transactions.balance_transaction_id"

[columns]
refund_id = "Stripe id, re_… or pyr_… (id)"
charge_id = "Charge refunded (charge)"
payment_intent_id = "Payment refunded (payment_intent)"
balance_transaction_id = "Ledger transaction that debits it; NULL until there is one (balance_transaction)"
failure_balance_transaction_id = "Ledger transaction that returns it when it fails (failure_balance_transaction)"
currency = "Currency of the amounts, lower-case ISO 4217 (currency)"
status = "pending, requires_action, succeeded, failed or canceled (status)"
reason = "duplicate, fraudulent, requested_by_customer, expired_uncaptured_charge or NULL (reason)"
failure_reason = "Why it failed (failure_reason)"
pending_reason = "Why it is pending (pending_reason)"
destination_type = "Where the money goes (destination_details.type)"
description = "Free text (description)"
metadata = "Keys and values set by the merchant, as JSON (metadata)"
amount_minor = "What is given back, minor units, positive (amount)"
created_at = "When the object was created, UTC (created)"
is_deleted = "Whether the object was observed as deleted"
deleted_at = "When it was deleted, UTC, where the observation says so"
_observed_at = "When this state was observed, UTC"
*/
with

refunds as (
    select * from bronze.refunds
)

select
    id as refund_id,
    charge as charge_id,
    payment_intent as payment_intent_id,
    balance_transaction as balance_transaction_id,
    failure_balance_transaction as failure_balance_transaction_id,

    currency,
    status,
    reason,
    failure_reason,
    pending_reason,
    destination_details.type as destination_type,
    description,
    metadata,

    amount as amount_minor,

    make_timestamp(created * 1000000) as created_at,

    _is_deleted as is_deleted,
    _deleted_at as deleted_at,
    _observed_at,
from refunds
