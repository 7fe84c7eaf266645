/*
description = "Prices as last observed, inactive and deleted ones included."
grain = ["price_id"]
partition_by = "created_at"
not_null = ["price_id", "is_deleted", "_observed_at"]
caveats = [
    "An object first seen after its deletion is only a stub: everything but its id is NULL.",
]

[accepted]
billing_scheme = ["per_unit", "tiered"]
type = ["one_time", "recurring"]
billing_interval = ["day", "week", "month", "year"]
usage_type = ["licensed", "metered"]

[references]
product_id = "silver.products.product_id"

[columns]
price_id = "Stripe id, price_… (id)"
product_id = "What is priced (product)"
meter_id = "Meter of metered usage (recurring.meter)"
currency = "Currency of the amounts, lower-case ISO 4217 (currency)"
billing_scheme = "per_unit or tiered (billing_scheme)"
type = "one_time or recurring (type)"
usage_type = "licensed or metered; NULL when one-time (recurring.usage_type)"
billing_interval = "day, week, month or year; NULL when one-time (recurring.interval)"
billing_interval_count = "Intervals between two invoices (recurring.interval_count)"
trial_period_days = "Default trial length, days (recurring.trial_period_days)"
tiers_mode = "graduated or volume; NULL unless tiered (tiers_mode)"
transform_divide_by = "Quantity is divided by this before pricing (transform_quantity.divide_by)"
transform_round = "up or down, after the division (transform_quantity.round)"
tax_behavior = "inclusive, exclusive or unspecified (tax_behavior)"
nickname = "Name for internal use (nickname)"
lookup_key = "Key the merchant finds it by (lookup_key)"
metadata = "Keys and values set by the merchant, as JSON (metadata)"
unit_amount_minor = "Price of one unit or package, whole minor units of currency; NULL when tiered, fractional or chosen by the customer (unit_amount)"
unit_amount_decimal = "Price of one unit or package, minor units of currency with up to 12 decimals, as received (unit_amount_decimal)"
is_active = "Whether it can be used for new purchases (active)"
is_livemode = "Whether the object exists in live mode (livemode)"
created_at = "When the object was created, UTC (created)"
is_deleted = "Whether the object was observed as deleted"
deleted_at = "When it was deleted, UTC, where the observation says so"
_observed_at = "When this state was observed, UTC"
*/
with

prices as (
    select * from bronze.prices
)

select
    id as price_id,
    product as product_id,
    recurring.meter as meter_id,

    currency,
    billing_scheme,
    type,
    recurring.usage_type as usage_type,
    recurring.interval as billing_interval,
    recurring.interval_count as billing_interval_count,
    recurring.trial_period_days as trial_period_days,
    tiers_mode,
    transform_quantity.divide_by as transform_divide_by,
    transform_quantity.round as transform_round,
    tax_behavior,
    nickname,
    lookup_key,
    metadata,

    unit_amount as unit_amount_minor,
    unit_amount_decimal,

    active as is_active,
    livemode as is_livemode,

    make_timestamp(created * 1000000) as created_at,

    _is_deleted as is_deleted,
    _deleted_at as deleted_at,
    _observed_at,
from prices
