/*
description = "The ledger: every movement of the Stripe balance as last observed."
grain = ["balance_transaction_id"]
partition_by = "created_at"
links = ["source_id"]
not_null = ["balance_transaction_id", "is_deleted", "_observed_at"]

[accepted]
status = ["pending", "available"]

[columns]
balance_transaction_id = "Stripe id, txn_… (id)"
source_id = "Object that caused it: a charge, refund, dispute, payout, … (source)"
currency = "Currency of the amounts, lower-case ISO 4217 (currency)"
type = "What it is, in detail (type)"
reporting_category = "What it is, for accounting; prefer this to type (reporting_category)"
status = "pending or available (status)"
balance_type = "Balance it belongs to (balance_type)"
description = "Free text (description)"
amount_minor = "Gross, minor units; negative when money leaves the balance (amount)"
fee_minor = "Fee taken from it, minor units, positive (fee)"
net_minor = "What the balance changes by, minor units (net)"
itemised_fee_minor = "Sum of the parts of the fee, minor units (fee_details[].amount)"
exchange_rate = "Rate from the currency of the source to this currency, as received; never used for money (exchange_rate)"
created_at = "When the object was created, UTC (created)"
available_at = "When the net can be paid out, UTC (available_on)"
is_deleted = "Whether the object was observed as deleted"
deleted_at = "When it was deleted, UTC, where the observation says so"
_observed_at = "When this state was observed, UTC"
*/
with

balance_transactions as (
    select * from bronze.balance_transactions
)

select
    id as balance_transaction_id,
    source as source_id,

    currency,
    type,
    reporting_category,
    status,
    balance_type,
    description,

    amount as amount_minor,
    fee as fee_minor,
    net as net_minor,
    cast(
        coalesce(
            list_sum(list_transform(fee_details, lambda part: part.amount)), 0
        ) as bigint
    ) as itemised_fee_minor,
    exchange_rate,

    make_timestamp(created * 1000000) as created_at,
    make_timestamp(available_on * 1000000) as available_at,

    _is_deleted as is_deleted,
    _deleted_at as deleted_at,
    _observed_at,
from balance_transactions
