"""The table of list endpoints: for each kind its noun, its filters and what a list hides by default.

Filters as the official SDK's `…ListParams` declare them. Parameters that every list takes (limit, cursors, expand) are not repeated here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as with_default
from typing import TYPE_CHECKING, Any

from mock_api import forms
from mock_api.errors import bad_request
from mock_api.filters import (
    Filter,
    Obj,
    Test,
    among,
    any_of,
    any_span,
    equals,
    field,
    flag,
    nested,
    reference,
    span,
    transactions_of_payout,
    word,
)

if TYPE_CHECKING:
    from mock_api.world import World


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of object: `kind` is its list path and its name in the world, `noun` the word of error messages."""

    kind: str
    noun: str
    tag: str
    filters: Mapping[str, Filter] = with_default(default_factory=dict)
    has_created_filter: bool = True
    defaults: Mapping[str, Any] = with_default(default_factory=dict)
    """Filters that hold unless the request names them: Stripe's silent default filters."""
    retention: int | None = None
    """Seconds for which an object can be listed and retrieved; None is for ever."""

    def kept_since(self, now: int) -> int | None:
        """The oldest second of creation that is still served."""
        return None if self.retention is None else now - self.retention


_CUSTOMER = reference("customers", "customer", "customer")
_CHARGE = reference("charges", "charge", "charge")
_PAYMENT_INTENT = reference("payment_intents", "payment_intent", "payment_intent")
_COLLECTION = word("collection_method", "charge_automatically", "send_invoice")
_STATUSES = (
    "active",
    "canceled",
    "incomplete",
    "incomplete_expired",
    "past_due",
    "paused",
    "trialing",
    "unpaid",
)
_ENDED = ("canceled", "incomplete_expired")


def _subscription_status(world: World, value: Any, param: str) -> Test:
    wanted = forms.one_of(*_STATUSES, "all", "ended")(value, param)
    if wanted == "all":
        return lambda obj: True
    statuses = _ENDED if wanted == "ended" else (wanted,)
    return lambda obj: obj["status"] in statuses


def _of_items(path: str) -> Filter:
    """A subscription one of whose items has the value at the path."""
    read = field(path)

    def parse(world: World, value: Any, param: str) -> Test:
        wanted = forms.text(value, param)
        return lambda obj: any(read(item) == wanted for item in nested_rows(obj["items"]))

    return Filter(parse)


def _event_type(world: World, value: Any, param: str) -> Test:
    """One name, or a prefix that ends in `*`. `customer.*` also matches `customer.subscription.created`, as in Stripe."""
    wanted = forms.text(value, param)
    if wanted.endswith("*"):
        return lambda obj: bool(obj["type"].startswith(wanted[:-1]))
    return lambda obj: bool(obj["type"] == wanted)


def _delivery_success(world: World, value: Any, param: str) -> Test:
    wanted = forms.boolean(value, param)
    return lambda obj: (obj["pending_webhooks"] == 0) is wanted


def _not_canceled(obj: Obj) -> bool:
    return bool(obj["status"] != "canceled")


def _no_test_clock(obj: Obj) -> bool:
    return obj.get("test_clock") is None


def nested_rows(value: Any) -> list[Obj]:
    """The rows of a nested list, whether the world keeps it bare or in a list envelope."""
    rows: list[Obj] = value["data"] if isinstance(value, dict) else value
    return rows


def check_together(resource: Resource, params: Mapping[str, Any]) -> None:
    """Raises `ApiError` for parameters that exclude each other."""
    if resource.kind == "events" and "type" in params and "types" in params:
        raise bad_request("You may pass only one of these parameters: type, types.", param="types")


