"""The schema: one table per Stripe object, each column telling where in the object its value is found.

Names are Stripe's own, but that references end in `_id` and times in `_at`. Money is BIGINT in minor units of the
`currency` beside it. `raw` is the whole object as received. A row is one of three:

- an object, as it was at `observed_at`;
- a stub (`is_stub`): something refers to the object, which has not been seen yet. Everything but its id is NULL;
- either of these, `deleted`: the object was seen to be gone at `deletion_observed_at`. What was known of it stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    ForeignKey,
    MetaData,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Json = dict[str, Any]
"""Nested data, stored as JSONB."""

BOOKKEEPING = ("observed_at", "deletion_observed_at", "deleted", "is_stub")
"""Columns that say what a row is; the others hold the object."""


class Base(DeclarativeBase):
    """Where all tables are registered, and which PostgreSQL type a Python type becomes."""

    metadata = MetaData(
        naming_convention={
            "pk": "%(table_name)s_pkey",
            "fk": "%(table_name)s_%(column_0_name)s_fkey",
            "ix": "%(table_name)s_%(column_0_name)s_idx",
            "ck": "%(table_name)s_%(constraint_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy reads it from the class
        str: Text(),
        int: BigInteger(),
        datetime: DateTime(timezone=True),
        Json: JSONB(),
    }


def _at(path: str) -> Any:
    """A column whose value is at `path`: dotted, `[]` for the first element of a list, `|` before an older shape's path."""
    return mapped_column(info={"path": path})


def _to(table: str, path: str, *, cyclic: bool = False) -> Any:
    """A reference to a row of `table`, indexed, whose id (or whose whole object) is at `path`.

    A cyclic one is checked when the transaction ends, so that two rows may refer to each other.
    """
    later: Mapping[str, Any] = (
        {"use_alter": True, "deferrable": True, "initially": "DEFERRED"} if cyclic else {}
    )
    return mapped_column(ForeignKey(f"{table}.id", **later), index=True, info={"path": path})


def _rules(*required: str) -> tuple[CheckConstraint, dict[str, Any]]:
    """What an object that is no stub must have, for the database and for whoever reads objects."""
    names = ("created_at", "raw", *required)
    filled = " and ".join(f"{name} is not null" for name in names)
    return CheckConstraint(f"observed_at is null or ({filled})", name="complete"), {
        "info": {"required": names}
    }


class StripeObject:
    """What all objects have, and what is known of their state here."""

    id: Mapped[str] = mapped_column(primary_key=True, sort_order=-3, info={"path": "id"})
    created_at: Mapped[datetime | None] = mapped_column(sort_order=-2, info={"path": "created"})
    livemode: Mapped[bool | None] = mapped_column(sort_order=-1, info={"path": "livemode"})
    raw: Mapped[Json | None] = mapped_column(sort_order=10)
    observed_at: Mapped[datetime | None] = mapped_column(sort_order=11)
    deletion_observed_at: Mapped[datetime | None] = mapped_column(sort_order=12)
    deleted: Mapped[bool] = mapped_column(
        Computed(
            "deletion_observed_at is not null and (observed_at is null or deletion_observed_at >= observed_at)",
            persisted=True,
        ),
        sort_order=13,
    )
    is_stub: Mapped[bool] = mapped_column(Computed("observed_at is null", persisted=True), sort_order=14)


class Customer(StripeObject, Base):
    """Who buys. Holds personal data."""

    __tablename__ = "customers"
    __table_args__ = _rules()

    email: Mapped[str | None] = mapped_column(index=True, info={"path": "email"})
    name: Mapped[str | None] = _at("name")
    phone: Mapped[str | None] = _at("phone")
    description: Mapped[str | None] = _at("description")
    currency: Mapped[str | None] = _at("currency")
    balance: Mapped[int | None] = _at("balance")
    delinquent: Mapped[bool | None] = _at("delinquent")
    invoice_prefix: Mapped[str | None] = _at("invoice_prefix")
    tax_exempt: Mapped[str | None] = _at("tax_exempt")
    default_payment_method_id: Mapped[str | None] = _to(
        "payment_methods", "invoice_settings.default_payment_method", cyclic=True
    )
    address: Mapped[Json | None] = _at("address")
    shipping: Mapped[Json | None] = _at("shipping")
    metadata_: Mapped[Json | None] = mapped_column("metadata", info={"path": "metadata"})


class PaymentMethod(StripeObject, Base):
    """What a customer pays with."""

    __tablename__ = "payment_methods"
    __table_args__ = _rules("type")

    customer_id: Mapped[str | None] = _to("customers", "customer")
    type: Mapped[str | None] = _at("type")
    card_brand: Mapped[str | None] = _at("card.brand")
    card_funding: Mapped[str | None] = _at("card.funding")
    card_country: Mapped[str | None] = _at("card.country")
    card_last4: Mapped[str | None] = _at("card.last4")
    card_fingerprint: Mapped[str | None] = _at("card.fingerprint")
    card_exp_month: Mapped[int | None] = _at("card.exp_month")
    card_exp_year: Mapped[int | None] = _at("card.exp_year")
    billing_details: Mapped[Json | None] = _at("billing_details")
    metadata_: Mapped[Json | None] = mapped_column("metadata", info={"path": "metadata"})


