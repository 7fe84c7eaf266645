/*
description = "Every attempt to be paid: one row per charge, and one per payment intent that never produced a charge."
grain = ["payment_id"]
partition_by = "created_at"
scope = "linked"
not_null = [
    "payment_id", "currency", "status", "amount_minor", "captured_minor", "released_minor", "refunded_minor",
    "is_latest_attempt", "is_captured", "is_refunded", "is_disputed", "created_at",
]
caveats = [
    "Filter on is_latest_attempt for one row per payment.",
    "attempt_number counts the attempts the lake holds: earlier ones from before its coverage are unknown.",
    "What the ledger has in two currencies has no settled amounts here; gold.fct_balance_transactions has them.",
    "Settled amounts sum the ledger rows whose source is the charge; refunds and disputes have rows of their own.",
    "invoice_id is NULL when the payment is for several invoices, or its invoice payment is not in the lake.",
]

[accepted]
status = [
    "succeeded", "pending", "failed",
    "canceled", "processing", "requires_action", "requires_capture", "requires_confirmation",
    "requires_payment_method",
]

[references]
payment_intent_id = "silver.payment_intents.payment_intent_id"
charge_id = "silver.charges.charge_id"
customer_id = "gold.dim_customers.customer_id"
payment_method_id = "silver.payment_methods.payment_method_id"
invoice_id = "silver.invoices.invoice_id"
balance_transaction_id = "silver.balance_transactions.balance_transaction_id"

[columns]
payment_id = "The charge's id, or the payment intent's where no charge was made"
payment_intent_id = "Payment the attempt belongs to; NULL for charges made without one"
charge_id = "Charge of this attempt; NULL where none was made"
customer_id = "Who pays"
payment_method_id = "Payment method used"
invoice_id = "Invoice that the payment is for, through its invoice payment; a canceled one only if there is no other"
balance_transaction_id = "Ledger transaction that the charge names as its own"
currency = "Currency it was made in, lower-case ISO 4217"
status = "Of the charge: succeeded, pending, failed; of an intent without charge: its own status"
payment_intent_status = "Status of the payment as a whole"
outcome_type = "authorized, manual_review, issuer_declined, blocked or invalid"
outcome_reason = "Why"
decline_code = "Why the issuer declined"
network_decline_code = "The card network's own decline code"
network_status = "What the card network answered"
failure_code = "Error code of a failed attempt"
risk_level = "Radar's assessment"
risk_score = "Radar's score, 0 to 100"
payment_method_type = "card, sepa_debit, …"
card_brand = "visa, mastercard, …"
card_funding = "credit, debit, prepaid or unknown"
card_country = "Country of the issuer"
wallet_type = "apple_pay, google_pay, …"
three_d_secure_result = "Result of 3D Secure; NULL when not tried"
cvc_check = "pass, fail, unavailable or unchecked"
attempt_number = "Place among the attempts of the same payment, from 1; NULL where no charge was made"
attempt_count = "Attempts of the same payment in the lake; 0 where no charge was made"
amount_minor = "What was to be paid, minor units of currency"
captured_minor = "What was captured, minor units of currency; of a pending payment not yet received"
released_minor = "What was authorized and let go uncaptured, minor units of currency"
refunded_minor = "What was refunded of what was captured, minor units of currency"
settlement_currency = "Currency it was settled in; NULL where the ledger has none or two"
settled_minor = "Gross credited to the balance, minor units of settlement_currency"
fee_minor = "Fees taken, minor units of settlement_currency"
net_minor = "settled_minor - fee_minor, minor units of settlement_currency"
is_latest_attempt = "Whether it is the last attempt of its payment, or its only row"
is_captured = "Whether money was taken, not only reserved or still on its way"
is_refunded = "Whether all that was captured was refunded"
is_disputed = "Whether it was ever disputed"
created_at = "When the attempt was made, UTC; of an intent without charge: when the intent was created"
canceled_at = "When the payment intent was canceled, UTC"
*/
with

charges as (
    select * from silver.charges where not is_deleted
),

payment_intents as (
    select * from silver.payment_intents where not is_deleted
),

denied as (
    select charge_id from silver.charges where is_deleted
),

invoice_payments as (
    select * from silver.invoice_payments where not is_deleted
),

balance_transactions as (
    select * from silver.balance_transactions where not is_deleted
),

releases as (
    select distinct charge_id from gold.fct_refunds where is_release
),

let_go as (
    select
        charges.charge_id,
        case
            when
                (charges.is_captured and payment_intents.status is distinct from 'requires_capture')
                or payment_intents.status = 'canceled'
                or charges.refunded_minor > charges.captured_minor
                then greatest(charges.amount_minor - charges.captured_minor, 0)
            else 0
        end as released_minor,
        -- Until API version 2025-03-31 Stripe counts what it lets go as refunded: then more was refunded than captured,
        -- or a refund was made of it, or the ledger credits the whole.
        charges.refunded_minor > charges.captured_minor
        or releases.charge_id is not null
        or coalesce(own.currency = charges.currency and own.amount_minor = charges.amount_minor, false) as is_counted,
    from charges
    left join payment_intents
        on charges.payment_intent_id = payment_intents.payment_intent_id
    left join releases on charges.charge_id = releases.charge_id
    left join balance_transactions as own
        on charges.balance_transaction_id = own.balance_transaction_id
    where charges.status = 'succeeded'
),

