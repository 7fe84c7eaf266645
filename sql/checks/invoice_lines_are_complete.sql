/*
description = "Every invoice has exactly the lines its latest state listed, in its own currency."
scope = "linked"
*/
with

invoices as (
    select * from silver.invoices
),

invoice_lines as (
    select * from silver.invoice_lines
),

line_counts as (
    select
        invoice_lines.invoice_id,
        count(*) as held_count,
        count(*) filter (
            where invoice_lines.currency is distinct from invoices.currency
        ) as foreign_count,
    from invoice_lines
    inner join invoices on invoice_lines.invoice_id = invoices.invoice_id
    group by invoice_lines.invoice_id
)

select
    invoices.invoice_id,
    invoices.currency,
    invoices.line_count,
    coalesce(line_counts.held_count, 0) as held_count,
    coalesce(line_counts.foreign_count, 0) as foreign_count,
from invoices
left join line_counts on invoices.invoice_id = line_counts.invoice_id
where
    invoices.line_count is distinct from coalesce(line_counts.held_count, 0)
    or line_counts.foreign_count > 0
