/*
description = "One row per dispute, with where it stands and what it took from and gave back to the balance."
grain = ["dispute_id"]
partition_by = "created_at"
scope = "linked"
not_null = ["dispute_id", "charge_id", "currency", "status", "amount_minor", "is_inquiry", "created_at"]
caveats = [
    "Count by created_at for dispute activity; by the charge's created_at for the dispute rate of a cohort.",
    "What the ledger has in two currencies has no settled amounts here; gold.fct_balance_transactions has them.",
    "closed_at comes from the event charge.dispute.closed, which Stripe keeps for 30 days.",
]

[accepted]
status = [
    "appeal_needs_response", "appeal_under_review", "lost", "needs_response", "prevented", "under_review",
    "warning_closed", "warning_needs_response", "warning_under_review", "won",
]

[references]
charge_id = "silver.charges.charge_id"
payment_intent_id = "silver.payment_intents.payment_intent_id"
customer_id = "gold.dim_customers.customer_id"

[columns]
dispute_id = "Stripe id, du_… or dp_…"
charge_id = "Charge disputed"
payment_intent_id = "Payment disputed"
customer_id = "Who paid, from the charge"
currency = "Currency of amount_minor, lower-case ISO 4217"
status = "Where it stands; won, lost, warning_closed and prevented are final"
reason = "Reason given by the cardholder, in categories of Stripe"
network_reason_code = "Reason code of the card network"
payment_method_type = "card, klarna, paypal or amazon_pay"
card_brand = "visa, mastercard, …"
evidence_submission_count = "How often evidence was sent"
amount_minor = "What is disputed, minor units of currency"
settlement_currency = "Currency of the balance it moves; NULL where the ledger has none or two"
withdrawn_minor = "Gross taken from the balance, minor units of settlement_currency, positive"
reinstated_minor = "Gross given back to the balance, minor units of settlement_currency, positive"
fee_minor = "Fees taken, minor units of settlement_currency; negative when given back"
net_minor = "reinstated_minor - withdrawn_minor - fee_minor, minor units of settlement_currency"
is_inquiry = "Whether it is (or was closed as) a question that moved no money (status warning_…)"
has_evidence = "Whether evidence was saved"
is_evidence_overdue = "Whether the deadline passed without evidence"
created_at = "When the dispute was opened, UTC"
evidence_due_at = "Deadline for evidence, UTC"
closed_at = "When it was closed, UTC; NULL while it is open, or open again"
*/
with

disputes as (
    select * from silver.disputes where not is_deleted
),

charges as (
    select * from silver.charges
),

balance_transactions as (
    select * from silver.balance_transactions where not is_deleted
),

events as (
    select * from silver.events
),

settlements as (
    select
        source_id,
        min(currency) as currency,
        cast(sum(greatest(-amount_minor, 0)) as bigint) as withdrawn_minor,
        cast(sum(greatest(amount_minor, 0)) as bigint) as reinstated_minor,
        cast(sum(fee_minor) as bigint) as fee_minor,
        cast(sum(net_minor) as bigint) as net_minor,
    from balance_transactions
    group by source_id
    having min(currency) = max(currency)
),

closings as (
    select
        object_id as dispute_id,
        max(created_at) as closed_at,
    from events
    where type = 'charge.dispute.closed'
    group by object_id
)

select
    disputes.dispute_id,
    disputes.charge_id,
    disputes.payment_intent_id,
    charges.customer_id,

    disputes.currency,
    disputes.status,
    disputes.reason,
    disputes.network_reason_code,
    disputes.payment_method_type,
    disputes.card_brand,
    disputes.evidence_submission_count,

    disputes.amount_minor,
    settlements.currency as settlement_currency,
    settlements.withdrawn_minor,
    settlements.reinstated_minor,
    settlements.fee_minor,
    settlements.net_minor,

    starts_with(disputes.status, 'warning_') as is_inquiry,
    disputes.has_evidence,
    disputes.is_evidence_overdue,

    disputes.created_at,
    disputes.evidence_due_at,
    case
        when disputes.status in ('won', 'lost', 'warning_closed', 'prevented') then closings.closed_at
    end as closed_at,
from disputes
left join charges on disputes.charge_id = charges.charge_id
left join settlements on disputes.dispute_id = settlements.source_id
left join closings on disputes.dispute_id = closings.dispute_id
