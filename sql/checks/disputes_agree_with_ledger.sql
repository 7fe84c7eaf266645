/*
description = """
Every transaction that a dispute lists is in the ledger and about that dispute, and together they have the net it lists.
"""
scope = "linked"
*/
with

disputes as (
    select * from silver.disputes where not is_deleted
),

transactions as (
    select * from silver.balance_transactions where not is_deleted
),

listed as (
    select
        dispute_id,
        unnest(balance_transaction_ids) as balance_transaction_id,
    from disputes
),

ledger as (
    select
        listed.dispute_id,
        cast(sum(transactions.net_minor) as bigint) as net_minor,
        count(*) as listed_count,
        count(*) filter (where transactions.source_id = listed.dispute_id) as held_count,
    from listed
    left join transactions
        on listed.balance_transaction_id = transactions.balance_transaction_id
    group by listed.dispute_id
)

select
    disputes.dispute_id,
    disputes.ledger_net_minor as listed_net_minor,
    ledger.net_minor as ledger_net_minor,
    ledger.listed_count,
    ledger.held_count,
from disputes
inner join ledger on disputes.dispute_id = ledger.dispute_id
where
    ledger.held_count <> ledger.listed_count
    or ledger.net_minor is distinct from disputes.ledger_net_minor
