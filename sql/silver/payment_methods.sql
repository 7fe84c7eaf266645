/*
description = "Payment methods as last observed, detached ones included."
grain = ["payment_method_id"]
partition_by = "created_at"
not_null = ["payment_method_id", "is_deleted", "_observed_at"]
caveats = [
    "An object first seen after its deletion is only a stub: everything but its id is NULL.",
]

[references]
customer_id = "silver.customers.customer_id"

[columns]
payment_method_id = "Stripe id, pm_… (or card_…, src_…, ba_… of the older APIs) (id)"
customer_id = "Customer it is attached to; NULL when detached (customer)"
type = "card, sepa_debit, … (type)"
billing_country = "Country of the billing address, ISO 3166 alpha-2 (billing_details.address.country)"
card_brand = "visa, mastercard, … (card.brand)"
card_funding = "credit, debit, prepaid or unknown (card.funding)"
card_country = "Country of the issuer (card.country)"
card_fingerprint = "Same for the same card number (card.fingerprint)"
card_last4 = "Last four digits (card.last4)"
card_exp_month = "Month of expiry, 1 to 12 (card.exp_month)"
card_exp_year = "Year of expiry, four digits (card.exp_year)"
wallet_type = "apple_pay, google_pay, … (card.wallet.type)"
sepa_country = "Country of the bank account (sepa_debit.country)"
sepa_bank_code = "Bank of the account (sepa_debit.bank_code)"
sepa_fingerprint = "Same for the same account (sepa_debit.fingerprint)"
sepa_last4 = "Last four characters of the IBAN (sepa_debit.last4)"
allow_redisplay = "always, limited or unspecified (allow_redisplay)"
metadata = "Keys and values set by the merchant, as JSON (metadata)"
is_livemode = "Whether the object exists in live mode (livemode)"
created_at = "When the object was created, UTC (created)"
is_deleted = "Whether the object was observed as deleted"
deleted_at = "When it was deleted, UTC, where the observation says so"
_observed_at = "When this state was observed, UTC"
*/
with

payment_methods as (
    select * from bronze.payment_methods
)

select
    id as payment_method_id,
    customer as customer_id,

    type,
    billing_details.address.country as billing_country,
    card.brand as card_brand,
    card.funding as card_funding,
    card.country as card_country,
    card.fingerprint as card_fingerprint,
    card.last4 as card_last4,
    card.exp_month as card_exp_month,
    card.exp_year as card_exp_year,
    card.wallet.type as wallet_type,
    sepa_debit.country as sepa_country,
    sepa_debit.bank_code as sepa_bank_code,
    sepa_debit.fingerprint as sepa_fingerprint,
    sepa_debit.last4 as sepa_last4,
    allow_redisplay,
    metadata,

    livemode as is_livemode,

    make_timestamp(created * 1000000) as created_at,

    _is_deleted as is_deleted,
    _deleted_at as deleted_at,
    _observed_at,
from payment_methods
