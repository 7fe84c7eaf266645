/*
description = "No charge is refunded by more than was charged, or captured: pending and succeeded refunds together."
scope = "linked"
*/
with

charges as (
    select * from silver.charges where not is_deleted
),

refunds as (
    select * from gold.fct_refunds
),

refunded as (
    select
        charge_id,
        currency,
        cast(sum(amount_minor) as bigint) as refunded_minor,
    from refunds
    where status in ('pending', 'requires_action', 'succeeded')
    group by charge_id, currency
)

select
    charges.charge_id,
    charges.currency,
    charges.amount_minor,
    refunded.currency as refund_currency,
    refunded.refunded_minor,
from refunded
inner join charges on refunded.charge_id = charges.charge_id
where
    refunded.currency is distinct from charges.currency
    or refunded.refunded_minor > greatest(charges.amount_minor, charges.captured_minor)
