/*
description = """
The transaction that a charge names is about that charge, and in the same currency it credits what was charged or captured,
or one of several parts that were captured.
"""
scope = "linked"
*/
with

charges as (
    select * from silver.charges where not is_deleted
),

transactions as (
    select
        *,
        count(*) filter (where reporting_category = 'charge') over (
            partition by source_id
        ) as capture_count,
    from silver.balance_transactions
    where not is_deleted
)

select
    charges.charge_id,
    charges.currency,
    charges.amount_minor,
    charges.captured_minor,
    transactions.balance_transaction_id,
    transactions.source_id,
    transactions.currency as settlement_currency,
    transactions.amount_minor as settled_minor,
from charges
inner join transactions
    on charges.balance_transaction_id = transactions.balance_transaction_id
where
    transactions.source_id is distinct from charges.charge_id
    or (
        transactions.currency = charges.currency
        -- A partial capture may be credited in full and reversed by a transaction of its own.
        and transactions.amount_minor is distinct from charges.amount_minor
        and transactions.amount_minor is distinct from charges.captured_minor
        -- Each of several captures has its own, of which the charge names one.
        and not (
            (charges.multicapture_status is not distinct from 'available' or transactions.capture_count > 1)
            and transactions.amount_minor between 1 and charges.captured_minor
        )
    )
