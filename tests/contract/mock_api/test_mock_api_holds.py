from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import stripe

if TYPE_CHECKING:
    from tests.contract.mock_api.conftest import Served

DAY = 86_400
OLD = "2025-02-24.acacia"
"""The last version whose requests make a refund of what they let go."""


@pytest.fixture
def client(shop: Served) -> stripe.StripeClient:
    """The official client of an account to write to."""
    return shop.client()


def hold(client: stripe.StripeClient, **fields: Any) -> stripe.PaymentIntent:
    """Ten euros held on a card."""
    card = {"amount": 1000, "currency": "eur", "payment_method": "pm_card_visa", "confirm": True}
    params: Any = {**card, "capture_method": "manual", **fields}
    return client.v1.payment_intents.create(params)


def charge_of(client: stripe.StripeClient, intent: stripe.PaymentIntent) -> stripe.Charge:
    """The charge of an intent as it is now."""
    return client.v1.charges.retrieve(str(intent.latest_charge))


def entries(client: stripe.StripeClient, intent: stripe.PaymentIntent) -> list[tuple[str, int, int]]:
    """What the books hold of a payment and its refunds: category, amount, fee."""
    refunds = client.v1.refunds.list({"payment_intent": intent.id}).data
    found = []
    for source in (str(intent.latest_charge), *(refund.id for refund in refunds)):
        page = client.v1.balance_transactions.list({"source": source})
        found += [(each.reporting_category, each.amount, each.fee) for each in page.data]
    return found


def events_of(client: stripe.StripeClient, number: int) -> list[str]:
    """The types of the newest events, oldest first."""
    return [event.type for event in reversed(client.v1.events.list({"limit": number}).data)]


def test_a_hold_takes_nothing_until_it_is_captured(client: stripe.StripeClient) -> None:
    """The charge has succeeded and is paid, but not captured, and the books know nothing of it."""
    intent = hold(client)
    assert (intent.status, intent.amount_capturable, intent.amount_received) == ("requires_capture", 1000, 0)
    charge = charge_of(client, intent)
    assert (
        charge.status,
        charge.paid,
        charge.captured,
        charge.amount_captured,
        charge.balance_transaction,
    ) == (
        "succeeded",
        True,
        False,
        0,
        None,
    )
    details: Any = charge.payment_method_details
    assert details.card.capture_before == charge.created + 7 * DAY
    assert entries(client, intent) == []
    assert events_of(client, 3) == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.amount_capturable_updated",
    ]
    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.refunds.create({"charge": charge.id})
    assert caught.value.code == "charge_not_refundable"


def test_a_hold_is_captured_once(client: stripe.StripeClient) -> None:
    """In full unless an amount is given; another capture is refused."""
    intent = client.v1.payment_intents.capture(hold(client).id)
    assert (intent.status, intent.amount_capturable, intent.amount_received) == ("succeeded", 0, 1000)
    charge = charge_of(client, intent)
    assert (charge.captured, charge.amount_captured, charge.amount_refunded) == (True, 1000, 0)
    assert entries(client, intent) == [("charge", 1000, 59)]
    assert events_of(client, 2) == ["charge.captured", "payment_intent.succeeded"]
    with pytest.raises(stripe.InvalidRequestError, match="could not be captured") as caught:
        client.v1.payment_intents.capture(intent.id)
    assert caught.value.code == "payment_intent_unexpected_state"


def test_what_a_capture_in_part_leaves_is_no_refund(client: stripe.StripeClient) -> None:
    """The books hold what was captured; no more than that can be refunded."""
    intent = client.v1.payment_intents.capture(hold(client).id, {"amount_to_capture": 600})
    charge = charge_of(client, intent)
    assert (intent.amount_received, charge.amount_captured) == (600, 600)
    assert (charge.amount_refunded, charge.refunded) == (0, False)
    assert client.v1.refunds.list({"charge": charge.id}).data == []
    assert entries(client, intent) == [("charge", 600, 47)]
    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.refunds.create({"charge": charge.id, "amount": 601})
    assert caught.value.code == "amount_too_large"
    client.v1.refunds.create({"charge": charge.id})
    charge = charge_of(client, intent)
    assert (charge.amount_refunded, charge.refunded) == (600, True)


def test_an_old_version_makes_a_refund_of_what_a_capture_leaves(
    shop: Served, client: stripe.StripeClient
) -> None:
    """The whole is credited, and the rest with its fee taken back; what was captured can still be refunded."""
    old = shop.client(stripe_version=OLD)
    intent = old.v1.payment_intents.capture(hold(client).id, {"amount_to_capture": 600})
    charge = charge_of(client, intent)
    assert (charge.amount_captured, charge.amount_refunded, charge.refunded) == (600, 400, False)
    assert entries(client, intent) == [("charge", 1000, 59), ("partial_capture_reversal", -400, -12)]
    (release,) = client.v1.refunds.list({"charge": charge.id}).data
    assert (release.amount, release.status) == (400, "succeeded")
    assert client.v1.balance_transactions.retrieve(str(release.balance_transaction)).source == release.id
    assert events_of(client, 4) == [
        "charge.captured",
        "refund.created",
        "charge.refunded",
        "payment_intent.succeeded",
    ]
    client.v1.refunds.create({"charge": charge.id})
    charge = charge_of(client, intent)
    assert (charge.amount_refunded, charge.refunded) == (1000, True)


