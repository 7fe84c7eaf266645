from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
import stripe

from mock_api.faults import Answer, Cut, Drop, Rule
from mock_api.shapes import API_VERSION

if TYPE_CHECKING:
    from tests.contract.mock_api.conftest import Serve, Served, Truth


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("sk_live_abc", "Invalid API Key provided: sk_live_****"),
        ("nonsense", "Invalid API Key provided: ****"),
        ("pk_test_1", "pk_test_****"),
    ],
)
def test_a_key_that_is_no_test_key_is_refused_and_masked(served: Served, key: str, told: str) -> None:
    """401 becomes AuthenticationError, and the message does not repeat the key."""
    with pytest.raises(stripe.AuthenticationError) as caught:
        served.client(key).v1.customers.list()
    assert told in str(caught.value)
    assert caught.value.http_status == 401


def test_a_missing_key_is_refused(served: Served) -> None:
    """Without credentials the answer explains how to give them."""
    answer = httpx.get(f"{served.url}/v1/customers")
    assert (answer.status_code, answer.json()["error"]["type"]) == (401, "invalid_request_error")
    assert "You did not provide an API key" in answer.json()["error"]["message"]


@pytest.mark.parametrize("auth", [("sk_test_mock", ""), ("rk_test_limited", "")])
def test_basic_authentication_takes_the_key_as_user_name(served: Served, auth: tuple[str, str]) -> None:
    """Secret and restricted test keys are accepted."""
    assert httpx.get(f"{served.url}/v1/customers", auth=auth).status_code == 200
    assert httpx.get(f"{served.url}/v1/customers", headers={"Authorization": "Basic %%%"}).status_code == 401


@pytest.mark.parametrize(
    ("kind", "noun"), [("customers", "customer"), ("payment_methods", "PaymentMethod"), ("events", "event")]
)
def test_an_unknown_id_is_404_resource_missing(client: stripe.StripeClient, kind: str, noun: str) -> None:
    """The parameter is the id and the message names the noun."""
    with pytest.raises(stripe.InvalidRequestError, match=f"No such {noun}: 'x_gone'") as caught:
        getattr(client.v1, kind).retrieve("x_gone")
    assert (caught.value.http_status, caught.value.code, caught.value.param) == (
        404,
        "resource_missing",
        "id",
    )
    body: Any = caught.value.json_body
    assert body["error"]["doc_url"] == "https://stripe.com/docs/error-codes/resource-missing"


def test_an_unknown_path_or_method_is_an_unrecognized_url(
    client: stripe.StripeClient, served: Served
) -> None:
    """404 with the method and the path."""
    with pytest.raises(stripe.InvalidRequestError, match=r"Unrecognized request URL \(GET: /v1/unicorns\)"):
        client.raw_request("get", "/v1/unicorns")
    with pytest.raises(stripe.InvalidRequestError, match=r"Unrecognized request URL \(DELETE: /v1/charges\)"):
        client.raw_request("delete", "/v1/charges")
    assert httpx.get(f"{served.url}/favicon.ico").status_code == 404


def test_headers_identify_request_version_and_simulated_time(served: Served) -> None:
    """Request-Id is new each time; the version asked for is echoed, else the pinned one; Date follows the simulated clock."""
    headers = {"Authorization": "Bearer sk_test_mock"}
    first = httpx.get(f"{served.url}/v1/account", headers=headers)
    second = httpx.get(f"{served.url}/v1/account", headers={**headers, "Stripe-Version": "2025-03-31.basil"})
    assert first.headers["Request-Id"].startswith("req_")
    assert first.headers["Request-Id"] != second.headers["Request-Id"]
    assert (first.headers["Stripe-Version"], second.headers["Stripe-Version"]) == (
        API_VERSION,
        "2025-03-31.basil",
    )
    assert first.headers.get_list("date") == ["Tue, 10 Nov 2026 00:00:00 GMT"]
    assert (
        httpx.get(f"{served.url}/v1/account", headers={**headers, "Stripe-Version": "newest"}).status_code
        == 400
    )


def test_a_body_that_is_no_form_is_refused(served: Served) -> None:
    """JSON would be misread as unknown parameters."""
    answer = httpx.post(f"{served.url}/v1/customers", auth=("sk_test_mock", ""), json={"name": "A"})
    assert answer.status_code == 400
    assert "check that your POST content type" in answer.json()["error"]["message"]


def test_answers_are_indented_json(served: Served) -> None:
    """As Stripe's own, so nobody may rely on re-serialised bytes."""
    answer = httpx.get(f"{served.url}/v1/account", auth=("sk_test_mock", ""))
    assert answer.headers["content-type"] == "application/json"
    assert answer.text.startswith('{\n  "id"')


