/*
description = "Live and test data never come together: all objects that say so agree on livemode. The lake is bound to its key's mode."
scope = "linked"
*/
with

modes as (
    select 'customers' as entity, is_livemode from silver.customers
    union all
    select 'products' as entity, is_livemode from silver.products
    union all
    select 'prices' as entity, is_livemode from silver.prices
    union all
    select 'payment_methods' as entity, is_livemode from silver.payment_methods
    union all
    select 'subscriptions' as entity, is_livemode from silver.subscriptions
    union all
    select 'invoices' as entity, is_livemode from silver.invoices
    union all
    select 'payment_intents' as entity, is_livemode from silver.payment_intents
    union all
    select 'charges' as entity, is_livemode from silver.charges
    union all
    select 'disputes' as entity, is_livemode from silver.disputes
    union all
    select 'payouts' as entity, is_livemode from silver.payouts
    union all
    select 'invoice_payments' as entity, is_livemode from silver.invoice_payments
    union all
    select 'events' as entity, is_livemode from silver.events
),

counted as (
    select
        entity,
        is_livemode,
        count(*) as row_count,
        min(is_livemode) over () <> max(is_livemode) over () as is_mixed,
    from modes
    where is_livemode is not null
    group by entity, is_livemode
)

select
    entity,
    is_livemode,
    row_count,
from counted
where is_mixed
