/*
description = "Customers as last observed, deleted ones included. Holds personal data; gold does not."
grain = ["customer_id"]
partition_by = "created_at"
not_null = ["customer_id", "is_deleted", "_observed_at"]
caveats = [
    "An object first seen after its deletion is only a stub: everything but its id is NULL.",
]

[accepted]
tax_exempt = ["none", "exempt", "reverse"]

[references]
default_payment_method_id = "silver.payment_methods.payment_method_id"

[columns]
customer_id = "Stripe id, cus_… (id)"
default_payment_method_id = "Payment method for invoices (invoice_settings.default_payment_method)"
default_source_id = "Default source of the older payment APIs (default_source)"
test_clock_id = "Test clock the customer lives on; NULL in live mode (test_clock)"
email = "E-mail address; personal data (email)"
name = "Full or business name; personal data (name)"
phone = "Phone number; personal data (phone)"
country = "Country of the address, else of the shipping address, ISO 3166 alpha-2 (address.country, shipping.address.country)"
currency = "Currency the customer is billed in, lower-case ISO 4217 (currency)"
invoice_prefix = "Prefix of the customer's invoice numbers (invoice_prefix)"
tax_exempt = "none, exempt or reverse (tax_exempt)"
description = "Free text set by the merchant (description)"
metadata = "Keys and values set by the merchant, as JSON (metadata)"
balance_minor = "Credit (negative) or debit (positive) for the next invoice, minor units of currency (balance)"
is_delinquent = "Whether the invoice that changed last failed to be paid, or is past due (delinquent)"
is_livemode = "Whether the object exists in live mode (livemode)"
created_at = "When the object was created, UTC (created)"
is_deleted = "Whether the object was observed as deleted"
deleted_at = "When it was deleted, UTC, where the observation says so"
_observed_at = "When this state was observed, UTC"
*/
with

customers as (
    select * from bronze.customers
)

select
    id as customer_id,
    invoice_settings.default_payment_method as default_payment_method_id,
    default_source as default_source_id,
    test_clock as test_clock_id,

    email,
    name,
    phone,
    coalesce(address.country, shipping.address.country) as country,
    currency,
    invoice_prefix,
    tax_exempt,
    description,
    metadata,

    balance as balance_minor,

    delinquent as is_delinquent,
    livemode as is_livemode,

    make_timestamp(created * 1000000) as created_at,

    _is_deleted as is_deleted,
    _deleted_at as deleted_at,
    _observed_at,
from customers
