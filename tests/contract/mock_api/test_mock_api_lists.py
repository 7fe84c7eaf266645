from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import pytest
import stripe

if TYPE_CHECKING:
    from tests.contract.mock_api.conftest import Served, Truth

Obj = dict[str, Any]
KINDS = (
    "customers products prices payment_methods subscriptions invoices payment_intents charges "
    "refunds disputes balance_transactions payouts invoice_payments events"
).split()
EVERYTHING: dict[str, Obj] = {"subscriptions": {"status": "all"}}
BACKWARD: dict[str, Obj] = {**EVERYTHING, "events": {"type": "charge.*"}}
NESTED = {"invoices": "lines", "subscriptions": "items"}
MONTH = 30 * 86_400


def service(client: stripe.StripeClient, kind: str) -> Any:
    """The SDK's service of a kind."""
    return getattr(client.v1, kind)


def expected(served: Served, truth: Truth, kind: str) -> dict[str, Obj]:
    """What a list without filters must show, from the truth."""
    living = {id_: obj for id_, obj in truth[kind].items() if "deleted" not in obj}
    if kind != "events":
        return living
    return {id_: obj for id_, obj in living.items() if obj["created"] >= served.clock() - MONTH}


def flat(obj: Obj, kind: str) -> Obj:
    """The object without its nested list, which the API cuts."""
    return {name: value for name, value in obj.items() if name != NESTED.get(kind)}


def raw(client: stripe.StripeClient, path: str, **params: Any) -> Obj:
    """The answer as JSON, for what the SDK hides."""
    answer = client.raw_request("get", path, **params)
    decoded: Obj = client.deserialize(answer, api_mode="V1").to_dict(for_json=True)
    return decoded


@pytest.mark.parametrize("kind", KINDS)
def test_paging_forward_shows_every_object_once_newest_first(
    client: stripe.StripeClient, served: Served, truth: Truth, kind: str
) -> None:
    """Auto-paging with starting_after equals the truth, object by object."""
    rows = [
        row.to_dict(for_json=True)
        for row in service(client, kind).list({"limit": 100, **EVERYTHING.get(kind, {})}).auto_paging_iter()
    ]
    assert [row["created"] for row in rows] == sorted((row["created"] for row in rows), reverse=True)
    wanted = expected(served, truth, kind)
    assert len(rows) == len(wanted) > 0
    if kind == "events":
        assert {row["id"] for row in rows} == set(wanted)
    else:
        assert {row["id"]: flat(row, kind) for row in rows} == {
            id_: flat(obj, kind) for id_, obj in wanted.items()
        }


@pytest.mark.parametrize("kind", KINDS)
def test_paging_backward_shows_the_same_in_reverse(client: stripe.StripeClient, kind: str) -> None:
    """Auto-paging with ending_before from the oldest object meets all newer ones, oldest first."""
    params = {"limit": 100, **BACKWARD.get(kind, {})}
    forward = [row["id"] for row in service(client, kind).list(params).auto_paging_iter()]
    backward = [
        row["id"]
        for row in service(client, kind).list({**params, "ending_before": forward[-1]}).auto_paging_iter()
    ]
    assert backward == forward[-2::-1]


@pytest.mark.parametrize("kind", KINDS)
def test_retrieve_equals_the_truth(
    client: stripe.StripeClient, served: Served, truth: Truth, kind: str
) -> None:
    """Every kind can be retrieved by id."""
    wanted = list(expected(served, truth, kind).values())[-1]
    got = service(client, kind).retrieve(wanted["id"]).to_dict(for_json=True)
    if kind == "events":
        assert (got["id"], got["type"], got["created"]) == (wanted["id"], wanted["type"], wanted["created"])
    else:
        assert flat(got, kind) == flat(wanted, kind)


def test_a_page_holds_ten_objects_by_default(client: stripe.StripeClient) -> None:
    """The envelope names its URL and whether there is more."""
    page = raw(client, "/v1/charges")
    assert (len(page.pop("data")), page) == (10, {"object": "list", "has_more": True, "url": "/v1/charges"})


