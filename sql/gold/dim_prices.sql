/*
description = "One row per price, inactive and deleted ones included."
grain = ["price_id"]
scope = "linked"
not_null = ["price_id", "is_deleted"]
caveats = ["A tiered price has no unit amount; its tiers are only returned when expanded and stay out."]

[accepted]
billing_scheme = ["per_unit", "tiered"]
type = ["one_time", "recurring"]
billing_interval = ["day", "week", "month", "year"]
usage_type = ["licensed", "metered"]

[references]
product_id = "gold.dim_products.product_id"

[columns]
price_id = "Stripe id, price_…"
product_id = "What is priced"
currency = "Currency of the amounts, lower-case ISO 4217"
type = "one_time or recurring"
billing_scheme = "per_unit or tiered"
billing_interval = "day, week, month or year; NULL when one-time"
billing_interval_count = "Intervals between two invoices; NULL when one-time"
usage_type = "licensed or metered; NULL when one-time"
trial_period_days = "Default trial length, days"
tax_behavior = "inclusive, exclusive or unspecified"
nickname = "Name for internal use"
lookup_key = "Key the merchant finds it by"
transform_divide_by = "Units that are priced together, such as seats in a package; NULL when one by one"
transform_round = "up or down: how a part of such a package counts"
unit_amount_minor = "Price of one unit or package, whole minor units of currency; NULL when tiered, fractional or chosen by the customer"
unit_amount_decimal = "Price of one unit or package, minor units of currency, exact to 12 decimals"
is_active = "Whether it can be used for new purchases"
is_deleted = "Whether the price was deleted"
created_at = "When the price was created, UTC"
deleted_at = "When it was deleted, UTC, where the observation says so"
*/
with

prices as (
    select * from silver.prices
)

select
    price_id,
    product_id,

    currency,
    type,
    billing_scheme,
    billing_interval,
    billing_interval_count,
    usage_type,
    trial_period_days,
    tax_behavior,
    nickname,
    lookup_key,
    transform_divide_by,
    transform_round,

    unit_amount_minor,
    cast(unit_amount_decimal as decimal(38, 12)) as unit_amount_decimal,

    is_active,
    is_deleted,

    created_at,
    deleted_at,
from prices
