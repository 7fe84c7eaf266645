"""Writes at will: what changes, which events tell of it, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

import pytest

from mock_api.money import DAY, exchange_rate, half_up, processing_fee, settled
from mock_api.periods import months_later
from mock_api.world import World, WorldError

Obj = dict[str, Any]


@pytest.fixture
def world() -> World:
    """An account without any customers but those a test creates."""
    world = World(seed=1, start=date(2026, 3, 2), customers_per_day=0)
    world.play(world.now + DAY // 2)
    return world


@pytest.fixture
def customer(world: World) -> Obj:
    """A customer with a default card."""
    created = world.create_customer(email="somebody@example.com")
    method = world.create_payment_method()
    world.attach_payment_method(method["id"], created["id"])
    return world.update_customer(created["id"], invoice_settings={"default_payment_method": method["id"]})


def card_of(customer: Obj) -> str:
    """The id of a customer's default payment method."""
    return str(customer["invoice_settings"]["default_payment_method"])


def price(world: World, amount: int, interval: str = "month") -> str:
    """The id of a new recurring price in dollars."""
    product = world.create_product(name="Thing")["id"]
    terms = {"interval": interval}
    return str(world.create_price(product=product, currency="usd", unit_amount=amount, recurring=terms)["id"])


def pay(world: World, customer: Obj, amount: int = 10_000, currency: str = "usd", **fields: Any) -> Obj:
    """A payment with the customer's card."""
    return world.create_payment(
        customer=customer["id"], amount=amount, currency=currency, payment_method=card_of(customer), **fields
    )


def latest_invoice(world: World, subscription: Obj) -> Obj:
    """The invoice that a subscription names as its latest."""
    current = world.get("subscriptions", subscription["id"])
    assert current
    invoice = world.get("invoices", current["latest_invoice"])
    assert invoice
    return invoice


@contextmanager
def emits(world: World, types: str) -> Iterator[None]:
    """The block emits exactly these event types, in this order."""
    before = len(world.rows("events"))
    yield
    assert [event["type"] for event in world.rows("events")[before:]] == types.split()


@pytest.mark.parametrize(
    ("act", "code", "param"),
    [
        (lambda world: world.update_customer("cus_none", name="x"), "resource_missing", "customer"),
        (lambda world: world.create_customer(nmae="x"), "parameter_unknown", "nmae"),
        (lambda world: world.create_product(), "parameter_missing", "name"),
        (lambda world: world.create_price(currency="xxx"), "parameter_invalid", "currency"),
        (lambda world: world.create_refund(), "parameter_missing", "charge"),
        (lambda world: world.create_refund(charge="ch_none"), "resource_missing", "charge"),
        (
            lambda world: world.create_payment_intent(amount=0, currency="usd"),
            "parameter_invalid_integer",
            "amount",
        ),
        (lambda world: world.create_payment_intent(currency="usd"), "parameter_missing", "amount"),
        (lambda world: world.pay_out("gbp"), "balance_insufficient", "amount"),
    ],
)
def test_impossible_requests_are_refused(
    world: World, act: Callable[[World], object], code: str, param: str
) -> None:
    """A refusal carries Stripe's code and parameter, and changes nothing."""
    before = world.truth()
    with pytest.raises(WorldError) as refused:
        act(world)
    assert (refused.value.code, refused.value.param) == (code, param)
    assert world.truth() == before


def test_a_payment_books_its_fee(world: World, customer: Obj) -> None:
    """2.9 % + 30 cents, rounded half up; pending until two midnights later."""
    types = "payment_intent.created charge.succeeded charge.updated payment_intent.succeeded"
    with emits(world, types):
        intent = pay(world, customer, 10_050)
    charge = world.get("charges", intent["latest_charge"])
    assert charge
    txn = world.get("balance_transactions", charge["balance_transaction"])
    assert txn
    assert (txn["amount"], txn["fee"], txn["net"]) == (10_050, 321, 9_729)
    assert world.balance()["usd"] == {"available": 0, "pending": 9_729}
    world.play(txn["available_on"] - 1)
    assert world.balance()["usd"]["pending"] == 9_729
    world.play(txn["available_on"])
    assert world.balance()["usd"] == {"available": 9_729, "pending": 0}


