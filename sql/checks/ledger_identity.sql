/*
description = "Every ledger transaction adds up: net is amount less fee, and the fee is the sum of its parts."
scope = "linked"
*/
with

transactions as (
    select * from silver.balance_transactions where not is_deleted
)

select
    balance_transaction_id,
    currency,
    amount_minor,
    fee_minor,
    itemised_fee_minor,
    net_minor,
from transactions
where
    net_minor is distinct from amount_minor - fee_minor
    or fee_minor is distinct from itemised_fee_minor