EXPANSIONS = [
    (
        "charges",
        ["customer", "balance_transaction"],
        lambda row: (row.customer.object, row.balance_transaction.object),
    ),
    ("charges", ["refunds"], lambda row: (row.refunds.object, row.refunds.url)),
    (
        "payment_intents",
        ["latest_charge.balance_transaction"],
        lambda row: (row.latest_charge.balance_transaction.object,),
    ),
    (
        "invoices",
        ["parent.subscription_details.subscription"],
        lambda row: (row.parent.subscription_details.subscription.object,),
    ),
    (
        "invoice_payments",
        ["payment.payment_intent.latest_charge"],
        lambda row: (row.payment.payment_intent.latest_charge.object,),
    ),
    ("subscriptions", ["items.data.price.product"], lambda row: (row["items"].data[0].price.product.object,)),
]


@pytest.mark.parametrize(
    ("kind", "paths", "seen"), EXPANSIONS, ids=lambda value: str(value) if isinstance(value, list) else None
)
def test_expand_replaces_ids_by_objects(
    client: stripe.StripeClient, truth: Truth, kind: str, paths: list[str], seen: Any
) -> None:
    """On retrieve by path, dot by dot; lists, hashes and absent collections are walked through."""
    wanted = next(row for row in truth[kind].values() if "deleted" not in row and _expandable(row))
    plain = getattr(client.v1, kind).retrieve(wanted["id"])
    row = getattr(client.v1, kind).retrieve(wanted["id"], {"expand": paths})
    assert all(seen(row))
    assert set(plain.to_dict(for_json=True)) <= set(row.to_dict(for_json=True))


def _expandable(row: dict[str, Any]) -> bool:
    """Whether the nullable references of the expansions above are there."""
    wanted = {"charge": "balance_transaction", "payment_intent": "latest_charge", "invoice": "parent"}
    if row["object"] == "charge" and not row["customer"]:
        return False
    if row["object"] == "invoice" and row["parent"] and not row["parent"]["subscription_details"]:
        return False
    return row["object"] not in wanted or bool(row[wanted[row["object"]]])


def test_expand_on_a_list_begins_with_data(client: stripe.StripeClient) -> None:
    """`data.customer` expands every row; a deleted customer is its stub."""
    rows = client.v1.charges.list({"limit": 100, "expand": ["data.customer"]}).auto_paging_iter()
    customers = [row.customer for row in rows if row.customer]
    assert all(isinstance(customer, stripe.Customer) for customer in customers)
    assert any(isinstance(customer, stripe.Customer) and "deleted" in customer for customer in customers)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("customer", "You may want to try expanding 'data.customer'"),
        ("data.currency", "This property cannot be expanded"),
        ("data.colour", "This property cannot be expanded"),
        ("data.payment_intent.latest_charge.customer.invoice_settings", "more than 4 levels"),
    ],
)
def test_what_cannot_be_expanded_is_refused(client: stripe.StripeClient, path: str, message: str) -> None:
    """400, with Stripe's hint."""
    with pytest.raises(stripe.InvalidRequestError, match=message):
        client.v1.charges.list({"expand": [path]})


def test_event_payloads_cannot_be_expanded(client: stripe.StripeClient) -> None:
    """They were rendered when they happened."""
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        client.v1.events.list({"expand": ["data.data.object"]})


CLASSES: list[tuple[int, type[stripe.StripeError]]] = [
    (400, stripe.InvalidRequestError),
    (401, stripe.AuthenticationError),
    (402, stripe.CardError),
    (403, stripe.PermissionError),
    (404, stripe.InvalidRequestError),
    (409, stripe.APIError),
    (429, stripe.RateLimitError),
    (500, stripe.APIError),
    (503, stripe.APIError),
]


@pytest.mark.parametrize(("status", "kind"), CLASSES)
def test_every_scripted_status_becomes_its_exception(
    serve: Serve, status: int, kind: type[stripe.StripeError]
) -> None:
    """The envelope of a fault is Stripe's own."""
    with serve(rules=(Rule(Answer(status)),)) as account, pytest.raises(kind) as caught:
        account.client().v1.customers.list()
    assert type(caught.value) is kind
    assert caught.value.http_status == status


@pytest.mark.parametrize("action", [Drop(), Cut()])
def test_a_dropped_connection_becomes_a_connection_error(serve: Serve, action: Drop | Cut) -> None:
    """Before the answer or in the middle of it."""
    with serve(rules=(Rule(action),)) as account, pytest.raises(stripe.APIConnectionError):
        account.client().v1.customers.list()


def test_a_rate_limit_answers_429(serve: Serve) -> None:
    """Above the limit the reason is told."""
    with serve(rate_limit=0.01) as account:
        client = account.client()
        client.v1.customers.list()
        with pytest.raises(stripe.RateLimitError) as caught:
            client.v1.customers.list()
        assert caught.value.headers is not None
        assert caught.value.headers["stripe-rate-limited-reason"] == "global-rate"
        assert account.faults.stats()["by_status"] == {"200": 1, "429": 1}