def test_has_more_speaks_of_the_direction_of_travel(client: stripe.StripeClient, truth: Truth) -> None:
    """The last page on either way says that there is no more, though the other way has."""
    ids = [row["id"] for row in client.v1.charges.list({"limit": 100}).data]
    newer = client.v1.charges.list({"limit": 100, "ending_before": ids[5]})
    assert ([row["id"] for row in newer.data], newer.has_more) == (ids[:5], False)
    nearest = client.v1.charges.list({"limit": 2, "ending_before": ids[5]})
    assert ([row["id"] for row in nearest.data], nearest.has_more) == (ids[3:5], True)
    oldest = min(truth["charges"].values(), key=itemgetter("created"))
    assert client.v1.charges.list({"limit": 1, "starting_after": oldest["id"]}).data == []


@pytest.mark.parametrize("limit", [0, 101, -1])
def test_a_limit_outside_1_to_100_is_refused(client: stripe.StripeClient, limit: int) -> None:
    """The error names the parameter."""
    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.customers.list({"limit": limit})
    assert (caught.value.http_status, caught.value.param) == (400, "limit")


def test_both_cursors_at_once_are_refused(client: stripe.StripeClient) -> None:
    """The cursors exclude each other."""
    ids = [row["id"] for row in client.v1.customers.list({"limit": 2}).data]
    with pytest.raises(stripe.InvalidRequestError, match="only specify one"):
        client.v1.customers.list({"starting_after": ids[0], "ending_before": ids[1]})


@pytest.mark.parametrize("cursor", ["starting_after", "ending_before"])
def test_an_unknown_cursor_is_refused(client: stripe.StripeClient, cursor: str) -> None:
    """Stripe answers 400 resource_missing, naming the cursor and the id."""
    with pytest.raises(stripe.InvalidRequestError, match="No such charge: 'ch_gone'") as caught:
        service(client, "charges").list({cursor: "ch_gone"})
    assert (caught.value.http_status, caught.value.code, caught.value.param) == (
        400,
        "resource_missing",
        cursor,
    )


def test_a_cursor_that_the_list_hides_is_refused(client: stripe.StripeClient, truth: Truth) -> None:
    """A subscription that was cancelled between two pages is such a cursor."""
    canceled = next(row for row in truth["subscriptions"].values() if row["status"] == "canceled")
    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.subscriptions.list({"starting_after": canceled["id"]})
    assert (caught.value.code, caught.value.param) == ("resource_missing", "starting_after")
    assert (
        client.v1.subscriptions.list({"starting_after": canceled["id"], "status": "all"})["object"] == "list"
    )


def test_a_deleted_cursor_is_refused(client: stripe.StripeClient, truth: Truth) -> None:
    """A deleted customer is in no list, so it cannot be a place in one."""
    deleted = next(id_ for id_, row in truth["customers"].items() if "deleted" in row)
    with pytest.raises(stripe.InvalidRequestError, match="No such customer"):
        client.v1.customers.list({"starting_after": deleted})


