/*
description = "What each invoice is for: one row per line."
grain = ["invoice_line_id"]
partition_by = "invoice_created_at"
not_null = ["invoice_line_id", "invoice_id", "is_deleted", "_observed_at"]
replace_by = "invoice_id"
parent = "invoices"

[references]
invoice_id = "silver.invoices.invoice_id"
price_id = "silver.prices.price_id"
product_id = "silver.products.product_id"
subscription_id = "silver.subscriptions.subscription_id"

[columns]
invoice_line_id = "Stripe id, il_… (lines.data[].id)"
invoice_id = "Invoice it belongs to (id)"
price_id = "Price billed (lines.data[].pricing.price_details.price)"
product_id = "Product billed (lines.data[].pricing.price_details.product)"
subscription_id = "Subscription billed (lines.data[].parent.*_details.subscription)"
subscription_item_id = "Subscription item billed (lines.data[].parent.subscription_item_details.subscription_item)"
invoice_item_id = "Invoice item billed (lines.data[].parent.*_details.invoice_item)"
position = "Place among the lines, from 1"
description = "Text shown to the customer (lines.data[].description)"
quantity = "Whole units billed (lines.data[].quantity)"
quantity_decimal = "Units billed with decimals, as received (lines.data[].quantity_decimal)"
currency = "Currency of the amounts, lower-case ISO 4217 (lines.data[].currency)"
metadata = "Keys and values set by the merchant, as JSON (lines.data[].metadata)"
amount_minor = "Amount before discounts and exclusive taxes, minor units (lines.data[].amount)"
subtotal_minor = "Amount before discounts and taxes, minor units (lines.data[].subtotal)"
discount_minor = "Sum of the discounts, minor units (lines.data[].discount_amounts[].amount)"
tax_minor = "Sum of the taxes, minor units (lines.data[].taxes[].amount)"
unit_amount_decimal = "Price of one unit, minor units with up to 12 decimals, as received (lines.data[].pricing.unit_amount_decimal)"
is_proration = "Whether it adjusts for part of a period (lines.data[].parent.*_details.proration)"
is_discountable = "Whether discounts apply (lines.data[].discountable)"
invoice_created_at = "When the invoice was created, UTC (created)"
period_started_at = "Start of the period billed, UTC (lines.data[].period.start)"
period_ended_at = "End of the period billed, UTC (lines.data[].period.end)"
is_deleted = "Whether the invoice was observed as deleted"
deleted_at = "When it was deleted, UTC, where the observation says so"
_observed_at = "When this state was observed, UTC"
*/
with

invoices as (
    select * from bronze.invoices
),

lines as (
    select
        id as invoice_id,
        created as parent_created,
        unnest(lines.data) as line,
        generate_subscripts(lines.data, 1) as position,
        _is_deleted,
        _deleted_at,
        _observed_at,
    from invoices
)

select
    line.id as invoice_line_id,
    invoice_id,
    line.pricing.price_details.price as price_id,
    line.pricing.price_details.product as product_id,
    coalesce(
        line.parent.subscription_item_details.subscription,
        line.parent.invoice_item_details.subscription
    ) as subscription_id,
    line.parent.subscription_item_details.subscription_item as subscription_item_id,
    coalesce(
        line.parent.invoice_item_details.invoice_item,
        line.parent.subscription_item_details.invoice_item
    ) as invoice_item_id,

    position,
    line.description as description,
    line.quantity as quantity,
    line.quantity_decimal as quantity_decimal,
    line.currency as currency,
    line.metadata as metadata,

    line.amount as amount_minor,
    line.subtotal as subtotal_minor,
    cast(
        coalesce(
            list_sum(list_transform(line.discount_amounts, lambda part: part.amount)), 0
        ) as bigint
    ) as discount_minor,
    cast(
        coalesce(
            list_sum(list_transform(line.taxes, lambda part: part.amount)), 0
        ) as bigint
    ) as tax_minor,
    line.pricing.unit_amount_decimal as unit_amount_decimal,

    coalesce(
        line.parent.subscription_item_details.proration,
        line.parent.invoice_item_details.proration,
        false
    ) as is_proration,
    line.discountable as is_discountable,

    make_timestamp(parent_created * 1000000) as invoice_created_at,
    make_timestamp(line.period.start * 1000000) as period_started_at,
    make_timestamp(line.period.end * 1000000) as period_ended_at,

    _is_deleted as is_deleted,
    _deleted_at as deleted_at,
    _observed_at,
from lines
