/*
description = "The ledger: one row per movement of the Stripe balance, tied to what caused it."
grain = ["balance_transaction_id"]
partition_by = "created_at"
scope = "linked"
not_null = [
    "balance_transaction_id", "currency", "reporting_category", "status", "amount_minor", "fee_minor", "net_minor",
    "created_at", "available_at",
]
caveats = [
    "The canonical source for accounting: group by reporting_category, not by type.",
    "Which payout paid a transaction out is not on the object; only the payout's own transaction names it.",
]

[accepted]
status = ["pending", "available"]

[references]
charge_id = "silver.charges.charge_id"
refund_id = "silver.refunds.refund_id"
dispute_id = "silver.disputes.dispute_id"
payout_id = "silver.payouts.payout_id"
customer_id = "gold.dim_customers.customer_id"

[columns]
balance_transaction_id = "Stripe id, txn_…"
source_id = "Object that caused it; NULL for some fees and adjustments"
charge_id = "Charge it belongs to: the source, or what the refund or dispute is about"
refund_id = "Refund that caused it"
dispute_id = "Dispute that caused it"
payout_id = "Payout that caused it (not: that paid it out)"
customer_id = "Who paid the charge"
currency = "Currency of the amounts, lower-case ISO 4217"
type = "What it is, in detail"
reporting_category = "What it is, for accounting"
status = "pending or available"
balance_type = "Balance it belongs to"
amount_minor = "Gross, minor units; negative when money leaves the balance"
fee_minor = "Fee taken from it, minor units"
net_minor = "What the balance changes by, minor units"
created_at = "When it was made, UTC"
available_at = "When the net can be paid out, UTC"
*/
with

balance_transactions as (
    select * from silver.balance_transactions where not is_deleted
),

charges as (
    select * from silver.charges
),

refunds as (
    select * from silver.refunds
),

disputes as (
    select * from silver.disputes
),

movements as (
    select
        balance_transaction_id,
        source_id,
        case
            when regexp_matches(source_id, '^(ch|py)_') then source_id
        end as source_charge_id,
        case
            when regexp_matches(source_id, '^(re|pyr)_') then source_id
        end as refund_id,
        case
            when regexp_matches(source_id, '^(du|dp)_') then source_id
        end as dispute_id,
        case
            when regexp_matches(source_id, '^po_') then source_id
        end as payout_id,

        currency,
        type,
        reporting_category,
        status,
        balance_type,

        amount_minor,
        fee_minor,
        net_minor,

        created_at,
        available_at,
    from balance_transactions
)

select
    movements.balance_transaction_id,
    movements.source_id,
    coalesce(
        movements.source_charge_id, refunds.charge_id, disputes.charge_id
    ) as charge_id,
    movements.refund_id,
    movements.dispute_id,
    movements.payout_id,
    charges.customer_id,

    movements.currency,
    movements.type,
    movements.reporting_category,
    movements.status,
    movements.balance_type,

    movements.amount_minor,
    movements.fee_minor,
    movements.net_minor,

    movements.created_at,
    movements.available_at,
from movements
left join refunds on movements.refund_id = refunds.refund_id
left join disputes on movements.dispute_id = disputes.dispute_id
left join charges
    on coalesce(
        movements.source_charge_id, refunds.charge_id, disputes.charge_id
    ) = charges.charge_id