RESOURCES: tuple[Resource, ...] = (
    # Deleted customers are absent because the world's rows hold the living only.
    Resource(
        "customers",
        "customer",
        "Customers",
        {"email": equals("email"), "test_clock": equals("test_clock")},
        defaults={"test_clock": _no_test_clock},
    ),
    Resource(
        "products",
        "product",
        "Catalogue",
        {
            "active": flag("active"),
            "ids": any_of("id", 100),
            "shippable": flag("shippable"),
            "type": word("type", "good", "service"),
            "url": equals("url"),
        },
    ),
    # Documented as "active prices" by default, but both are returned unless `active` says otherwise: observed in production, and the safer reading.
    Resource(
        "prices",
        "price",
        "Catalogue",
        {
            "active": flag("active"),
            "currency": equals("currency"),
            "lookup_keys": any_of("lookup_key", 10),
            "product": equals("product"),
            "recurring": nested(
                {
                    "interval": word("recurring.interval", "day", "month", "week", "year"),
                    "meter": equals("recurring.meter"),
                    "usage_type": word("recurring.usage_type", "licensed", "metered"),
                }
            ),
            "type": word("type", "one_time", "recurring"),
        },
    ),
    Resource(
        "payment_methods",
        "PaymentMethod",
        "Customers",
        {
            "allow_redisplay": word("allow_redisplay", "always", "limited", "unspecified"),
            "customer": _CUSTOMER,
            "customer_account": equals("customer_account"),
            "type": equals("type"),
        },
        has_created_filter=False,
    ),
    Resource(
        "subscriptions",
        "subscription",
        "Billing",
        {
            "automatic_tax": nested({"enabled": flag("automatic_tax.enabled")}),
            "collection_method": _COLLECTION,
            "current_period_end": any_span(
                lambda obj: [item["current_period_end"] for item in nested_rows(obj["items"])]
            ),
            "current_period_start": any_span(
                lambda obj: [item["current_period_start"] for item in nested_rows(obj["items"])]
            ),
            "customer": _CUSTOMER,
            "customer_account": equals("customer_account"),
            "plan": _of_items("plan.id"),
            "price": _of_items("price.id"),
            "status": Filter(_subscription_status),
            "test_clock": equals("test_clock"),
        },
        defaults={"status": _not_canceled, "test_clock": _no_test_clock},
    ),
    Resource(
        "invoices",
        "invoice",
        "Billing",
        {
            "collection_method": _COLLECTION,
            "customer": _CUSTOMER,
            "customer_account": equals("customer_account"),
            "due_date": span("due_date"),
            "status": word("status", "draft", "open", "paid", "uncollectible", "void"),
            "subscription": reference(
                "subscriptions", "subscription", "parent.subscription_details.subscription"
            ),
        },
    ),
    Resource(
        "payment_intents",
        "payment_intent",
        "Payments",
        {"customer": _CUSTOMER, "customer_account": equals("customer_account")},
    ),
    Resource(
        "charges",
        "charge",
        "Payments",
        {
            "customer": _CUSTOMER,
            "payment_intent": _PAYMENT_INTENT,
            "transfer_group": equals("transfer_group"),
        },
    ),
    Resource("refunds", "refund", "Payments", {"charge": _CHARGE, "payment_intent": _PAYMENT_INTENT}),
    Resource("disputes", "dispute", "Payments", {"charge": _CHARGE, "payment_intent": _PAYMENT_INTENT}),
    Resource(
        "balance_transactions",
        "balance transaction",
        "Balance",
        {
            "currency": equals("currency"),
            "payout": transactions_of_payout(),
            "source": equals("source"),
            "type": equals("type"),
        },
    ),
    Resource(
        "payouts",
        "payout",
        "Balance",
        {
            "arrival_date": span("arrival_date"),
            "destination": equals("destination"),
            "status": word("status", "canceled", "failed", "in_transit", "paid", "pending"),
        },
    ),
    Resource(
        "invoice_payments",
        "invoice payment",
        "Billing",
        {
            "invoice": reference("invoices", "invoice", "invoice"),
            "payment": nested(
                {
                    "type": word("payment.type", "payment_intent", "payment_record"),
                    "payment_intent": among(("payment.payment_intent",)),
                    "payment_record": among(("payment.payment_record",)),
                }
            ),
            "status": word("status", "canceled", "open", "paid"),
        },
    ),
    Resource(
        "events",
        "event",
        "Events",
        {
            "delivery_success": Filter(_delivery_success),
            "type": Filter(_event_type),
            "types": any_of("type", 20),
        },
        retention=30 * 86_400,
    ),
)

BY_KIND: Mapping[str, Resource] = {resource.kind: resource for resource in RESOURCES}