class Product(StripeObject, Base):
    """What is sold."""

    __tablename__ = "products"
    __table_args__ = _rules("name", "active")

    name: Mapped[str | None] = _at("name")
    description: Mapped[str | None] = _at("description")
    active: Mapped[bool | None] = _at("active")
    unit_label: Mapped[str | None] = _at("unit_label")
    statement_descriptor: Mapped[str | None] = _at("statement_descriptor")
    tax_code: Mapped[str | None] = _at("tax_code")
    updated_at: Mapped[datetime | None] = _at("updated")
    metadata_: Mapped[Json | None] = mapped_column("metadata", info={"path": "metadata"})


class Price(StripeObject, Base):
    """What a product costs, once or again and again. `unit_amount` is NULL when it is tiered or a fraction."""

    __tablename__ = "prices"
    __table_args__ = _rules("currency", "product_id", "active")

    product_id: Mapped[str | None] = _to("products", "product")
    currency: Mapped[str | None] = _at("currency")
    unit_amount: Mapped[int | None] = _at("unit_amount")
    unit_amount_decimal: Mapped[str | None] = _at("unit_amount_decimal")
    active: Mapped[bool | None] = _at("active")
    type: Mapped[str | None] = _at("type")
    billing_scheme: Mapped[str | None] = _at("billing_scheme")
    nickname: Mapped[str | None] = _at("nickname")
    lookup_key: Mapped[str | None] = _at("lookup_key")
    recurring_interval: Mapped[str | None] = _at("recurring.interval")
    recurring_interval_count: Mapped[int | None] = _at("recurring.interval_count")
    recurring_usage_type: Mapped[str | None] = _at("recurring.usage_type")
    metadata_: Mapped[Json | None] = mapped_column("metadata", info={"path": "metadata"})


class Subscription(StripeObject, Base):
    """A customer's standing order; `price_id`, `quantity` and the period are those of its first item: `raw` has all of them."""

    __tablename__ = "subscriptions"
    __table_args__ = _rules("customer_id", "status")

    customer_id: Mapped[str | None] = _to("customers", "customer")
    price_id: Mapped[str | None] = _to("prices", "items.data[].price")
    default_payment_method_id: Mapped[str | None] = _to("payment_methods", "default_payment_method")
    status: Mapped[str | None] = _at("status")
    currency: Mapped[str | None] = _at("currency")
    collection_method: Mapped[str | None] = _at("collection_method")
    quantity: Mapped[int | None] = _at("items.data[].quantity")
    cancel_at_period_end: Mapped[bool | None] = _at("cancel_at_period_end")
    current_period_start_at: Mapped[datetime | None] = _at(
        "items.data[].current_period_start|current_period_start"
    )
    current_period_end_at: Mapped[datetime | None] = _at("items.data[].current_period_end|current_period_end")
    start_at: Mapped[datetime | None] = _at("start_date")
    trial_start_at: Mapped[datetime | None] = _at("trial_start")
    trial_end_at: Mapped[datetime | None] = _at("trial_end")
    cancel_at: Mapped[datetime | None] = _at("cancel_at")
    canceled_at: Mapped[datetime | None] = _at("canceled_at")
    ended_at: Mapped[datetime | None] = _at("ended_at")
    metadata_: Mapped[Json | None] = mapped_column("metadata", info={"path": "metadata"})


class Invoice(StripeObject, Base):
    """What a customer owes."""

    __tablename__ = "invoices"
    __table_args__ = _rules("currency", "total")

    customer_id: Mapped[str | None] = _to("customers", "customer")
    subscription_id: Mapped[str | None] = _to(
        "subscriptions", "parent.subscription_details.subscription|subscription"
    )
    number: Mapped[str | None] = _at("number")
    status: Mapped[str | None] = _at("status")
    currency: Mapped[str | None] = _at("currency")
    billing_reason: Mapped[str | None] = _at("billing_reason")
    collection_method: Mapped[str | None] = _at("collection_method")
    subtotal: Mapped[int | None] = _at("subtotal")
    total: Mapped[int | None] = _at("total")
    amount_due: Mapped[int | None] = _at("amount_due")
    amount_paid: Mapped[int | None] = _at("amount_paid")
    amount_remaining: Mapped[int | None] = _at("amount_remaining")
    attempt_count: Mapped[int | None] = _at("attempt_count")
    period_start_at: Mapped[datetime | None] = _at("period_start")
    period_end_at: Mapped[datetime | None] = _at("period_end")
    due_at: Mapped[datetime | None] = _at("due_date")
    finalized_at: Mapped[datetime | None] = _at("status_transitions.finalized_at")
    paid_at: Mapped[datetime | None] = _at("status_transitions.paid_at")
    voided_at: Mapped[datetime | None] = _at("status_transitions.voided_at")
    marked_uncollectible_at: Mapped[datetime | None] = _at("status_transitions.marked_uncollectible_at")
    metadata_: Mapped[Json | None] = mapped_column("metadata", info={"path": "metadata"})


