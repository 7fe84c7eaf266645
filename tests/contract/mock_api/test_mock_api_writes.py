from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import stripe

if TYPE_CHECKING:
    from tests.contract.mock_api.conftest import Served


@pytest.fixture
def client(shop: Served) -> stripe.StripeClient:
    """The official client of an account to write to."""
    return shop.client()


@pytest.fixture
def customer(client: stripe.StripeClient) -> stripe.Customer:
    """A customer who pays by card."""
    made = client.v1.customers.create(
        {"email": "buyer@example.com", "name": "Example Buyer", "metadata": {"tier": "gold"}}
    )
    method = client.v1.payment_methods.create({"type": "card", "card": {"token": "tok_visa"}})
    client.v1.payment_methods.attach(method.id, {"customer": made.id})
    return client.v1.customers.update(made.id, {"invoice_settings": {"default_payment_method": method.id}})


@pytest.fixture
def price(client: stripe.StripeClient) -> stripe.Price:
    """Ten dollars a month."""
    product = client.v1.products.create({"name": "Example Plan"})
    recurring: Any = {"interval": "month"}
    return client.v1.prices.create(
        {"product": product.id, "currency": "usd", "unit_amount": 1000, "recurring": recurring}
    )


def event_types(client: stripe.StripeClient, limit: int) -> set[str]:
    """The types of the newest events."""
    return {event.type for event in client.v1.events.list({"limit": limit}).data}


def test_a_customer_is_created_updated_and_deleted(client: stripe.StripeClient) -> None:
    """Each change is told by an event that names its request; metadata merges; the empty string unsets."""
    made = client.v1.customers.create(
        {"email": "a@example.com", "name": "A", "metadata": {"a": "1", "b": "2"}}
    )
    changed = client.v1.customers.update(
        made.id, {"name": "", "metadata": {"a": "", "c": "3"}}, {"idempotency_key": "k1"}
    )
    assert (changed.name, changed.to_dict(for_json=True)["metadata"]) == (None, {"b": "2", "c": "3"})
    update = client.v1.events.list({"type": "customer.updated", "limit": 1}).data[0].to_dict(for_json=True)
    assert update["request"]["idempotency_key"] == "k1"
    assert update["request"]["id"].startswith("req_")
    assert update["data"]["previous_attributes"]["name"] == "A"
    assert client.v1.customers.update(made.id, {"metadata": ""}).to_dict(for_json=True)["metadata"] == {}
    assert client.v1.customers.delete(made.id).deleted is True
    with pytest.raises(stripe.InvalidRequestError, match="No such customer") as caught:
        client.v1.customers.update(made.id, {"name": "B"})
    assert caught.value.http_status == 404
    assert {"customer.created", "customer.updated", "customer.deleted"} <= event_types(client, 10)


def test_products_and_prices(client: stripe.StripeClient, price: stripe.Price) -> None:
    """A product that has a price cannot be deleted; another is gone for good."""
    assert (price.unit_amount, price.type, price.active) == (1000, "recurring", True)
    assert client.v1.prices.update(price.id, {"active": False}).active is False
    with pytest.raises(stripe.InvalidRequestError, match="cannot be deleted"):
        client.v1.products.delete(str(price.product))
    other = client.v1.products.create({"name": "Unsold"})
    assert client.v1.products.update(other.id, {"active": False}).active is False
    assert client.v1.products.delete(other.id).deleted is True
    with pytest.raises(stripe.InvalidRequestError, match="No such product"):
        client.v1.products.retrieve(other.id)


def test_payment_methods_are_attached_and_detached(
    client: stripe.StripeClient, customer: stripe.Customer
) -> None:
    """Test tokens and test payment methods stand for test cards."""
    method = client.v1.payment_methods.attach("pm_card_mastercard", {"customer": customer.id})
    assert method.card is not None
    assert (method.card.brand, method.card.last4, method.customer) == ("mastercard", "4444", customer.id)
    assert client.v1.payment_methods.detach(method.id).customer is None
    with pytest.raises(stripe.InvalidRequestError, match="No such token") as caught:
        client.v1.payment_methods.create({"type": "card", "card": {"token": "tok_gold"}})
    assert caught.value.param == "card[token]"


