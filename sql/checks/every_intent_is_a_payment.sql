/*
description = """
Every payment intent has rows in fct_payments, exactly one of them its latest attempt, and the charge it names is
among them, unless the source denies having that charge.
"""
scope = "linked"
*/
with

payment_intents as (
    select * from silver.payment_intents where not is_deleted
),

payments as (
    select * from gold.fct_payments
),

-- A charge that the source denies is no payment, and its intent may go on naming it.
denied as (
    select charge_id from silver.charges where is_deleted
),

attempts as (
    select
        payment_intent_id,
        count(*) as row_count,
        count(*) filter (where is_latest_attempt) as latest_count,
    from payments
    where payment_intent_id is not null
    group by payment_intent_id
)

select
    payment_intents.payment_intent_id,
    payment_intents.latest_charge_id,
    attempts.row_count,
    attempts.latest_count,
from payment_intents
left join attempts
    on payment_intents.payment_intent_id = attempts.payment_intent_id
left join payments
    on payment_intents.latest_charge_id = payments.charge_id
left join denied on payment_intents.latest_charge_id = denied.charge_id
where
    attempts.latest_count is distinct from 1
    or (
        payment_intents.latest_charge_id is not null
        and denied.charge_id is null
        and payments.payment_intent_id
            is distinct from payment_intents.payment_intent_id
    )
