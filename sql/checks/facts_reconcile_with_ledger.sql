/*
description = """
Per currency, what payments, refunds and disputes say they settled is what the ledger holds of charges, refunds and
disputes, to the minor unit.
"""
scope = "linked"
*/
with

payments as (
    select * from gold.fct_payments
),

refunds as (
    select * from gold.fct_refunds
),

disputes as (
    select * from gold.fct_disputes
),

transactions as (
    select * from silver.balance_transactions where not is_deleted
),

-- An id that the source denies has no row in gold, and what was settled in two currencies no settled amounts.
unsettled as (
    select charge_id as source_id from silver.charges where is_deleted
    union all
    select refund_id as source_id from silver.refunds where is_deleted
    union all
    select dispute_id as source_id from silver.disputes where is_deleted
    union all
    select source_id
    from transactions
    group by source_id
    having count(distinct currency) > 1
),

settled as (
    select
        'payments' as fact,
        settlement_currency as currency,
        sum(settled_minor) as gross_minor,
        sum(fee_minor) as fee_minor,
        sum(net_minor) as net_minor,
    from payments
    group by settlement_currency
    union all
    select
        'refunds' as fact,
        settlement_currency as currency,
        sum(settled_minor) as gross_minor,
        sum(fee_minor) as fee_minor,
        sum(net_minor) as net_minor,
    from refunds
    group by settlement_currency
    union all
    select
        'disputes' as fact,
        settlement_currency as currency,
        sum(reinstated_minor - withdrawn_minor) as gross_minor,
        sum(fee_minor) as fee_minor,
        sum(net_minor) as net_minor,
    from disputes
    group by settlement_currency
),

ledger as (
    select
        case
            when regexp_matches(source_id, '^(ch|py)_') then 'payments'
            when regexp_matches(source_id, '^(re|pyr)_') then 'refunds'
            when regexp_matches(source_id, '^(du|dp)_') then 'disputes'
        end as fact,
        currency,
        sum(amount_minor) as gross_minor,
        sum(fee_minor) as fee_minor,
        sum(net_minor) as net_minor,
    from transactions
    anti join unsettled on transactions.source_id = unsettled.source_id
    where regexp_matches(source_id, '^(ch|py|re|pyr|du|dp)_')
    group by fact, currency
)

select
    coalesce(settled.fact, ledger.fact) as fact,
    coalesce(settled.currency, ledger.currency) as currency,
    cast(settled.gross_minor as bigint) as fact_gross_minor,
    cast(ledger.gross_minor as bigint) as ledger_gross_minor,
    cast(settled.fee_minor as bigint) as fact_fee_minor,
    cast(ledger.fee_minor as bigint) as ledger_fee_minor,
    cast(settled.net_minor as bigint) as fact_net_minor,
    cast(ledger.net_minor as bigint) as ledger_net_minor,
from settled
full join ledger
    on settled.fact = ledger.fact
    and settled.currency = ledger.currency
where
    settled.gross_minor is distinct from ledger.gross_minor
    or settled.fee_minor is distinct from ledger.fee_minor
    or settled.net_minor is distinct from ledger.net_minor