def test_dinars_settle_in_dollars(world: World, customer: Obj) -> None:
    """The amount is converted exactly, by the rate that the transaction names."""
    pay(world, customer, 10_000, "kwd")
    txn = world.rows("balance_transactions")[-1]
    rate = exchange_rate("kwd", world.now)
    assert rate is not None
    assert (txn["currency"], txn["exchange_rate"]) == ("usd", float(rate))
    assert txn["amount"] == half_up(10 * rate * 100)


def test_a_decline_keeps_the_intent_open(world: World, customer: Obj) -> None:
    """A declined intent says why and can be confirmed again: two charges, one payment."""
    with emits(world, "payment_intent.created charge.failed payment_intent.payment_failed"):
        intent = pay(world, customer, decline_code="insufficient_funds")
    assert intent["status"] == "requires_payment_method"
    assert intent["last_payment_error"]["decline_code"] == "insufficient_funds"
    again = world.confirm_payment_intent(intent["id"], payment_method=card_of(customer))
    charges = [charge for charge in world.rows("charges") if charge["payment_intent"] == intent["id"]]
    assert [charge["status"] for charge in charges] == ["failed", "succeeded"]
    assert (again["status"], again["last_payment_error"]) == ("succeeded", None)


def test_stripes_test_cards_decline(world: World) -> None:
    """The card ending in 9995 attaches but has no funds."""
    method = world.create_payment_method(card={"number": "4000000000009995", "cvc": "123"})
    intent = world.create_payment(amount=500, currency="usd", payment_method=method["id"])
    assert intent["last_payment_error"]["decline_code"] == "insufficient_funds"


def test_a_debit_takes_days(world: World) -> None:
    """SEPA: processing first, money three days later, ids of payments instead of charges."""
    method = world.create_payment_method(type="sepa_debit")
    intent = world.create_payment(amount=500, currency="eur", payment_method=method["id"])
    assert intent["status"] == "processing"
    assert intent["latest_charge"].startswith("py_")
    with pytest.raises(WorldError):
        world.create_refund(payment_intent=intent["id"])
    world.play(world.now + 3 * DAY)
    assert (world.get("payment_intents", intent["id"]) or {})["status"] == "succeeded"
    assert world.create_refund(payment_intent=intent["id"])["id"].startswith("pyr_")


def test_refunds_never_exceed_the_charge(world: World, customer: Obj) -> None:
    """Partial refunds add up; more than what is left is refused; a failed refund can be made again."""
    charge = pay(world, customer, 1_000)["latest_charge"]
    with emits(world, "refund.created charge.refunded"):
        part = world.create_refund(charge=charge, amount=400)
    with pytest.raises(WorldError, match="greater than unrefunded amount"):
        world.create_refund(charge=charge, amount=601)
    world.create_refund(charge=charge)
    with pytest.raises(WorldError) as refused:
        world.create_refund(charge=charge)
    assert refused.value.code == "charge_already_refunded"
    with emits(world, "refund.updated charge.refund.updated refund.failed"):
        world.fail_refund(part["id"])
    assert world.create_refund(charge=charge)["amount"] == 400


@pytest.mark.parametrize(("won", "net"), [(True, -1_500), (False, -11_500)])
def test_a_dispute_costs_its_fee_and_a_lost_one_the_amount(
    world: World, customer: Obj, won: bool, net: int
) -> None:
    """Amount and fee are withdrawn at once; winning brings back the amount only."""
    charge = pay(world, customer, 10_000)["latest_charge"]
    before = len(world.rows("balance_transactions"))
    with emits(world, "charge.dispute.created charge.dispute.funds_withdrawn"):
        dispute = world.open_dispute(charge)
    assert world.submit_evidence(dispute["id"])["status"] == "under_review"
    closed = world.close_dispute(dispute["id"], won)
    assert closed["status"] == ("won" if won else "lost")
    assert sum(txn["net"] for txn in world.rows("balance_transactions")[before:]) == net


def test_an_inquiry_moves_no_money(world: World, customer: Obj) -> None:
    """A warning is opened and closed without a transaction."""
    charge = pay(world, customer)["latest_charge"]
    dispute = world.open_dispute(charge, inquiry=True)
    assert world.close_dispute(dispute["id"], True)["status"] == "warning_closed"
    assert (world.get("disputes", dispute["id"]) or {})["balance_transactions"] == []


