/*
description = """
The transaction that a payout names is about that payout and debits exactly its amount; so does the one that returns
a failed payout, the other way round.
"""
scope = "linked"
*/
with

payouts as (
    select * from silver.payouts where not is_deleted
),

transactions as (
    select * from silver.balance_transactions where not is_deleted
),

expected as (
    select
        payout_id,
        currency,
        balance_transaction_id,
        -amount_minor as expected_minor,
    from payouts
    union all
    select
        payout_id,
        currency,
        failure_balance_transaction_id as balance_transaction_id,
        amount_minor as expected_minor,
    from payouts
)

select
    expected.payout_id,
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
    transactions.source_id is distinct from expected.payout_id
    or (
        transactions.currency = expected.currency
        and transactions.amount_minor is distinct from expected.expected_minor
    )