class PaymentIntent(StripeObject, Base):
    """A payment from the first attempt to the last."""

    __tablename__ = "payment_intents"
    __table_args__ = _rules("amount", "currency", "status")

    customer_id: Mapped[str | None] = _to("customers", "customer")
    payment_method_id: Mapped[str | None] = _to("payment_methods", "payment_method")
    status: Mapped[str | None] = _at("status")
    currency: Mapped[str | None] = _at("currency")
    amount: Mapped[int | None] = _at("amount")
    amount_capturable: Mapped[int | None] = _at("amount_capturable")
    amount_received: Mapped[int | None] = _at("amount_received")
    capture_method: Mapped[str | None] = _at("capture_method")
    description: Mapped[str | None] = _at("description")
    cancellation_reason: Mapped[str | None] = _at("cancellation_reason")
    canceled_at: Mapped[datetime | None] = _at("canceled_at")
    last_payment_error: Mapped[Json | None] = _at("last_payment_error")
    metadata_: Mapped[Json | None] = mapped_column("metadata", info={"path": "metadata"})


class Charge(StripeObject, Base):
    """One attempt to move money; `invoice_id` is what `invoice_payments` say, or the charge itself in older shapes."""

    __tablename__ = "charges"
    __table_args__ = _rules("amount", "currency", "status")

    customer_id: Mapped[str | None] = _to("customers", "customer")
    payment_intent_id: Mapped[str | None] = _to("payment_intents", "payment_intent")
    payment_method_id: Mapped[str | None] = _to("payment_methods", "payment_method")
    invoice_id: Mapped[str | None] = _to("invoices", "invoice")
    status: Mapped[str | None] = _at("status")
    currency: Mapped[str | None] = _at("currency")
    amount: Mapped[int | None] = _at("amount")
    amount_captured: Mapped[int | None] = _at("amount_captured")
    amount_refunded: Mapped[int | None] = _at("amount_refunded")
    paid: Mapped[bool | None] = _at("paid")
    captured: Mapped[bool | None] = _at("captured")
    refunded: Mapped[bool | None] = _at("refunded")
    disputed: Mapped[bool | None] = _at("disputed")
    failure_code: Mapped[str | None] = _at("failure_code")
    failure_message: Mapped[str | None] = _at("failure_message")
    outcome_type: Mapped[str | None] = _at("outcome.type")
    risk_level: Mapped[str | None] = _at("outcome.risk_level")
    card_brand: Mapped[str | None] = _at("payment_method_details.card.brand")
    card_funding: Mapped[str | None] = _at("payment_method_details.card.funding")
    card_last4: Mapped[str | None] = _at("payment_method_details.card.last4")
    balance_transaction: Mapped[str | None] = mapped_column(
        info={"path": "balance_transaction", "expandable": True}
    )
    description: Mapped[str | None] = _at("description")
    metadata_: Mapped[Json | None] = mapped_column("metadata", info={"path": "metadata"})


class InvoicePayment(StripeObject, Base):
    """Which payment settles which invoice: in the current API the only link between a charge and its invoice."""

    __tablename__ = "invoice_payments"
    __table_args__ = _rules("invoice_id", "status")

    invoice_id: Mapped[str | None] = _to("invoices", "invoice")
    payment_intent_id: Mapped[str | None] = _to("payment_intents", "payment.payment_intent")
    charge_id: Mapped[str | None] = _to("charges", "payment.charge")
    status: Mapped[str | None] = _at("status")
    currency: Mapped[str | None] = _at("currency")
    amount_requested: Mapped[int | None] = _at("amount_requested")
    amount_paid: Mapped[int | None] = _at("amount_paid")
    is_default: Mapped[bool | None] = _at("is_default")
    paid_at: Mapped[datetime | None] = _at("status_transitions.paid_at")
    canceled_at: Mapped[datetime | None] = _at("status_transitions.canceled_at")


TABLES: Mapping[str, Table] = {table.name: table for table in Base.metadata.sorted_tables}
"""Every table by name, which is also that of the list endpoint, in the order in which references demand them."""


def content_columns(table: Table) -> list[Column[Any]]:
    """The columns that hold the object itself, `id` first and `raw` last."""
    return [column for column in table.columns if column.name not in BOOKKEEPING]


def parents(table: Table) -> Iterator[tuple[Column[Any], Table]]:
    """Each referring column and the table it refers to."""
    for column in table.columns:
        for key in column.foreign_keys:
            yield column, key.column.table
