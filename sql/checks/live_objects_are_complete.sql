/*
description = "An object that was not observed as deleted has the fields every such object has."
scope = "linked"
*/
with

objects as (
    select 'customers' as model, customer_id as id, is_deleted,
        created_at is null as is_incomplete
    from silver.customers
    union all
    select 'products' as model, product_id as id, is_deleted,
        name is null
        or created_at is null as is_incomplete
    from silver.products
    union all
    select 'prices' as model, price_id as id, is_deleted,
        product_id is null
        or currency is null
        or type is null
        or created_at is null as is_incomplete
    from silver.prices
    union all
    select 'payment_methods' as model, payment_method_id as id, is_deleted,
        type is null
        or created_at is null as is_incomplete
    from silver.payment_methods
    union all
    select 'subscriptions' as model, subscription_id as id, is_deleted,
        customer_id is null
        or currency is null
        or status is null
        or created_at is null as is_incomplete
    from silver.subscriptions
    union all
    select 'subscription_items' as model, subscription_item_id as id, is_deleted,
        price_id is null
        or created_at is null as is_incomplete
    from silver.subscription_items
    union all
    select 'invoices' as model, invoice_id as id, is_deleted,
        currency is null
        or total_minor is null
        or created_at is null as is_incomplete
    from silver.invoices
    union all
    select 'invoice_lines' as model, invoice_line_id as id, is_deleted,
        currency is null
        or amount_minor is null as is_incomplete
    from silver.invoice_lines
    union all
    select 'payment_intents' as model, payment_intent_id as id, is_deleted,
        currency is null
        or status is null
        or amount_minor is null
        or created_at is null as is_incomplete
    from silver.payment_intents
    union all
    select 'charges' as model, charge_id as id, is_deleted,
        currency is null
        or status is null
        or amount_minor is null
        or captured_minor is null
        or refunded_minor is null
        or created_at is null as is_incomplete
    from silver.charges
    union all
    select 'refunds' as model, refund_id as id, is_deleted,
        currency is null
        or amount_minor is null
        or created_at is null as is_incomplete
    from silver.refunds
    union all
    select 'disputes' as model, dispute_id as id, is_deleted,
        charge_id is null
        or currency is null
        or status is null
        or amount_minor is null
        or created_at is null as is_incomplete
    from silver.disputes
    union all
    select 'balance_transactions' as model, balance_transaction_id as id, is_deleted,
        currency is null
        or amount_minor is null
        or fee_minor is null
        or net_minor is null
        or reporting_category is null
        or created_at is null as is_incomplete
    from silver.balance_transactions
    union all
    select 'payouts' as model, payout_id as id, is_deleted,
        currency is null
        or status is null
        or amount_minor is null
        or created_at is null as is_incomplete
    from silver.payouts
    union all
    select 'invoice_payments' as model, invoice_payment_id as id, is_deleted,
        invoice_id is null
        or currency is null
        or status is null
        or created_at is null as is_incomplete
    from silver.invoice_payments
    union all
    select 'events' as model, event_id as id, is_deleted,
        type is null
        or created_at is null as is_incomplete
    from silver.events
)

select
    model,
    id,
from objects
where is_incomplete and not is_deleted
