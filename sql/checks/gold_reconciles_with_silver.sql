/*
description = "Per currency, every gold fact has as many rows and the same sum as the silver it is made of, to the minor unit."
scope = "linked"
*/
with

charges as (
    select * from silver.charges where not is_deleted
),

-- What a charge calls refunded and gold does not is exactly what was let go.
payments as (
    select
        fct_payments.currency,
        fct_payments.amount_minor,
        case
            when fct_payments.refunded_minor = charges.refunded_minor then charges.refunded_minor
            else fct_payments.refunded_minor + fct_payments.released_minor
        end as part_minor,
    from gold.fct_payments
    left join charges on fct_payments.charge_id = charges.charge_id
    where fct_payments.charge_id is not null
),

fct_invoices as (
    select * from gold.fct_invoices
),

invoices as (
    select * from silver.invoices where not is_deleted
),

fct_refunds as (
    select * from gold.fct_refunds
),

refunds as (
    select * from silver.refunds where not is_deleted
),

fct_disputes as (
    select * from gold.fct_disputes
),

disputes as (
    select * from silver.disputes where not is_deleted
),

fct_balance_transactions as (
    select * from gold.fct_balance_transactions
),

balance_transactions as (
    select * from silver.balance_transactions where not is_deleted
),

-- Gold counts for, silver counts against: what does not cancel out was lost, doubled or changed.
entries as (
    select 'fct_payments' as model, currency, 1 as side, amount_minor, part_minor
    from payments
    union all
    select 'fct_payments' as model, currency, -1 as side, amount_minor, refunded_minor as part_minor
    from charges
    union all
    select 'fct_invoices' as model, currency, 1 as side, total_minor, amount_paid_minor
    from fct_invoices
    union all
    select 'fct_invoices' as model, currency, -1 as side, total_minor, amount_paid_minor
    from invoices
    union all
    select 'fct_refunds' as model, currency, 1 as side, amount_minor, 0 as part_minor
    from fct_refunds
    union all
    select 'fct_refunds' as model, currency, -1 as side, amount_minor, 0 as part_minor
    from refunds
    union all
    select 'fct_disputes' as model, currency, 1 as side, amount_minor, 0 as part_minor
    from fct_disputes
    union all
    select 'fct_disputes' as model, currency, -1 as side, amount_minor, 0 as part_minor
    from disputes
    union all
    select 'fct_balance_transactions' as model, currency, 1 as side, amount_minor, fee_minor
    from fct_balance_transactions
    union all
    select 'fct_balance_transactions' as model, currency, -1 as side, amount_minor, fee_minor
    from balance_transactions
)

select
    model,
    currency,
    cast(sum(side) as bigint) as rows_too_many,
    cast(sum(side * amount_minor) as bigint) as amount_too_much_minor,
    cast(sum(side * part_minor) as bigint) as part_too_much_minor,
from entries
group by model, currency
having
    sum(side) <> 0
    or sum(side * amount_minor) is distinct from 0
    or sum(side * part_minor) is distinct from 0
