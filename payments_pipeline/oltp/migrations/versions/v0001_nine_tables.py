"""The nine tables."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = """
create table customers (
    id text not null,
    created_at timestamptz,
    livemode boolean,
    email text,
    name text,
    phone text,
    description text,
    currency text,
    balance bigint,
    delinquent boolean,
    invoice_prefix text,
    tax_exempt text,
    default_payment_method_id text,
    address jsonb,
    shipping jsonb,
    metadata jsonb,
    raw jsonb,
    observed_at timestamptz,
    deletion_observed_at timestamptz,
    deleted boolean generated always as (deletion_observed_at is not null and (observed_at is null or deletion_observed_at >= observed_at)) stored not null,
    is_stub boolean generated always as (observed_at is null) stored not null,
    constraint customers_pkey primary key (id),
    constraint customers_complete check (observed_at is null or (created_at is not null and raw is not null))
);

create table products (
    id text not null,
    created_at timestamptz,
    livemode boolean,
    name text,
    description text,
    active boolean,
    unit_label text,
    statement_descriptor text,
    tax_code text,
    updated_at timestamptz,
    metadata jsonb,
    raw jsonb,
    observed_at timestamptz,
    deletion_observed_at timestamptz,
    deleted boolean generated always as (deletion_observed_at is not null and (observed_at is null or deletion_observed_at >= observed_at)) stored not null,
    is_stub boolean generated always as (observed_at is null) stored not null,
    constraint products_pkey primary key (id),
    constraint products_complete check (observed_at is null or (created_at is not null and raw is not null and name is not null and active is not null))
);

create table payment_methods (
    id text not null,
    created_at timestamptz,
    livemode boolean,
    customer_id text,
    type text,
    card_brand text,
    card_funding text,
    card_country text,
    card_last4 text,
    card_fingerprint text,
    card_exp_month bigint,
    card_exp_year bigint,
    billing_details jsonb,
    metadata jsonb,
    raw jsonb,
    observed_at timestamptz,
    deletion_observed_at timestamptz,
    deleted boolean generated always as (deletion_observed_at is not null and (observed_at is null or deletion_observed_at >= observed_at)) stored not null,
    is_stub boolean generated always as (observed_at is null) stored not null,
    constraint payment_methods_pkey primary key (id),
    constraint payment_methods_complete check (observed_at is null or (created_at is not null and raw is not null and type is not null)),
    constraint payment_methods_customer_id_fkey foreign key(customer_id) references customers (id)
);

create table prices (
    id text not null,
    created_at timestamptz,
    livemode boolean,
    product_id text,
    currency text,
    unit_amount bigint,
    unit_amount_decimal text,
    active boolean,
    type text,
    billing_scheme text,
    nickname text,
    lookup_key text,
    recurring_interval text,
    recurring_interval_count bigint,
    recurring_usage_type text,
    metadata jsonb,
    raw jsonb,
    observed_at timestamptz,
    deletion_observed_at timestamptz,
    deleted boolean generated always as (deletion_observed_at is not null and (observed_at is null or deletion_observed_at >= observed_at)) stored not null,
    is_stub boolean generated always as (observed_at is null) stored not null,
    constraint prices_pkey primary key (id),
    constraint prices_complete check (observed_at is null or (created_at is not null and raw is not null and currency is not null and product_id is not null and active is not null)),
    constraint prices_product_id_fkey foreign key(product_id) references products (id)
);

create table payment_intents (
    id text not null,
    created_at timestamptz,
    livemode boolean,
    customer_id text,
    payment_method_id text,
    status text,
    currency text,
    amount bigint,
    amount_capturable bigint,
    amount_received bigint,
    capture_method text,
    description text,
    cancellation_reason text,
    canceled_at timestamptz,
    last_payment_error jsonb,
    metadata jsonb,
    raw jsonb,
    observed_at timestamptz,
    deletion_observed_at timestamptz,
    deleted boolean generated always as (deletion_observed_at is not null and (observed_at is null or deletion_observed_at >= observed_at)) stored not null,
    is_stub boolean generated always as (observed_at is null) stored not null,
    constraint payment_intents_pkey primary key (id),
    constraint payment_intents_complete check (observed_at is null or (created_at is not null and raw is not null and amount is not null and currency is not null and status is not null)),
    constraint payment_intents_customer_id_fkey foreign key(customer_id) references customers (id),
    constraint payment_intents_payment_method_id_fkey foreign key(payment_method_id) references payment_methods (id)
);

create table subscriptions (
    id text not null,
    created_at timestamptz,
    livemode boolean,
    customer_id text,
    price_id text,
    default_payment_method_id text,
    status text,
    currency text,
    collection_method text,
    quantity bigint,
    cancel_at_period_end boolean,
    current_period_start_at timestamptz,
    current_period_end_at timestamptz,
    start_at timestamptz,
    trial_start_at timestamptz,
    trial_end_at timestamptz,
    cancel_at timestamptz,
    canceled_at timestamptz,
    ended_at timestamptz,
    metadata jsonb,
    raw jsonb,
    observed_at timestamptz,
    deletion_observed_at timestamptz,
    deleted boolean generated always as (deletion_observed_at is not null and (observed_at is null or deletion_observed_at >= observed_at)) stored not null,
    is_stub boolean generated always as (observed_at is null) stored not null,
    constraint subscriptions_pkey primary key (id),
    constraint subscriptions_complete check (observed_at is null or (created_at is not null and raw is not null and customer_id is not null and status is not null)),
    constraint subscriptions_customer_id_fkey foreign key(customer_id) references customers (id),
    constraint subscriptions_price_id_fkey foreign key(price_id) references prices (id),
    constraint subscriptions_default_payment_method_id_fkey foreign key(default_payment_method_id) references payment_methods (id)
);

