from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import stripe

if TYPE_CHECKING:
    from tests.contract.mock_api.conftest import Served, Truth

Obj = dict[str, Any]


def listed(client: stripe.StripeClient, kind: str, **params: Any) -> dict[str, Obj]:
    """Every object of a filtered list by id."""
    rows = getattr(client.v1, kind).list({"limit": 100, **params}).auto_paging_iter()
    return {row["id"]: row.to_dict(for_json=True) for row in rows}


def field(obj: Obj, path: str) -> Any:
    """The value at a dotted path."""
    value: Any = obj
    for name in path.split("."):
        value = value[name] if value is not None else None
    return value


EQUALITIES = [
    ("customers", "email", "email"),
    ("products", "active", "active"),
    ("prices", "active", "active"),
    ("prices", "currency", "currency"),
    ("prices", "product", "product"),
    ("prices", "type", "type"),
    ("payment_methods", "customer", "customer"),
    ("payment_methods", "type", "type"),
    ("subscriptions", "customer", "customer"),
    ("subscriptions", "collection_method", "collection_method"),
    ("invoices", "status", "status"),
    ("invoices", "customer", "customer"),
    ("invoices", "collection_method", "collection_method"),
    ("invoices", "subscription", "parent.subscription_details.subscription"),
    ("payment_intents", "customer", "customer"),
    ("charges", "customer", "customer"),
    ("charges", "payment_intent", "payment_intent"),
    ("refunds", "charge", "charge"),
    ("refunds", "payment_intent", "payment_intent"),
    ("disputes", "charge", "charge"),
    ("disputes", "payment_intent", "payment_intent"),
    ("balance_transactions", "currency", "currency"),
    ("balance_transactions", "source", "source"),
    ("balance_transactions", "type", "type"),
    ("payouts", "status", "status"),
    ("payouts", "destination", "destination"),
    ("invoice_payments", "invoice", "invoice"),
    ("invoice_payments", "status", "status"),
]


@pytest.mark.parametrize(("kind", "param", "path"), EQUALITIES, ids=str)
def test_a_filter_shows_exactly_what_matches(
    client: stripe.StripeClient, truth: Truth, kind: str, param: str, path: str
) -> None:
    """The filtered list equals the truth filtered by the same field."""
    living = {id_: row for id_, row in truth[kind].items() if "deleted" not in row}
    counts = Counter(value for row in living.values() if (value := field(row, path)) is not None)
    value = counts.most_common()[-1][0]
    everything = {"status": "all"} if kind == "subscriptions" else {}
    assert set(listed(client, kind, **everything, **{param: value})) == {
        id_ for id_, row in living.items() if field(row, path) == value
    }


SUBSCRIPTION_STATUSES: list[tuple[str | None, Callable[[str], bool]]] = [
    (None, lambda status: status != "canceled"),
    ("all", lambda status: True),
    ("canceled", lambda status: status == "canceled"),
    ("ended", lambda status: status in ("canceled", "incomplete_expired")),
    ("active", lambda status: status == "active"),
]


@pytest.mark.parametrize(("status", "shows"), SUBSCRIPTION_STATUSES)
def test_cancelled_subscriptions_are_hidden_unless_asked_for(
    client: stripe.StripeClient, truth: Truth, status: str | None, shows: Callable[[str], bool]
) -> None:
    """The list's default leaves the cancelled out, silently."""
    rows = listed(client, "subscriptions", **({"status": status} if status else {}))
    wanted = {id_ for id_, row in truth["subscriptions"].items() if shows(row["status"])}
    assert set(rows) == wanted != set()


def test_prices_are_listed_whether_active_or_not(client: stripe.StripeClient) -> None:
    """Both appear unless a filter says otherwise."""
    assert {row["active"] for row in listed(client, "prices").values()} == {True, False}


def test_deleted_customers_are_absent_but_retrievable(client: stripe.StripeClient, truth: Truth) -> None:
    """Their GET answers 200 with a stub."""
    deleted = next(id_ for id_, row in truth["customers"].items() if "deleted" in row)
    assert deleted not in listed(client, "customers")
    assert client.v1.customers.retrieve(deleted).to_dict(for_json=True) == {
        "id": deleted,
        "object": "customer",
        "deleted": True,
    }


