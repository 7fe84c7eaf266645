"""What moved: intents, charges, refunds, disputes, the ledger and its payouts."""

from __future__ import annotations

from payments_pipeline.entities.spec import ADDRESS, EntitySpec, Reference, fields

__all__ = ["BALANCE_TRANSACTIONS", "CHARGES", "DISPUTES", "PAYMENT_INTENTS", "PAYOUTS", "REFUNDS"]

_TERMINAL = fields(text="brand country funding fingerprint last4 network")
"""A card that was present, as Stripe describes it apart from one used online."""

PAYMENT_INTENTS = EntitySpec(
    name="payment_intents",
    object="payment_intent",
    prefixes=("pi_",),
    columns=fields(
        text="id object customer currency status cancellation_reason capture_method confirmation_method "
        "description latest_charge payment_method setup_future_usage statement_descriptor",
        integer="created amount amount_capturable amount_received canceled_at",
        flag="livemode",
        json="metadata",
        last_payment_error=fields(text="type code decline_code"),
    ),
    references=(
        Reference("customer", "customers"),
        Reference("latest_charge", "charges"),
        Reference("payment_method", "payment_methods"),
    ),
    amount=("amount", "currency"),
)

CHARGES = EntitySpec(
    name="charges",
    object="charge",
    prefixes=("ch_", "py_"),
    columns=fields(
        text="id object customer currency status balance_transaction failure_balance_transaction "
        "calculated_statement_descriptor description failure_code failure_message payment_intent payment_method "
        "transfer_group",
        integer="created amount amount_captured amount_refunded application_fee_amount",
        flag="livemode captured disputed paid refunded",
        json="metadata",
        billing_details=fields(address=ADDRESS),
        fraud_details=fields(text="stripe_report user_report"),
        outcome=fields(
            text="type reason network_status network_decline_code network_advice_code advice_code risk_level",
            integer="risk_score",
        ),
        payment_method_details=fields(
            text="type",
            card=fields(
                text="brand country funding fingerprint last4 network",
                checks=fields(text="address_line1_check address_postal_code_check cvc_check"),
                multicapture=fields(text="status"),
                three_d_secure=fields(text="result authentication_flow"),
                wallet=fields(text="type"),
            ),
            card_present=_TERMINAL,
            interac_present=_TERMINAL,
        ),
    ),
    references=(
        Reference("customer", "customers"),
        Reference("payment_intent", "payment_intents"),
        Reference("payment_method", "payment_methods"),
        Reference("balance_transaction", "balance_transactions"),
        Reference("failure_balance_transaction", "balance_transactions"),
    ),
    amount=("amount", "currency"),
)

REFUNDS = EntitySpec(
    name="refunds",
    object="refund",
    prefixes=("re_", "pyr_"),
    columns=fields(
        text="id object charge payment_intent currency status reason balance_transaction "
        "failure_balance_transaction failure_reason pending_reason description",
        integer="created amount",
        json="metadata",
        destination_details=fields(text="type"),
    ),
    references=(
        Reference("charge", "charges", changes_it=True),
        Reference("payment_intent", "payment_intents"),
        Reference("balance_transaction", "balance_transactions"),
        Reference("failure_balance_transaction", "balance_transactions"),
    ),
    amount=("amount", "currency"),
)

DISPUTES = EntitySpec(
    name="disputes",
    object="dispute",
    prefixes=("du_", "dp_"),
    columns=fields(
        text="id object charge payment_intent currency status reason network_reason_code",
        integer="created amount",
        flag="livemode is_charge_refundable",
        json="metadata",
        balance_transactions=[fields(text="id currency", integer="amount net")],
        evidence_details=fields(integer="due_by submission_count", flag="has_evidence past_due"),
        payment_method_details=fields(text="type", card=fields(text="brand network_reason_code")),
    ),
    references=(
        Reference("charge", "charges", changes_it=True),
        Reference("payment_intent", "payment_intents"),
        Reference("balance_transactions[].id", "balance_transactions"),
    ),
    amount=("amount", "currency"),
)

BALANCE_TRANSACTIONS = EntitySpec(
    name="balance_transactions",
    object="balance_transaction",
    prefixes=("txn_",),
    columns=fields(
        text="id object currency type reporting_category status source description balance_type",
        integer="created available_on amount fee net",
        exchange_rate="DOUBLE",
        fee_details=[fields(text="type currency", integer="amount")],
    ),
    references=(Reference("source", None),),
    amount=("amount", "currency"),
    # No events exist; funds become available within 30 days of the transaction at the latest, and stay so.
    mutable_days=31,
    settled=("available",),
)

PAYOUTS = EntitySpec(
    name="payouts",
    object="payout",
    prefixes=("po_",),
    columns=fields(
        text="id object currency status type method source_type destination balance_transaction "
        "failure_balance_transaction failure_code failure_message description original_payout reversed_by "
        "reconciliation_status statement_descriptor",
        integer="created amount arrival_date",
        flag="livemode automatic",
        json="metadata",
    ),
    references=(
        Reference("balance_transaction", "balance_transactions"),
        Reference("failure_balance_transaction", "balance_transactions"),
        Reference("original_payout", "payouts"),
        Reference("reversed_by", "payouts"),
    ),
    amount=("amount", "currency"),
    # A bank may return a payout days after it was reported paid, and trace ids arrive without an event.
    mutable_days=31,
)
