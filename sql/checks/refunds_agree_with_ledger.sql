/*
description = """
The transaction that a refund names is about that refund, and in the same currency it debits exactly the refund;
so does the one that returns a failed refund, the other way round.
"""
scope = "linked"
*/
with

refunds as (
    select * from silver.refunds where not is_deleted
),

transactions as (
    select * from silver.balance_transactions where not is_deleted
),

expected as (
    select
        refund_id,
        currency,
        balance_transaction_id,
        -amount_minor as expected_minor,
    from refunds
    union all
    select
        refund_id,
        currency,
        failure_balance_transaction_id as balance_transaction_id,
        amount_minor as expected_minor,
    from refunds
)

select
    expected.refund_id,
    expected.currency,
    expected.expected_minor,
    transactions.balance_transaction_id,
    transactions.source_id,
    transactions.currency as settlement_currency,
    transactions.amount_minor as settled_minor,
from expected
inner join transactions
    on expected.balance_transaction_id = transactions.balance_transaction_id
where
    transactions.source_id is distinct from expected.refund_id
    or (
        transactions.currency = expected.currency
        and transactions.amount_minor is distinct from expected.expected_minor
    )