def test_a_subscription_is_created_changed_and_cancelled(
    client: stripe.StripeClient, customer: stripe.Customer, price: stripe.Price
) -> None:
    """The first invoice is paid by the default card, through an invoice payment."""
    made = client.v1.subscriptions.create(
        {
            "customer": customer.id,
            "items": [{"price": price.id, "quantity": 2}],
            "expand": ["latest_invoice.payments"],
        }
    )
    invoice: Any = made.latest_invoice
    assert (made.status, invoice.status, invoice.amount_paid, len(invoice.payments.data)) == (
        "active",
        "paid",
        2000,
        1,
    )
    item = made["items"].data[0]
    changed = client.v1.subscriptions.update(made.id, {"items": [{"id": item.id, "quantity": 3}]})
    assert changed["items"].data[0].quantity == 3
    with pytest.raises(stripe.InvalidRequestError, match="Only the first item"):
        client.v1.subscriptions.update(made.id, {"items": [{"price": price.id}]})
    assert (
        client.v1.subscriptions.update(made.id, {"cancel_at_period_end": True}).cancel_at_period_end is True
    )
    assert client.v1.subscriptions.cancel(made.id).status == "canceled"
    assert {"customer.subscription.created", "invoice.paid", "customer.subscription.deleted"} <= event_types(
        client, 50
    )


def test_a_trial_starts_without_payment(
    client: stripe.StripeClient, customer: stripe.Customer, price: stripe.Price
) -> None:
    """The trial's invoice is for nothing."""
    made = client.v1.subscriptions.create(
        {"customer": customer.id, "items": [{"price": price.id}], "trial_period_days": 7}
    )
    assert (made.status, made.trial_end) == ("trialing", made.created + 7 * 86_400)


def test_a_payment_is_made_and_refunded(client: stripe.StripeClient, customer: stripe.Customer) -> None:
    """Refunds never exceed what was paid."""
    intent = client.v1.payment_intents.create(
        {
            "amount": 500,
            "currency": "usd",
            "customer": customer.id,
            "payment_method": "pm_card_visa",
            "confirm": True,
        }
    )
    assert (intent.status, intent.amount_received) == ("succeeded", 500)
    refund = client.v1.refunds.create(
        {"payment_intent": intent.id, "amount": 200, "reason": "requested_by_customer"}
    )
    assert (refund.status, refund.charge) == ("succeeded", intent.latest_charge)
    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.refunds.create({"charge": str(intent.latest_charge), "amount": 301})
    assert (caught.value.code, caught.value.param) == ("amount_too_large", "amount")
    client.v1.refunds.create({"charge": str(intent.latest_charge)})
    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.refunds.create({"charge": str(intent.latest_charge)})
    assert caught.value.code == "charge_already_refunded"


def test_a_declined_payment_is_a_card_error(client: stripe.StripeClient, customer: stripe.Customer) -> None:
    """402 with the decline code and the intent, which waits for another card and can then succeed."""
    with pytest.raises(stripe.CardError) as caught:
        client.v1.payment_intents.create(
            {
                "amount": 500,
                "currency": "usd",
                "customer": customer.id,
                "payment_method": "pm_card_chargeDeclinedInsufficientFunds",
                "confirm": True,
            }
        )
    error: Any = caught.value.json_body
    assert (caught.value.http_status, caught.value.code) == (402, "card_declined")
    assert error["error"]["decline_code"] == "insufficient_funds"
    intent = client.v1.payment_intents.retrieve(error["error"]["payment_intent"]["id"])
    assert intent.status == "requires_payment_method"
    assert (
        client.v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"}).status == "succeeded"
    )


def test_an_intent_can_be_cancelled_once(client: stripe.StripeClient) -> None:
    """A cancelled intent cannot be confirmed any more."""
    intent = client.v1.payment_intents.create({"amount": 500, "currency": "eur"})
    assert client.v1.payment_intents.cancel(intent.id).status == "canceled"
    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})
    assert caught.value.code == "payment_intent_unexpected_state"


def test_invoices_are_paid_and_voided(
    shop: Served, client: stripe.StripeClient, customer: stripe.Customer
) -> None:
    """A card that declines leaves the invoice open; another one pays it; a paid one cannot be voided."""
    with shop.world.lock:
        drafts = [
            shop.world.create_draft_invoice(
                customer=customer.id, items=[{"amount": 700, "description": "Setup"}]
            )["id"]
            for _ in range(2)
        ]
    bad = client.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": customer.id})
    with pytest.raises(stripe.CardError) as caught:
        client.v1.invoices.pay(drafts[0], {"payment_method": bad.id})
    assert caught.value.code == "card_declined"
    assert client.v1.invoices.retrieve(drafts[0]).status == "open"
    assert client.v1.invoices.pay(drafts[0]).status == "paid"
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.invoices.void_invoice(drafts[0])
    with shop.world.lock:
        shop.world.finalize_invoice(drafts[1])
    assert client.v1.invoices.void_invoice(drafts[1]).status == "void"


