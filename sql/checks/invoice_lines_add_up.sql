/*
description = "The lines of every invoice add up to its subtotal."
severity = "warn"
scope = "linked"
*/
with

invoices as (
    select * from silver.invoices where not is_deleted
),

invoice_lines as (
    select * from silver.invoice_lines
),

line_sums as (
    select
        invoice_id,
        cast(sum(amount_minor) as bigint) as amount_minor,
    from invoice_lines
    group by invoice_id
)

select
    invoices.invoice_id,
    invoices.currency,
    invoices.subtotal_minor,
    line_sums.amount_minor as lines_minor,
from invoices
left join line_sums on invoices.invoice_id = line_sums.invoice_id
where invoices.subtotal_minor is distinct from coalesce(line_sums.amount_minor, 0)