attempts as (
    select
        charges.charge_id as payment_id,
        charges.payment_intent_id,
        charges.charge_id,
        charges.customer_id,
        charges.payment_method_id,
        charges.balance_transaction_id,

        charges.currency,
        charges.status,
        payment_intents.status as payment_intent_status,
        charges.outcome_type,
        charges.outcome_reason,
        case
            when charges.outcome_type = 'issuer_declined' then charges.outcome_reason
        end as decline_code,
        charges.network_decline_code,
        charges.network_status,
        charges.failure_code,
        charges.risk_level,
        charges.risk_score,
        charges.payment_method_type,
        charges.card_brand,
        charges.card_funding,
        charges.card_country,
        charges.wallet_type,
        charges.three_d_secure_result,
        charges.cvc_check,

        -- Several attempts may share a second: the one the intent calls its latest is last.
        row_number() over (
            partition by coalesce(charges.payment_intent_id, charges.charge_id)
            order by
                charges.created_at,
                charges.charge_id is not distinct from payment_intents.latest_charge_id,
                charges.charge_id
        ) as attempt_number,
        count(*) over (
            partition by coalesce(charges.payment_intent_id, charges.charge_id)
        ) as attempt_count,

        charges.amount_minor,
        charges.captured_minor,
        coalesce(let_go.released_minor, 0) as released_minor,
        case
            when let_go.is_counted and charges.refunded_minor >= let_go.released_minor
                then charges.refunded_minor - let_go.released_minor
            else charges.refunded_minor
        end as refunded_minor,

        coalesce(charges.status = 'succeeded' and charges.captured_minor > 0, false) as is_captured,
        charges.is_disputed,

        charges.created_at,
        payment_intents.canceled_at,
    from charges
    left join payment_intents
        on charges.payment_intent_id = payment_intents.payment_intent_id
    left join let_go on charges.charge_id = let_go.charge_id
),

unattempted as (
    select
        payment_intents.payment_intent_id as payment_id,
        payment_intents.payment_intent_id,
        payment_intents.customer_id,
        payment_intents.payment_method_id,

        payment_intents.currency,
        payment_intents.status,
        payment_intents.status as payment_intent_status,
        payment_intents.last_decline_code as decline_code,
        payment_intents.last_error_code as failure_code,

        cast(0 as bigint) as attempt_count,

        payment_intents.amount_minor,
        cast(0 as bigint) as captured_minor,
        cast(0 as bigint) as released_minor,
        cast(0 as bigint) as refunded_minor,

        false as is_captured,
        false as is_disputed,

        payment_intents.created_at,
        payment_intents.canceled_at,
    from payment_intents
    anti join charges
        on payment_intents.payment_intent_id = charges.payment_intent_id
    -- An intent whose charge is merely missing from the lake has no row, and a check finds it; one whose
    -- charge the source denies has nothing else to be known by.
    where
        payment_intents.latest_charge_id is null
        or payment_intents.latest_charge_id in (select charge_id from denied)
),

payments as (
    select * from attempts
    union all by name
    select * from unattempted
),

invoice_ties as (
    select
        coalesce(
            invoice_payments.payment_intent_id,
            charges.payment_intent_id,
            invoice_payments.charge_id
        ) as paid_by_id,
        invoice_payments.invoice_id,
        invoice_payments.status is not distinct from 'canceled' as is_canceled,
    from invoice_payments
    left join charges on invoice_payments.charge_id = charges.charge_id
    -- A payment may be canceled for one invoice and made for another.
    qualify is_canceled = bool_and(is_canceled) over (partition by paid_by_id)
),

invoices_paid as (
    select
        paid_by_id,
        case when count(distinct invoice_id) = 1 then min(invoice_id) end as invoice_id,
    from invoice_ties
    group by paid_by_id
),

settlements as (
    select
        source_id,
        min(currency) as currency,
        cast(sum(amount_minor) as bigint) as settled_minor,
        cast(sum(fee_minor) as bigint) as fee_minor,
        cast(sum(net_minor) as bigint) as net_minor,
    from balance_transactions
    group by source_id
    having min(currency) = max(currency)
)

select
    payments.payment_id,
    payments.payment_intent_id,
    payments.charge_id,
    payments.customer_id,
    payments.payment_method_id,
    invoices_paid.invoice_id,
    payments.balance_transaction_id,

    payments.currency,
    payments.status,
    payments.payment_intent_status,
    payments.outcome_type,
    payments.outcome_reason,
    payments.decline_code,
    payments.network_decline_code,
    payments.network_status,
    payments.failure_code,
    payments.risk_level,
    payments.risk_score,
    payments.payment_method_type,
    payments.card_brand,
    payments.card_funding,
    payments.card_country,
    payments.wallet_type,
    payments.three_d_secure_result,
    payments.cvc_check,

    payments.attempt_number,
    payments.attempt_count,

    payments.amount_minor,
    payments.captured_minor,
    payments.released_minor,
    payments.refunded_minor,
    settlements.currency as settlement_currency,
    settlements.settled_minor,
    settlements.fee_minor,
    settlements.net_minor,

    payments.attempt_number is not distinct from payments.attempt_count
    or payments.attempt_count = 0 as is_latest_attempt,
    payments.is_captured,
    payments.captured_minor > 0
    and payments.refunded_minor >= payments.captured_minor as is_refunded,
    payments.is_disputed,

    payments.created_at,
    payments.canceled_at,
from payments
left join invoices_paid
    on coalesce(payments.payment_intent_id, payments.charge_id) = invoices_paid.paid_by_id
left join settlements
    on payments.charge_id = settlements.source_id
