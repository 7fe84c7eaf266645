/*
description = "Payouts as last observed: money on its way to the bank."
grain = ["payout_id"]
partition_by = "created_at"
links = ["balance_transaction_id", "failure_balance_transaction_id", "original_payout_id", "reversed_by_payout_id"]
not_null = ["payout_id", "is_deleted", "_observed_at"]

[accepted]
status = ["pending", "in_transit", "paid", "failed", "canceled"]
type = ["bank_account", "card"]

[references]
balance_transaction_id = "silver.balance_transactions.balance_transaction_id"
failure_balance_transaction_id = "silver.balance_transactions.balance_transaction_id"
original_payout_id = "silver.payouts.payout_id"
reversed_by_payout_id = "silver.payouts.payout_id"

[columns]
payout_id = "Stripe id, po_… (id)"
balance_transaction_id = "Ledger transaction that debits it (balance_transaction)"
failure_balance_transaction_id = "Ledger transaction that returns it when it fails (failure_balance_transaction)"
original_payout_id = "Payout that this one reverses (original_payout)"
reversed_by_payout_id = "Payout that reverses this one (reversed_by)"
destination_id = "Bank account or card it goes to (destination)"
currency = "Currency of the amounts, lower-case ISO 4217 (currency)"
status = "pending, in_transit, paid, failed or canceled (status)"
type = "bank_account or card (type)"
method = "standard or instant (method)"
source_type = "Balance it comes from (source_type)"
reconciliation_status = "Whether its transactions can be listed yet (reconciliation_status)"
failure_code = "Why it failed (failure_code)"
failure_message = "Why it failed, in words (failure_message)"
statement_descriptor = "Text on the bank statement (statement_descriptor)"
description = "Free text (description)"
metadata = "Keys and values set by the merchant, as JSON (metadata)"
amount_minor = "What is paid out, minor units (amount)"
is_automatic = "Whether Stripe made it by schedule (automatic)"
is_livemode = "Whether the object exists in live mode (livemode)"
created_at = "When the object was created, UTC (created)"
arrival_date = "When it should reach the bank, UTC date (arrival_date)"
is_deleted = "Whether the object was observed as deleted"
deleted_at = "When it was deleted, UTC, where the observation says so"
_observed_at = "When this state was observed, UTC"
*/
with

payouts as (
    select * from bronze.payouts
)

select
    id as payout_id,
    balance_transaction as balance_transaction_id,
    failure_balance_transaction as failure_balance_transaction_id,
    original_payout as original_payout_id,
    reversed_by as reversed_by_payout_id,
    destination as destination_id,

    currency,
    status,
    type,
    method,
    source_type,
    reconciliation_status,
    failure_code,
    failure_message,
    statement_descriptor,
    description,
    metadata,

    amount as amount_minor,

    automatic as is_automatic,
    livemode as is_livemode,

    make_timestamp(created * 1000000) as created_at,
    cast(make_timestamp(arrival_date * 1000000) as date) as arrival_date,

    _is_deleted as is_deleted,
    _deleted_at as deleted_at,
    _observed_at,
from payouts
