/*
description = "Disputes as last observed, inquiries (warning_…) included."
grain = ["dispute_id"]
partition_by = "created_at"
links = ["charge_id", "payment_intent_id", "balance_transaction_ids"]
not_null = ["dispute_id", "is_deleted", "_observed_at"]

[accepted]
status = ["appeal_needs_response", "appeal_under_review", "lost", "needs_response", "prevented", "under_review", "warning_closed", "warning_needs_response", "warning_under_review", "won"]

[references]
charge_id = "silver.charges.charge_id"
payment_intent_id = "silver.payment_intents.payment_intent_id"

[columns]
dispute_id = "Stripe id, du_… or dp_… (id)"
charge_id = "Charge disputed (charge)"
payment_intent_id = "Payment disputed (payment_intent)"
balance_transaction_ids = "Ledger transactions that the dispute itself lists (balance_transactions[].id)"
currency = "Currency of the amounts, lower-case ISO 4217 (currency)"
status = "Where it stands (status)"
reason = "Reason given by the cardholder, in categories of Stripe (reason)"
network_reason_code = "Reason code of the card network (network_reason_code, payment_method_details.card.network_reason_code)"
payment_method_type = "card, klarna, paypal or amazon_pay (payment_method_details.type)"
card_brand = "visa, mastercard, … (payment_method_details.card.brand)"
evidence_submission_count = "How often evidence was sent (evidence_details.submission_count)"
metadata = "Keys and values set by the merchant, as JSON (metadata)"
amount_minor = "What is disputed, minor units (amount)"
ledger_net_minor = "Sum of the net of those transactions, minor units of their currency (balance_transactions[].net)"
has_evidence = "Whether evidence was saved (evidence_details.has_evidence)"
is_evidence_overdue = "Whether the deadline passed without evidence (evidence_details.past_due)"
is_charge_refundable = "Whether the charge can still be refunded instead (is_charge_refundable)"
is_livemode = "Whether the object exists in live mode (livemode)"
created_at = "When the object was created, UTC (created)"
evidence_due_at = "Deadline for evidence, UTC (evidence_details.due_by)"
is_deleted = "Whether the object was observed as deleted"
deleted_at = "When it was deleted, UTC, where the observation says so"
_observed_at = "When this state was observed, UTC"
*/
with

disputes as (
    select * from bronze.disputes
)

select
    id as dispute_id,
    charge as charge_id,
    payment_intent as payment_intent_id,
    list_transform(balance_transactions, lambda moved: moved.id) as balance_transaction_ids,

    currency,
    status,
    reason,
    coalesce(
        network_reason_code,
        payment_method_details.card.network_reason_code
    ) as network_reason_code,
    payment_method_details.type as payment_method_type,
    payment_method_details.card.brand as card_brand,
    evidence_details.submission_count as evidence_submission_count,
    metadata,

    amount as amount_minor,
    cast(
        coalesce(
            list_sum(list_transform(balance_transactions, lambda moved: moved.net)), 0
        ) as bigint
    ) as ledger_net_minor,

    evidence_details.has_evidence as has_evidence,
    evidence_details.past_due as is_evidence_overdue,
    is_charge_refundable,
    livemode as is_livemode,

    make_timestamp(created * 1000000) as created_at,
    make_timestamp(evidence_details.due_by * 1000000) as evidence_due_at,

    _is_deleted as is_deleted,
    _deleted_at as deleted_at,
    _observed_at,
from disputes