def test_a_repeated_idempotency_key_replays_the_first_answer(client: stripe.StripeClient) -> None:
    """Nothing happens twice, and the replay says so."""
    first = client.v1.customers.create({"name": "Once"}, {"idempotency_key": "key-1"})
    again = client.v1.customers.create({"name": "Once"}, {"idempotency_key": "key-1"})
    assert again.id == first.id
    assert first.last_response is not None
    assert again.last_response is not None
    headers: Any = again.last_response.headers
    assert headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.last_response.headers
    assert headers["original-request"] == first.last_response.request_id


def test_a_key_used_for_something_else_is_refused(client: stripe.StripeClient) -> None:
    """Other parameters or another endpoint are an IdempotencyError."""
    client.v1.customers.create({"name": "Once"}, {"idempotency_key": "key-1"})
    with pytest.raises(stripe.IdempotencyError, match="same parameters"):
        client.v1.customers.create({"name": "Twice"}, {"idempotency_key": "key-1"})
    with pytest.raises(stripe.IdempotencyError, match="same endpoint"):
        client.v1.products.create({"name": "Once"}, {"idempotency_key": "key-1"})


def test_failed_validation_does_not_use_the_key_up(client: stripe.StripeClient) -> None:
    """The corrected request may use the same key; a decline however is a result and is replayed."""
    with pytest.raises(stripe.InvalidRequestError, match="Missing required param: name"):
        client.v1.products.create({}, {"idempotency_key": "key-2"})  # type: ignore[typeddict-item]  # that is the mistake
    assert client.v1.products.create({"name": "Right"}, {"idempotency_key": "key-2"}).name == "Right"
    payment: Any = {
        "amount": 500,
        "currency": "usd",
        "payment_method": "pm_card_chargeDeclined",
        "confirm": True,
    }
    charges = set()
    for _ in range(2):
        with pytest.raises(stripe.CardError) as caught:
            client.v1.payment_intents.create(payment, {"idempotency_key": "key-3"})
        body: Any = caught.value.json_body
        charges.add(body["error"]["charge"])
    assert len(charges) == 1


def test_keys_are_forgotten_after_a_day(shop: Served, client: stripe.StripeClient) -> None:
    """A day later the key executes anew; a key has at most 255 characters."""
    first = client.v1.customers.create({"name": "Once"}, {"idempotency_key": "key-1"})
    shop.clock.advance(86_400)
    assert client.v1.customers.create({"name": "Once"}, {"idempotency_key": "key-1"}).id != first.id
    with pytest.raises(stripe.InvalidRequestError, match="at most 255"):
        client.v1.customers.create({"name": "Long"}, {"idempotency_key": "k" * 256})


@pytest.mark.parametrize(
    ("path", "params", "code", "param"),
    [
        ("/v1/customers", {"colour": "red"}, "parameter_unknown", "colour"),
        ("/v1/customers", {"address": {"planet": "Mars"}}, "parameter_unknown", "address[planet]"),
        ("/v1/customers", {"balance": "much"}, "parameter_invalid_integer", "balance"),
        ("/v1/subscriptions", {"items": [{"price": "price_gone"}]}, "parameter_missing", "customer"),
        ("/v1/prices", {"unit_amount": "1"}, "parameter_missing", "currency"),
        ("/v1/payment_intents", {"amount": "100000000", "currency": "usd"}, "amount_too_large", "amount"),
        ("/v1/refunds", {}, "parameter_missing", "charge"),
        ("/v1/refunds", {"charge": "ch_gone"}, "resource_missing", "charge"),
        ("/v1/payment_methods/pm_gone/attach", {"customer": "cus_gone"}, "resource_missing", "id"),
    ],
)
def test_what_a_write_does_not_understand_is_refused(
    client: stripe.StripeClient, path: str, params: dict[str, Any], code: str, param: str
) -> None:
    """Nothing is ignored, and nothing is written."""
    before = client.v1.events.list({"limit": 1}).data[0].id
    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.raw_request("post", path, **params)
    assert (caught.value.code, caught.value.param) == (code, param)
    assert client.v1.events.list({"limit": 1}).data[0].id == before
