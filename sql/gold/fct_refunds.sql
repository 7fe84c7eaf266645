/*
description = "One row per refund, with what it took from the balance."
grain = ["refund_id"]
partition_by = "created_at"
scope = "linked"
not_null = ["refund_id", "currency", "amount_minor", "is_returned", "is_release", "created_at"]
caveats = [
    "Until API version 2025-03-31 a refund that gives nothing back lets go what was never captured: filter on not is_release.",
    "What the ledger has in two currencies has no settled amounts here; gold.fct_balance_transactions has them.",
    "A failed refund returns to the balance: its settled amounts then sum both ledger rows.",
    "Of a charge from before the lake's coverage, earlier refunds may not be held.",
]

[accepted]
status = ["pending", "requires_action", "succeeded", "failed", "canceled"]

[references]
charge_id = "silver.charges.charge_id"
payment_intent_id = "silver.payment_intents.payment_intent_id"
customer_id = "gold.dim_customers.customer_id"
balance_transaction_id = "silver.balance_transactions.balance_transaction_id"

[columns]
refund_id = "Stripe id, re_… or pyr_…"
charge_id = "Charge refunded"
payment_intent_id = "Payment refunded"
customer_id = "Who paid, from the charge"
balance_transaction_id = "Ledger transaction that the refund names as its own"
currency = "Currency of amount_minor, lower-case ISO 4217"
status = "pending, requires_action, succeeded, failed or canceled"
reason = "duplicate, fraudulent, requested_by_customer, expired_uncaptured_charge or NULL"
failure_reason = "Why it failed"
destination_type = "Where the money goes"
amount_minor = "What is given back, or let go, minor units of currency, positive"
settlement_currency = "Currency of the balance it is taken from; NULL where the ledger has none or two"
settled_minor = "Gross change of the balance, minor units of settlement_currency, negative"
fee_minor = "Fees taken, minor units of settlement_currency"
net_minor = "settled_minor - fee_minor, minor units of settlement_currency"
is_returned = "Whether the money came back to the balance because the refund failed or was canceled"
is_release = "Whether it let go of what was authorized and not captured, so that nobody got money back"
created_at = "When the refund was made, UTC"
*/
with

refunds as (
    select * from silver.refunds where not is_deleted
),

charges as (
    select * from silver.charges
),

balance_transactions as (
    select * from silver.balance_transactions where not is_deleted
),

settlements as (
    select
        source_id,
        min(currency) as currency,
        cast(sum(amount_minor) as bigint) as settled_minor,
        cast(sum(fee_minor) as bigint) as fee_minor,
        cast(sum(net_minor) as bigint) as net_minor,
    from balance_transactions
    group by source_id
    having min(currency) = max(currency)
)

select
    refunds.refund_id,
    refunds.charge_id,
    refunds.payment_intent_id,
    charges.customer_id,
    refunds.balance_transaction_id,

    refunds.currency,
    refunds.status,
    refunds.reason,
    refunds.failure_reason,
    refunds.destination_type,

    refunds.amount_minor,
    settlements.currency as settlement_currency,
    settlements.settled_minor,
    settlements.fee_minor,
    settlements.net_minor,

    refunds.failure_balance_transaction_id is not null as is_returned,
    coalesce(own.reporting_category = 'partial_capture_reversal', false)
    or coalesce(
        refunds.balance_transaction_id is null
        and refunds.status = 'succeeded'
        and refunds.amount_minor = charges.amount_minor - charges.captured_minor,
        false
    ) as is_release,

    refunds.created_at,
from refunds
left join charges on refunds.charge_id = charges.charge_id
left join balance_transactions as own
    on refunds.balance_transaction_id = own.balance_transaction_id
left join settlements on refunds.refund_id = settlements.source_id