def test_event_types_match_by_name_prefix_or_set(
    client: stripe.StripeClient, served: Served, truth: Truth
) -> None:
    """`customer.*` also matches subscription events, as in Stripe."""
    oldest = served.clock() - 30 * 86_400
    everything = {id_: row for id_, row in truth["events"].items() if row["created"] >= oldest}
    by_prefix = listed(client, "events", type="customer.*")
    assert set(by_prefix) == {id_ for id_, row in everything.items() if row["type"].startswith("customer.")}
    assert any(row["type"].startswith("customer.subscription.") for row in by_prefix.values())
    named = {"charge.failed", "charge.refunded"}
    assert set(listed(client, "events", types=sorted(named))) == {
        id_ for id_, row in everything.items() if row["type"] in named
    }
    with pytest.raises(stripe.InvalidRequestError, match="only one of these"):
        client.v1.events.list({"type": "charge.failed", "types": ["charge.failed"]})
    with pytest.raises(stripe.InvalidRequestError, match="at most 20"):
        client.v1.events.list({"types": [f"type.{number}" for number in range(21)]})


def test_a_payout_lists_what_it_pays_out(client: stripe.StripeClient, truth: Truth) -> None:
    """The transactions of an automatic payout, without its own, add up to its amount."""
    payout = next(row for row in truth["payouts"].values() if row["status"] == "paid")
    rows = listed(client, "balance_transactions", payout=payout["id"]).values()
    assert sum(row["net"] for row in rows if row["type"] != "payout") == payout["amount"]


def test_nested_and_ranged_filters(client: stripe.StripeClient, truth: Truth) -> None:
    """Hashes inside parameters, and spans of other times than created."""
    monthly = {
        id_ for id_, row in truth["prices"].items() if (row["recurring"] or {}).get("interval") == "month"
    }
    assert set(listed(client, "prices", recurring={"interval": "month"})) == monthly != set()
    intent = next(row["payment"]["payment_intent"] for row in truth["invoice_payments"].values())
    found = listed(client, "invoice_payments", payment={"type": "payment_intent", "payment_intent": intent})
    assert {row["payment"]["payment_intent"] for row in found.values()} == {intent}
    arrivals = sorted(row["arrival_date"] for row in truth["payouts"].values())
    middle = arrivals[len(arrivals) // 2]
    wanted = {id_ for id_, row in truth["payouts"].items() if row["arrival_date"] >= middle}
    assert set(listed(client, "payouts", arrival_date={"gte": middle})) == wanted
    price = next(row["items"]["data"][0]["price"]["id"] for row in truth["subscriptions"].values())
    sold = {
        id_
        for id_, row in truth["subscriptions"].items()
        if any(item["price"]["id"] == price for item in row["items"]["data"])
    }
    assert set(listed(client, "subscriptions", price=price, status="all")) == sold


@pytest.mark.parametrize(
    ("kind", "params", "code", "param"),
    [
        ("customers", {"colour": "red"}, "parameter_unknown", "colour"),
        ("payment_methods", {"created": 1}, "parameter_unknown", "created"),
        ("prices", {"recurring": {"colour": "red"}}, "parameter_unknown", "recurring[colour]"),
        ("charges", {"created": {"near": 1}}, "parameter_unknown", "created[near]"),
        ("charges", {"created": "yesterday"}, "parameter_invalid_integer", "created"),
        ("charges", {"customer": "cus_gone"}, "resource_missing", "customer"),
        ("charges", {"starting_after": ""}, "parameter_invalid_empty", "starting_after"),
        ("invoices", {"status": "lost"}, None, "status"),
        ("products", {"active": "perhaps"}, None, "active"),
        ("products", {"ids": "prod_1"}, None, "ids"),
    ],
)
def test_what_a_list_does_not_understand_is_refused(
    client: stripe.StripeClient, kind: str, params: Obj, code: str | None, param: str
) -> None:
    """400 with Stripe's code and the parameter's name; nothing is ignored."""
    with pytest.raises(stripe.InvalidRequestError) as caught:
        getattr(client.v1, kind).list(params)
    assert (caught.value.http_status, caught.value.code, caught.value.param) == (400, code, param)


def test_the_clock_ages_events_out(serve: Any) -> None:
    """What was listed today is gone a month later."""
    with serve(days=2) as account:
        client = account.client()
        newest = client.v1.events.list({"limit": 1}).data[0]
        account.clock.advance(31 * 86_400)
        with pytest.raises(stripe.InvalidRequestError, match="No such event"):
            client.v1.events.retrieve(newest.id)
