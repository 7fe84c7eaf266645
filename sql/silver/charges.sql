/*
description = "Charges as last observed: every attempt to move money, failed ones included."
grain = ["charge_id"]
partition_by = "created_at"
links = ["payment_intent_id", "balance_transaction_id", "failure_balance_transaction_id"]
not_null = ["charge_id", "is_deleted", "_observed_at"]

[accepted]
status = ["succeeded", "pending", "failed"]

[references]
customer_id = "silver.customers.customer_id"
payment_intent_id = "silver.payment_intents.payment_intent_id"
payment_method_id = "silver.payment_methods.payment_method_id"
balance_transaction_id = "silver.balance_transactions.balance_transaction_id"
failure_balance_transaction_id = "silver.balance_transactions.balance_transaction_id"

[columns]
charge_id = "Stripe id, ch_… or py_… (id)"
customer_id = "Who pays (customer)"
payment_intent_id = "Payment the attempt belongs to; NULL for charges made without one (payment_intent)"
payment_method_id = "Payment method used (payment_method)"
balance_transaction_id = "Ledger transaction that credits it; NULL until there is one (balance_transaction)"
failure_balance_transaction_id = "Ledger transaction that takes it back when it fails late (failure_balance_transaction)"
currency = "Currency of the amounts, lower-case ISO 4217 (currency)"
status = "succeeded, pending or failed (status)"
outcome_type = "authorized, manual_review, issuer_declined, blocked or invalid (outcome.type)"
outcome_reason = "Why; the decline code when the issuer declined (outcome.reason)"
network_status = "What the card network answered (outcome.network_status)"
network_decline_code = "The network's own decline code (outcome.network_decline_code)"
network_advice_code = "The network's advice on retrying (outcome.network_advice_code)"
advice_code = "Stripe's advice on retrying (outcome.advice_code)"
risk_level = "Radar's assessment (outcome.risk_level)"
risk_score = "Radar's score, 0 to 100 (outcome.risk_score)"
failure_code = "Error code of a failed attempt (failure_code)"
failure_message = "Error text of a failed attempt (failure_message)"
stripe_fraud_report = "fraudulent when Stripe thinks so (fraud_details.stripe_report)"
user_fraud_report = "safe or fraudulent when the merchant says so (fraud_details.user_report)"
billing_country = "Country of the billing address (billing_details.address.country)"
payment_method_type = "card, sepa_debit, … (payment_method_details.type)"
card_brand = "visa, mastercard, … (payment_method_details.card.brand, or of card_present or interac_present)"
card_funding = "credit, debit, prepaid or unknown (payment_method_details.card.funding, or of card_present or interac_present)"
card_country = "Country of the issuer (payment_method_details.card.country, or of card_present or interac_present)"
card_network = "Network the charge ran on (payment_method_details.card.network, or of card_present or interac_present)"
card_fingerprint = "Same for the same card number (payment_method_details.card.fingerprint, or of card_present or interac_present)"
card_last4 = "Last four digits (payment_method_details.card.last4, or of card_present or interac_present)"
wallet_type = "apple_pay, google_pay, … (payment_method_details.card.wallet.type)"
cvc_check = "pass, fail, unavailable or unchecked (payment_method_details.card.checks.cvc_check)"
address_line1_check = "pass, fail, unavailable or unchecked (payment_method_details.card.checks.address_line1_check)"
postal_code_check = "pass, fail, unavailable or unchecked (payment_method_details.card.checks.address_postal_code_check)"
three_d_secure_result = "Result of 3D Secure; NULL when not tried (payment_method_details.card.three_d_secure.result)"
three_d_secure_flow = "challenge or frictionless (payment_method_details.card.three_d_secure.authentication_flow)"
multicapture_status = "available where it may be captured in several parts (payment_method_details.card.multicapture.status)"
statement_descriptor = "Text on the bank statement (calculated_statement_descriptor)"
transfer_group = "Group of a Connect transfer (transfer_group)"
description = "Free text set by the merchant (description)"
metadata = "Keys and values set by the merchant, as JSON (metadata)"
amount_minor = "What was to be moved, minor units (amount)"
captured_minor = "What was captured, minor units (amount_captured, 0 where it is null)"
refunded_minor = "What was refunded, and what was authorized and let go, minor units (amount_refunded)"
application_fee_minor = "Fee of a Connect platform, minor units (application_fee_amount)"
is_paid = "Whether it succeeded or was authorized (paid)"
is_captured = "Whether capturing is done, also where the money is still on its way; false between several captures (captured)"
is_refunded = "Whether all of it was refunded or let go (refunded)"
is_disputed = "Whether it was ever disputed (disputed)"
is_livemode = "Whether the object exists in live mode (livemode)"
created_at = "When the object was created, UTC (created)"
is_deleted = "Whether the object was observed as deleted"
deleted_at = "When it was deleted, UTC, where the observation says so"
_observed_at = "When this state was observed, UTC"
*/
with