def test_an_old_version_makes_no_refund_where_nothing_is_let_go(shop: Served) -> None:
    """A capture in full leaves nothing, and an intent that was never confirmed holds nothing."""
    old = shop.client(stripe_version=OLD)
    intent = old.v1.payment_intents.capture(hold(old).id)
    assert (charge_of(old, intent).amount_refunded, entries(old, intent)) == (0, [("charge", 1000, 59)])
    assert events_of(old, 2) == ["charge.captured", "payment_intent.succeeded"]
    waiting = old.v1.payment_intents.create({"amount": 500, "currency": "eur", "capture_method": "manual"})
    assert old.v1.payment_intents.cancel(waiting.id).status == "canceled"
    assert events_of(old, 1) == ["payment_intent.canceled"]


def test_cancelling_lets_a_hold_go(shop: Served, client: stripe.StripeClient) -> None:
    """Nothing is booked; only a request of an old version makes a refund, which names no transaction."""
    intent = client.v1.payment_intents.cancel(hold(client).id)
    charge = charge_of(client, intent)
    assert (intent.status, intent.amount_capturable) == ("canceled", 0)
    assert (charge.captured, charge.amount_captured, charge.amount_refunded, charge.refunded) == (
        False,
        0,
        0,
        False,
    )
    assert events_of(client, 1) == ["payment_intent.canceled"]
    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.payment_intents.capture(intent.id)
    assert caught.value.code == "payment_intent_unexpected_state"
    intent = shop.client(stripe_version=OLD).v1.payment_intents.cancel(hold(client).id)
    charge = charge_of(client, intent)
    assert (charge.captured, charge.amount_captured, charge.amount_refunded, charge.refunded) == (
        False,
        0,
        1000,
        True,
    )
    (release,) = client.v1.refunds.list({"charge": charge.id}).data
    assert (release.charge, release.amount, release.balance_transaction) == (charge.id, 1000, None)
    assert events_of(client, 3) == ["refund.created", "charge.refunded", "payment_intent.canceled"]
    assert entries(client, intent) == []


def test_a_hold_expires_after_a_week(shop: Served, client: stripe.StripeClient) -> None:
    """Stripe itself cancels the intent, and says why."""
    intent = hold(client)
    shop.clock.advance(7 * DAY - 1)
    assert client.v1.payment_intents.retrieve(intent.id).status == "requires_capture"
    shop.clock.advance(1)
    intent = client.v1.payment_intents.retrieve(intent.id)
    assert (intent.status, intent.cancellation_reason) == ("canceled", "expired")
    assert {"charge.expired", "payment_intent.canceled"} <= set(events_of(client, 10))
    assert charge_of(client, intent).amount_refunded == 0


@pytest.mark.parametrize(
    ("amount", "code"),
    [(1001, "amount_too_large"), (0, "parameter_invalid_integer"), (-1, "parameter_invalid_integer")],
)
def test_only_what_is_held_can_be_captured(client: stripe.StripeClient, amount: int, code: str) -> None:
    """Another amount is refused, and the hold stays."""
    intent = hold(client)
    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.payment_intents.capture(intent.id, {"amount_to_capture": amount})
    assert (caught.value.code, caught.value.param) == (code, "amount_to_capture")
    assert client.v1.payment_intents.capture(intent.id, {"amount_to_capture": 1000}).status == "succeeded"


def test_debits_cannot_be_held(client: stripe.StripeClient) -> None:
    """Neither when the intent is made nor when it is confirmed."""
    debit = client.v1.payment_methods.create(
        {"type": "sepa_debit", "sepa_debit": {"iban": "DE89370400440532013000"}}
    )
    with pytest.raises(stripe.InvalidRequestError) as caught:
        hold(client, payment_method=debit.id)
    assert (caught.value.code, caught.value.param) == (
        "payment_intent_incompatible_payment_method",
        "capture_method",
    )
    intent = client.v1.payment_intents.create({"amount": 500, "currency": "eur", "capture_method": "manual"})
    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.payment_intents.confirm(intent.id, {"payment_method": debit.id})
    assert (caught.value.code, caught.value.param) == (
        "payment_intent_incompatible_payment_method",
        "payment_method",
    )


@pytest.mark.parametrize(
    ("method", "types", "known"),
    [
        ("automatic", ["charge.succeeded", "payment_intent.succeeded"], True),
        ("automatic_async", ["charge.succeeded", "charge.updated", "payment_intent.succeeded"], False),
    ],
)
def test_a_payment_is_captured_at_once(
    client: stripe.StripeClient, method: str, types: list[str], known: bool
) -> None:
    """Synchronously the charge names its transaction from the first, otherwise soon after."""
    intent = hold(client, capture_method=method)
    assert (intent.status, intent.capture_method) == ("succeeded", method)
    assert events_of(client, len(types)) == types
    first = client.v1.events.list({"type": "charge.succeeded"}).data[0].to_dict(for_json=True)
    assert (first["data"]["object"]["balance_transaction"] is not None) is known
