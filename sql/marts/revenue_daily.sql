/*
description = "What each UTC day changed on the Stripe balance through business, per currency, from the ledger."
grain = ["revenue_date", "currency"]
partition_by = "revenue_date"
scope = "day"
not_null = [
    "revenue_date", "currency", "transaction_count", "gross_minor", "refunds_minor", "disputes_minor", "fees_minor",
    "other_minor", "net_minor",
]
caveats = [
    "By the date a transaction was made, not the date its funds become available.",
    "Payouts, top-ups, reserves and loans are left out, but for their fees: they move the merchant's own or lent money.",
    "Only days the lake covers are complete; older days hold what later objects refer to.",
]

[columns]
revenue_date = "UTC date the transactions were made"
currency = "Settlement currency, lower-case ISO 4217; never add across currencies"
transaction_count = "Ledger transactions counted; of those left out only where they cost a fee"
gross_minor = "Charges less late failures and what was not captured, minor units (reporting categories charge, charge_failure, partial_capture_reversal)"
refunds_minor = "Refunds less failed ones, minor units, negative (refund, refund_failure)"
disputes_minor = "Disputes less reversals, minor units, negative (dispute, dispute_reversal)"
fees_minor = "Fees taken, minor units, positive: on transactions, and billed by themselves (fee, network_cost)"
other_minor = "Everything else that is business, minor units"
net_minor = "gross + refunds + disputes + other - fees, minor units"
*/
with

transactions as (
    select * from gold.fct_balance_transactions
),

movements as (
    select
        cast(created_at as date) as revenue_date,
        currency,
        case
            when regexp_matches(
                reporting_category,
                '^(payout|topup|advance|anticipation_repayment|financing)|reserve'
            ) then 'own'
            when reporting_category in ('charge', 'charge_failure', 'partial_capture_reversal') then 'gross'
            when reporting_category in ('refund', 'refund_failure') then 'refunds'
            when reporting_category in ('dispute', 'dispute_reversal') then 'disputes'
            when reporting_category in ('fee', 'network_cost') then 'fees'
            else 'other'
        end as kind,
        amount_minor,
        fee_minor,
    from transactions
    where kind <> 'own' or fee_minor <> 0
)

select
    revenue_date,
    currency,

    count(*) as transaction_count,

    cast(coalesce(sum(amount_minor) filter (where kind = 'gross'), 0) as bigint) as gross_minor,
    cast(coalesce(sum(amount_minor) filter (where kind = 'refunds'), 0) as bigint) as refunds_minor,
    cast(coalesce(sum(amount_minor) filter (where kind = 'disputes'), 0) as bigint) as disputes_minor,
    cast(
        sum(fee_minor) - coalesce(sum(amount_minor) filter (where kind = 'fees'), 0) as bigint
    ) as fees_minor,
    cast(coalesce(sum(amount_minor) filter (where kind = 'other'), 0) as bigint) as other_minor,
    cast(
        coalesce(sum(amount_minor) filter (where kind <> 'own'), 0) - sum(fee_minor) as bigint
    ) as net_minor,
from movements
group by revenue_date, currency