def test_payouts_empty_the_balance(world: World, customer: Obj) -> None:
    """All that is available is paid out; a failed payout comes back and is paid out with the next one."""
    pay(world, customer, 10_000)
    world.play(world.now + 2 * DAY + DAY // 4)
    first = world.rows("payouts")[-1]
    assert (first["amount"], first["status"]) == (9_680, "in_transit")
    assert world.balance()["usd"]["available"] == 0
    world.payout_failed(first["id"])
    assert world.balance()["usd"]["available"] == first["amount"]
    second = world.pay_out("usd")
    assert second["amount"] == first["amount"]
    assert [txn["type"] for txn in world.payout_transactions(second["id"])] == ["payout", "payout_failure"]


def test_a_subscription_renews_on_the_calendar(world: World, customer: Obj) -> None:
    """Begun on 31 August it renews on 30 September and on 31 October, and charges an hour later."""
    world.play(int(datetime(2026, 8, 31, 9, tzinfo=UTC).timestamp()))
    subscription = world.create_subscription(customer=customer["id"], items=[{"price": price(world, 2_000)}])
    assert subscription["status"] == "active"
    for month, day in ((9, 30), (10, 31)):
        renewal = int(datetime(2026, month, day, 9, tzinfo=UTC).timestamp())
        world.play(renewal)
        assert latest_invoice(world, subscription)["status"] == "draft"
        world.play(renewal + 3600)
        assert latest_invoice(world, subscription)["status"] == "paid"
        assert latest_invoice(world, subscription)["period_start"] == renewal


def test_a_trial_costs_nothing_until_it_ends(world: World, customer: Obj) -> None:
    """The first invoice is zero and paid; the trial's end is announced three days before, then charged."""
    subscription = world.create_subscription(
        customer=customer["id"], items=[{"price": price(world, 2_000)}], trial_days=7
    )
    assert subscription["status"] == "trialing"
    assert latest_invoice(world, subscription)["amount_due"] == 0
    assert world.rows("payment_intents") == []
    world.play(subscription["trial_end"] + 3600)
    assert (world.get("subscriptions", subscription["id"]) or {})["status"] == "active"
    assert latest_invoice(world, subscription)["amount_paid"] == 2_000
    notices = [event for event in world.rows("events") if event["type"].endswith("trial_will_end")]
    assert [event["created"] for event in notices] == [subscription["trial_end"] - 3 * DAY]


def test_an_upgrade_is_prorated(world: World, customer: Obj) -> None:
    """Half a week into a week, the unused half is credited and the dearer half charged at once."""
    cheap, dear = price(world, 1_000, "week"), price(world, 3_000, "week")
    subscription = world.create_subscription(customer=customer["id"], items=[{"price": cheap}])
    world.play(world.now + 7 * DAY // 2)
    world.change_subscription(subscription["id"], price=dear, invoice_now=True)
    invoice = latest_invoice(world, subscription)
    assert [line["amount"] for line in invoice["lines"]["data"]] == [-500, 1_500]
    assert (invoice["billing_reason"], invoice["status"]) == ("subscription_update", "paid")


def test_a_downgrade_becomes_credit(world: World, customer: Obj) -> None:
    """A credit larger than the next invoice waits in the customer's balance and pays the one after."""
    dear, cheap = price(world, 9_000, "week"), price(world, 100, "week")
    subscription = world.create_subscription(customer=customer["id"], items=[{"price": dear}])
    world.change_subscription(subscription["id"], price=cheap)
    world.play(world.now + 7 * DAY + 3600)
    invoice = latest_invoice(world, subscription)
    assert (invoice["total"], invoice["amount_due"], invoice["status"]) == (-8_800, 0, "paid")
    assert (world.get("customers", customer["id"]) or {})["balance"] == -8_800
    world.play(world.now + 7 * DAY)
    invoice = latest_invoice(world, subscription)
    assert (invoice["total"], invoice["amount_due"], invoice["status"]) == (100, 0, "paid")
    assert (invoice["starting_balance"], invoice["ending_balance"]) == (-8_800, -8_700)
    assert (world.get("customers", customer["id"]) or {})["balance"] == -8_700


@pytest.mark.parametrize("recovers", [True, False])
def test_dunning_recovers_or_ends_the_subscription(world: World, customer: Obj, recovers: bool) -> None:
    """A declined renewal is retried after 3, 5 and 7 days; then the subscription is cancelled and the debt written off."""
    subscription = world.create_subscription(customer=customer["id"], items=[{"price": price(world, 500)}])
    world.let_decline(card_of(customer), "insufficient_funds")
    world.play(months_later(world.now, 1) + 3600)
    assert (world.get("subscriptions", subscription["id"]) or {})["status"] == "past_due"
    assert (world.get("customers", customer["id"]) or {})["delinquent"]
    world.play(world.now + 8 * DAY)
    assert latest_invoice(world, subscription)["attempt_count"] == 3
    world.let_decline(card_of(customer), None if recovers else "insufficient_funds")
    world.play(world.now + 7 * DAY)
    current = world.get("subscriptions", subscription["id"]) or {}
    assert current["status"] == ("active" if recovers else "canceled")
    assert latest_invoice(world, subscription)["status"] == ("paid" if recovers else "uncollectible")


def test_a_first_payment_that_fails_expires(world: World, customer: Obj) -> None:
    """An incomplete subscription ends after 23 hours, and its invoice and intent with it."""
    world.let_decline(card_of(customer), "do_not_honor")
    subscription = world.create_subscription(customer=customer["id"], items=[{"price": price(world, 500)}])
    assert subscription["status"] == "incomplete"
    world.play(world.now + 23 * 3600)
    assert (world.get("subscriptions", subscription["id"]) or {})["status"] == "incomplete_expired"
    assert latest_invoice(world, subscription)["status"] == "void"
    assert world.rows("payment_intents")[-1]["status"] == "canceled"
    assert world.rows("invoice_payments")[-1]["status"] == "canceled"


def test_leaving_at_period_end_can_be_undone(world: World, customer: Obj) -> None:
    """Until the period ends the subscription is active; afterwards it is cancelled unless the customer stayed."""
    items = [{"price": price(world, 500)}]
    leaves, stays = (world.create_subscription(customer=customer["id"], items=items) for _ in range(2))
    for subscription in (leaves, stays):
        world.cancel_subscription(subscription["id"], at_period_end=True)
    world.update_subscription(stays["id"], cancel_at_period_end=False)
    assert (world.get("subscriptions", leaves["id"]) or {})["status"] == "active"
    world.play(months_later(world.now, 1))
    assert (world.get("subscriptions", leaves["id"]) or {})["status"] == "canceled"
    assert (world.get("subscriptions", stays["id"]) or {})["status"] == "active"


def test_a_deleted_customer_leaves_a_stub(world: World, customer: Obj) -> None:
    """Subscriptions end, cards are detached, the list forgets the customer and `get` says deleted."""
    world.create_subscription(customer=customer["id"], items=[{"price": price(world, 500)}])
    with emits(world, "customer.subscription.deleted payment_method.detached customer.deleted"):
        stub = world.delete_customer(customer["id"])
    assert (
        stub
        == world.get("customers", customer["id"])
        == {"id": customer["id"], "object": "customer", "deleted": True}
    )
    assert world.rows("customers") == []
    with pytest.raises(WorldError):
        world.update_customer(customer["id"], name="x")


def test_metadata_is_merged(world: World, customer: Obj) -> None:
    """Keys are added and replaced, an empty value removes its key; the event tells the old values."""
    world.update_customer(customer["id"], metadata={"a": "1", "b": "2"})
    updated = world.update_customer(customer["id"], metadata={"a": "", "b": "3"})
    assert updated["metadata"] == {"b": "3"}
    assert world.rows("events")[-1]["data"]["previous_attributes"] == {"metadata": {"a": "1", "b": "2"}}


def test_events_name_the_request_that_caused_them(world: World) -> None:
    """Inside `request` events carry its id and key, outside they carry null."""
    with world.request("req_1", "key-1"):
        world.create_customer()
    world.create_customer()
    requests = [event["request"] for event in world.rows("events")[-2:]]
    assert requests == [{"id": "req_1", "idempotency_key": "key-1"}, {"id": None, "idempotency_key": None}]


@pytest.mark.parametrize(
    ("amount", "currency", "fee"),
    [(1, "usd", 30), (1_000, "usd", 59), (500, "jpy", 45), (10_050, "eur", 321)],
)
def test_fees_are_rounded_half_up(amount: int, currency: str, fee: int) -> None:
    """2.9 % + 30 minor units of the settlement currency."""
    assert processing_fee(amount, currency) == fee


def test_conversion_rounds_half_up_on_both_sides_of_zero() -> None:
    """A refund of a converted amount is exactly the negative of its charge."""
    rate = exchange_rate("kwd", 0)
    assert [settled(sign * 12_345, "kwd", rate) for sign in (1, -1)] == [4_010, -4_010]
