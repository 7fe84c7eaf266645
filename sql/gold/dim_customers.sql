/*
description = "One row per customer, deleted ones included, without personal data."
grain = ["customer_id"]
scope = "linked"
not_null = ["customer_id", "is_deleted"]
caveats = [
    "A customer first seen after its deletion is only a stub: country, currency and the like are NULL.",
    "deleted_at is NULL for a deletion observed when its event was past Stripe's 30 days of retention.",
]

[accepted]
tax_exempt = ["none", "exempt", "reverse"]

[references]
default_payment_method_id = "silver.payment_methods.payment_method_id"

[columns]
customer_id = "Stripe id, cus_…"
default_payment_method_id = "Payment method for invoices"
country = "Country of the address, else of the shipping address, ISO 3166 alpha-2"
currency = "Currency the customer is billed in, lower-case ISO 4217"
tax_exempt = "none, exempt or reverse"
balance_minor = "Credit (negative) or debit (positive) for the next invoice, minor units of currency"
is_delinquent = "Whether the invoice that changed last failed to be paid, or is past due"
is_deleted = "Whether the customer was deleted"
created_at = "When the customer was created, UTC"
deleted_at = "When it was deleted, UTC: as observed, else the time of its customer.deleted event"
*/
with

customers as (
    select * from silver.customers
),

events as (
    select * from silver.events
),

deletions as (
    select
        object_id as customer_id,
        min(created_at) as deleted_at,
    from events
    where type = 'customer.deleted'
    group by object_id
)

select
    customers.customer_id,
    customers.default_payment_method_id,

    customers.country,
    customers.currency,
    customers.tax_exempt,

    customers.balance_minor,

    customers.is_delinquent,
    customers.is_deleted,

    customers.created_at,
    case
        when customers.is_deleted
            then coalesce(customers.deleted_at, deletions.deleted_at)
    end as deleted_at,
from customers
left join deletions on customers.customer_id = deletions.customer_id
