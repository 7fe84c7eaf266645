/*
description = "Products as last observed, archived and deleted ones included."
grain = ["product_id"]
partition_by = "created_at"
not_null = ["product_id", "is_deleted", "_observed_at"]
caveats = [
    "An object first seen after its deletion is only a stub: everything but its id is NULL.",
]

[references]
default_price_id = "silver.prices.price_id"

[columns]
product_id = "Stripe id, prod_… or chosen by the merchant (id)"
default_price_id = "Price used when none is named (default_price)"
name = "Name shown to customers (name)"
description = "Longer text shown to customers (description)"
type = "service or good (type)"
unit_label = "What one unit is called (unit_label)"
tax_code_id = "Stripe tax code (tax_code)"
statement_descriptor = "Text on the bank statement (statement_descriptor)"
metadata = "Keys and values set by the merchant, as JSON (metadata)"
is_active = "Whether it can be bought (active)"
is_shippable = "Whether it is a physical good (shippable)"
is_livemode = "Whether the object exists in live mode (livemode)"
created_at = "When the object was created, UTC (created)"
updated_at = "When the merchant last changed it, UTC (updated)"
is_deleted = "Whether the object was observed as deleted"
deleted_at = "When it was deleted, UTC, where the observation says so"
_observed_at = "When this state was observed, UTC"
*/
with

products as (
    select * from bronze.products
)

select
    id as product_id,
    default_price as default_price_id,

    name,
    description,
    type,
    unit_label,
    tax_code as tax_code_id,
    statement_descriptor,
    metadata,

    active as is_active,
    shippable as is_shippable,
    livemode as is_livemode,

    make_timestamp(created * 1000000) as created_at,
    make_timestamp(updated * 1000000) as updated_at,

    _is_deleted as is_deleted,
    _deleted_at as deleted_at,
    _observed_at,
from products
