/*
description = "Every day of revenue_daily adds up across its columns, and its days add up to the ledger per currency."
scope = "day"
*/
with

revenue as (
    select * from marts.revenue_daily
),

transactions as (
    select * from silver.balance_transactions where not is_deleted
),

days_wrong as (
    select
        revenue_date,
        currency,
        net_minor,
        gross_minor + refunds_minor + disputes_minor + other_minor - fees_minor as expected_minor,
    from revenue
    where
        net_minor
        <> gross_minor + refunds_minor + disputes_minor + other_minor - fees_minor
),

totals as (
    select
        currency,
        cast(sum(net_minor) as bigint) as net_minor,
    from revenue
    group by currency
),

ledger as (
    select
        currency,
        cast(
            sum(
                case
                    when regexp_matches(
                        reporting_category,
                        '^(payout|topup|advance|anticipation_repayment|financing)|reserve'
                    ) then nullif(-fee_minor, 0)
                    else net_minor
                end
            ) as bigint
        ) as net_minor,
    from transactions
    group by currency
)

select
    revenue_date,
    currency,
    net_minor,
    expected_minor,
from days_wrong
union all
select
    cast(null as date) as revenue_date,
    coalesce(totals.currency, ledger.currency) as currency,
    totals.net_minor,
    ledger.net_minor as expected_minor,
from totals
full join ledger on totals.currency = ledger.currency
where totals.net_minor is distinct from ledger.net_minor