create table invoices (
    id text not null,
    created_at timestamptz,
    livemode boolean,
    customer_id text,
    subscription_id text,
    number text,
    status text,
    currency text,
    billing_reason text,
    collection_method text,
    subtotal bigint,
    total bigint,
    amount_due bigint,
    amount_paid bigint,
    amount_remaining bigint,
    attempt_count bigint,
    period_start_at timestamptz,
    period_end_at timestamptz,
    due_at timestamptz,
    finalized_at timestamptz,
    paid_at timestamptz,
    voided_at timestamptz,
    marked_uncollectible_at timestamptz,
    metadata jsonb,
    raw jsonb,
    observed_at timestamptz,
    deletion_observed_at timestamptz,
    deleted boolean generated always as (deletion_observed_at is not null and (observed_at is null or deletion_observed_at >= observed_at)) stored not null,
    is_stub boolean generated always as (observed_at is null) stored not null,
    constraint invoices_pkey primary key (id),
    constraint invoices_complete check (observed_at is null or (created_at is not null and raw is not null and currency is not null and total is not null)),
    constraint invoices_customer_id_fkey foreign key(customer_id) references customers (id),
    constraint invoices_subscription_id_fkey foreign key(subscription_id) references subscriptions (id)
);

create table charges (
    id text not null,
    created_at timestamptz,
    livemode boolean,
    customer_id text,
    payment_intent_id text,
    payment_method_id text,
    invoice_id text,
    status text,
    currency text,
    amount bigint,
    amount_captured bigint,
    amount_refunded bigint,
    paid boolean,
    captured boolean,
    refunded boolean,
    disputed boolean,
    failure_code text,
    failure_message text,
    outcome_type text,
    risk_level text,
    card_brand text,
    card_funding text,
    card_last4 text,
    balance_transaction text,
    description text,
    metadata jsonb,
    raw jsonb,
    observed_at timestamptz,
    deletion_observed_at timestamptz,
    deleted boolean generated always as (deletion_observed_at is not null and (observed_at is null or deletion_observed_at >= observed_at)) stored not null,
    is_stub boolean generated always as (observed_at is null) stored not null,
    constraint charges_pkey primary key (id),
    constraint charges_complete check (observed_at is null or (created_at is not null and raw is not null and amount is not null and currency is not null and status is not null)),
    constraint charges_customer_id_fkey foreign key(customer_id) references customers (id),
    constraint charges_payment_intent_id_fkey foreign key(payment_intent_id) references payment_intents (id),
    constraint charges_payment_method_id_fkey foreign key(payment_method_id) references payment_methods (id),
    constraint charges_invoice_id_fkey foreign key(invoice_id) references invoices (id)
);

create table invoice_payments (
    id text not null,
    created_at timestamptz,
    livemode boolean,
    invoice_id text,
    payment_intent_id text,
    charge_id text,
    status text,
    currency text,
    amount_requested bigint,
    amount_paid bigint,
    is_default boolean,
    paid_at timestamptz,
    canceled_at timestamptz,
    raw jsonb,
    observed_at timestamptz,
    deletion_observed_at timestamptz,
    deleted boolean generated always as (deletion_observed_at is not null and (observed_at is null or deletion_observed_at >= observed_at)) stored not null,
    is_stub boolean generated always as (observed_at is null) stored not null,
    constraint invoice_payments_pkey primary key (id),
    constraint invoice_payments_complete check (observed_at is null or (created_at is not null and raw is not null and invoice_id is not null and status is not null)),
    constraint invoice_payments_invoice_id_fkey foreign key(invoice_id) references invoices (id),
    constraint invoice_payments_payment_intent_id_fkey foreign key(payment_intent_id) references payment_intents (id),
    constraint invoice_payments_charge_id_fkey foreign key(charge_id) references charges (id)
);

"""

_INDEXES = """
create index customers_default_payment_method_id_idx on customers (default_payment_method_id);
create index customers_email_idx on customers (email);
create index payment_methods_customer_id_idx on payment_methods (customer_id);
create index prices_product_id_idx on prices (product_id);
create index payment_intents_customer_id_idx on payment_intents (customer_id);
create index payment_intents_payment_method_id_idx on payment_intents (payment_method_id);
create index subscriptions_customer_id_idx on subscriptions (customer_id);
create index subscriptions_default_payment_method_id_idx on subscriptions (default_payment_method_id);
create index subscriptions_price_id_idx on subscriptions (price_id);
create index invoices_customer_id_idx on invoices (customer_id);
create index invoices_subscription_id_idx on invoices (subscription_id);
create index charges_customer_id_idx on charges (customer_id);
create index charges_invoice_id_idx on charges (invoice_id);
create index charges_payment_intent_id_idx on charges (payment_intent_id);
create index charges_payment_method_id_idx on charges (payment_method_id);
create index invoice_payments_charge_id_idx on invoice_payments (charge_id);
create index invoice_payments_invoice_id_idx on invoice_payments (invoice_id);
create index invoice_payments_payment_intent_id_idx on invoice_payments (payment_intent_id);
"""

_CYCLE = """
alter table customers add constraint customers_default_payment_method_id_fkey
    foreign key (default_payment_method_id) references payment_methods (id) deferrable initially deferred
"""


def upgrade() -> None:
    """From nothing to 0001."""
    for statements in (_TABLES, _INDEXES, _CYCLE):
        op.execute(statements)


def downgrade() -> None:
    """From 0001 back to nothing."""
    op.drop_constraint("customers_default_payment_method_id_fkey", "customers", type_="foreignkey")
    for table in (
        "invoice_payments",
        "charges",
        "invoices",
        "subscriptions",
        "payment_intents",
        "prices",
        "payment_methods",
        "products",
        "customers",
    ):
        op.drop_table(table)