@pytest.mark.parametrize(
    ("bounds", "holds"),
    [
        ({"gt": 0}, lambda created, at: created > at),
        ({"gte": 0}, lambda created, at: created >= at),
        ({"lt": 0}, lambda created, at: created < at),
        ({"lte": 0}, lambda created, at: created <= at),
        ({"gte": 0, "lt": 86_400}, lambda created, at: at <= created < at + 86_400),
        (0, lambda created, at: created == at),
    ],
)
def test_created_bounds_are_exact_to_the_second(
    client: stripe.StripeClient, truth: Truth, bounds: Any, holds: Callable[[int, int], bool]
) -> None:
    """Each bound is inclusive or exclusive as its name says."""
    times = sorted(row["created"] for row in truth["charges"].values())
    at = times[len(times) // 2]
    created: Any = (
        at + bounds if isinstance(bounds, int) else {name: at + shift for name, shift in bounds.items()}
    )
    rows = list(client.v1.charges.list({"limit": 100, "created": created}).auto_paging_iter())
    wanted = {id_ for id_, row in truth["charges"].items() if holds(row["created"], at)}
    assert {row["id"] for row in rows} == wanted
    assert 0 < len(wanted) < len(times)


def test_events_older_than_thirty_days_are_gone(
    client: stripe.StripeClient, served: Served, truth: Truth
) -> None:
    """They are neither listed nor retrieved, nor places in the list."""
    aged = min(truth["events"].values(), key=itemgetter("created"))
    assert aged["created"] < served.clock() - MONTH
    assert client.v1.events.list({"created": {"lte": aged["created"]}}).data == []
    with pytest.raises(stripe.InvalidRequestError, match="No such event") as caught:
        client.v1.events.retrieve(aged["id"])
    assert caught.value.http_status == 404
    with pytest.raises(stripe.InvalidRequestError, match="aged out of our retention policy"):
        client.v1.events.list({"ending_before": aged["id"]})


def test_nested_lists_show_ten_rows_and_page_on(client: stripe.StripeClient, truth: Truth) -> None:
    """An invoice shows its first ten lines; its own list has them all, in order, both ways."""
    living = (row for row in truth["invoices"].values() if "deleted" not in row)
    longest = max(living, key=lambda row: len(row["lines"]["data"]))
    wanted = [line["id"] for line in longest["lines"]["data"]]
    assert len(wanted) > 10
    invoice = client.v1.invoices.retrieve(longest["id"])
    assert ([line.id for line in invoice.lines.data], invoice.lines.has_more) == (wanted[:10], True)
    assert "total_count" not in invoice.lines
    assert [line.id for line in invoice.lines.auto_paging_iter()] == wanted
    backward = client.v1.invoices.line_items.list(longest["id"], {"limit": 3, "ending_before": wanted[-1]})
    assert [line.id for line in backward.auto_paging_iter()] == wanted[-2::-1]


def test_subscription_items_are_listed_by_subscription_only(
    client: stripe.StripeClient, truth: Truth
) -> None:
    """Without the subscription the list is refused."""
    subscription = next(iter(truth["subscriptions"].values()))
    items = client.v1.subscription_items.list({"subscription": subscription["id"]})
    assert [item.id for item in items.data] == [item["id"] for item in subscription["items"]["data"]]
    with pytest.raises(stripe.InvalidRequestError, match="Missing required param: subscription"):
        raw(client, "/v1/subscription_items")


def test_lists_under_an_object_hold_its_rows(client: stripe.StripeClient, truth: Truth) -> None:
    """A customer's payment methods are those attached to it."""
    method = next(row for row in truth["payment_methods"].values() if row["customer"])
    page = client.v1.customers.payment_methods.list(method["customer"], {"limit": 100})
    wanted = {id_ for id_, row in truth["payment_methods"].items() if row["customer"] == method["customer"]}
    assert {row.id for row in page.data} == wanted
    assert page.url == f"/v1/customers/{method['customer']}/payment_methods"


def test_the_balance_is_the_sum_of_the_ledger(client: stripe.StripeClient, truth: Truth) -> None:
    """Per currency, available and pending together equal the net of all balance transactions."""
    balance = client.v1.balance.retrieve().to_dict(for_json=True)
    sums: dict[str, int] = {}
    for row in truth["balance_transactions"].values():
        sums[row["currency"]] = sums.get(row["currency"], 0) + row["net"]
    told: dict[str, int] = {}
    for part in (*balance["available"], *balance["pending"]):
        told[part["currency"]] = told.get(part["currency"], 0) + part["amount"]
    assert {currency: amount for currency, amount in told.items() if amount} == {
        c: a for c, a in sums.items() if a
    }


def test_the_account_names_its_seed_and_start(client: stripe.StripeClient) -> None:
    """The account says what it was made from."""
    account = client.v1.accounts.retrieve_current()
    assert account.to_dict(for_json=True)["metadata"] == {"seed": "7", "start": "2026-09-01"}
