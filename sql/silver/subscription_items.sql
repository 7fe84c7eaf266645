/*
description = "What each subscription is for: one row per price subscribed to."
grain = ["subscription_item_id"]
partition_by = "subscription_created_at"
not_null = ["subscription_item_id", "subscription_id", "is_deleted", "_observed_at"]
replace_by = "subscription_id"
caveats = [
    "Amounts are of the price, in its own currency: not what is billed where the subscription has another, or the price is of a package.",
]
parent = "subscriptions"

[references]
subscription_id = "silver.subscriptions.subscription_id"
price_id = "silver.prices.price_id"
product_id = "silver.products.product_id"

[columns]
subscription_item_id = "Stripe id, si_… (items.data[].id)"
subscription_id = "Subscription it belongs to (id)"
price_id = "Price subscribed to (items.data[].price.id)"
product_id = "Product subscribed to (items.data[].price.product)"
position = "Place among the items, from 1"
quantity = "Units subscribed to; NULL when metered (items.data[].quantity)"
currency = "Currency of the price, lower-case ISO 4217 (items.data[].price.currency)"
billing_interval = "day, week, month or year (items.data[].price.recurring.interval)"
billing_interval_count = "Intervals between two invoices (items.data[].price.recurring.interval_count)"
usage_type = "licensed or metered (items.data[].price.recurring.usage_type)"
metadata = "Keys and values set by the merchant, as JSON (items.data[].metadata)"
unit_amount_minor = "Price of one unit or package, whole minor units of currency (items.data[].price.unit_amount)"
unit_amount_decimal = "Price of one unit or package, minor units with up to 12 decimals, as received (items.data[].price.unit_amount_decimal)"
subscription_created_at = "When the subscription was created, UTC (created)"
created_at = "When the item was added, UTC (items.data[].created)"
current_period_started_at = "Start of the current period, UTC (items.data[].current_period_start)"
current_period_ends_at = "End of the current period, UTC (items.data[].current_period_end)"
is_deleted = "Whether the subscription was observed as deleted"
deleted_at = "When it was deleted, UTC, where the observation says so"
_observed_at = "When this state was observed, UTC"
*/
with

subscriptions as (
    select * from bronze.subscriptions
),

items as (
    select
        id as subscription_id,
        created as parent_created,
        unnest(items.data) as item,
        generate_subscripts(items.data, 1) as position,
        _is_deleted,
        _deleted_at,
        _observed_at,
    from subscriptions
)

select
    item.id as subscription_item_id,
    subscription_id,
    item.price.id as price_id,
    item.price.product as product_id,

    position,
    item.quantity as quantity,
    item.price.currency as currency,
    item.price.recurring.interval as billing_interval,
    item.price.recurring.interval_count as billing_interval_count,
    item.price.recurring.usage_type as usage_type,
    item.metadata as metadata,

    item.price.unit_amount as unit_amount_minor,
    item.price.unit_amount_decimal as unit_amount_decimal,

    make_timestamp(parent_created * 1000000) as subscription_created_at,
    make_timestamp(item.created * 1000000) as created_at,
    make_timestamp(item.current_period_start * 1000000) as current_period_started_at,
    make_timestamp(item.current_period_end * 1000000) as current_period_ends_at,

    _is_deleted as is_deleted,
    _deleted_at as deleted_at,
    _observed_at,
from items