charges as (
    select * from bronze.charges
)

select
    id as charge_id,
    customer as customer_id,
    payment_intent as payment_intent_id,
    payment_method as payment_method_id,
    balance_transaction as balance_transaction_id,
    failure_balance_transaction as failure_balance_transaction_id,

    currency,
    status,
    outcome.type as outcome_type,
    outcome.reason as outcome_reason,
    outcome.network_status as network_status,
    outcome.network_decline_code as network_decline_code,
    outcome.network_advice_code as network_advice_code,
    outcome.advice_code as advice_code,
    outcome.risk_level as risk_level,
    outcome.risk_score as risk_score,
    failure_code,
    failure_message,
    fraud_details.stripe_report as stripe_fraud_report,
    fraud_details.user_report as user_fraud_report,
    billing_details.address.country as billing_country,
    payment_method_details.type as payment_method_type,
    coalesce(
        payment_method_details.card.brand,
        payment_method_details.card_present.brand,
        payment_method_details.interac_present.brand
    ) as card_brand,
    coalesce(
        payment_method_details.card.funding,
        payment_method_details.card_present.funding,
        payment_method_details.interac_present.funding
    ) as card_funding,
    coalesce(
        payment_method_details.card.country,
        payment_method_details.card_present.country,
        payment_method_details.interac_present.country
    ) as card_country,
    coalesce(
        payment_method_details.card.network,
        payment_method_details.card_present.network,
        payment_method_details.interac_present.network
    ) as card_network,
    coalesce(
        payment_method_details.card.fingerprint,
        payment_method_details.card_present.fingerprint,
        payment_method_details.interac_present.fingerprint
    ) as card_fingerprint,
    coalesce(
        payment_method_details.card.last4,
        payment_method_details.card_present.last4,
        payment_method_details.interac_present.last4
    ) as card_last4,
    payment_method_details.card.wallet.type as wallet_type,
    payment_method_details.card.checks.cvc_check as cvc_check,
    payment_method_details.card.checks.address_line1_check as address_line1_check,
    payment_method_details.card.checks.address_postal_code_check as postal_code_check,
    payment_method_details.card.three_d_secure.result as three_d_secure_result,
    payment_method_details.card.three_d_secure.authentication_flow as three_d_secure_flow,
    payment_method_details.card.multicapture.status as multicapture_status,
    calculated_statement_descriptor as statement_descriptor,
    transfer_group,
    description,
    metadata,

    amount as amount_minor,
    case when amount is not null then coalesce(amount_captured, 0) end as captured_minor,
    amount_refunded as refunded_minor,
    application_fee_amount as application_fee_minor,

    paid as is_paid,
    captured as is_captured,
    refunded as is_refunded,
    disputed as is_disputed,
    livemode as is_livemode,

    make_timestamp(created * 1000000) as created_at,

    _is_deleted as is_deleted,
    _deleted_at as deleted_at,
    _observed_at,
from charges
