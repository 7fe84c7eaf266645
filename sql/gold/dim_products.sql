/*
description = "One row per product, archived and deleted ones included."
grain = ["product_id"]
scope = "linked"
not_null = ["product_id", "is_deleted"]
caveats = ["A product first seen after its deletion is only a stub: everything but its id is NULL."]

[references]
default_price_id = "silver.prices.price_id"

[columns]
product_id = "Stripe id, prod_… or chosen by the merchant"
default_price_id = "Price used when none is named"
name = "Name shown to customers"
description = "Longer text shown to customers"
type = "service or good"
unit_label = "What one unit is called"
tax_code_id = "Stripe tax code"
is_active = "Whether it can be bought"
is_shippable = "Whether it is a physical good"
is_deleted = "Whether the product was deleted"
created_at = "When the product was created, UTC"
updated_at = "When the merchant last changed it, UTC"
deleted_at = "When it was deleted, UTC, where the observation says so"
*/
with

products as (
    select * from silver.products
)

select
    product_id,
    default_price_id,

    name,
    description,
    type,
    unit_label,
    tax_code_id,

    is_active,
    is_shippable,
    is_deleted,

    created_at,
    updated_at,
    deleted_at,
from products
