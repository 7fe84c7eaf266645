"""What holds in every simulated world, at every second, whatever was done to it."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime
from random import Random
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mock_api.money import DAY, SETTLES_IN
from mock_api.shapes import API_VERSION
from mock_api.world import KINDS, World, WorldError

Obj = dict[str, Any]

START = date(2026, 1, 29)  # a short month follows
MIDNIGHT = int(datetime(2026, 1, 29, tzinfo=UTC).timestamp())
ID = re.compile(r"(?:cus|prod|price|pm|sub|in|pi|ch|py|re|pyr|du|txn|po|inpay|evt)_[A-Za-z0-9]{24}")
WITHOUT_EVENTS = ("balance_transactions", "events")

small = settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # a seed and a list of writes say it all; shrinking a world takes minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
seeds = st.integers(0, 10_000)
seconds = st.integers(MIDNIGHT - DAY, MIDNIGHT + 40 * DAY)


def played(seed: int, *stops: int, customers_per_day: int = 3) -> World:
    """A world that was played to each of `stops` in turn."""
    world = World(seed=seed, start=START, customers_per_day=customers_per_day)
    for stop in stops:
        world.play(stop)
    return world


def text(value: object) -> str:
    """Exact bytes of a value, key order included."""
    return json.dumps(value)


# Invariants, each a function that asserts it


def ledger_adds_up(world: World) -> None:
    """net = amount − fee, fee = Σ fee_details, and per currency Σ net = the balance, split by status."""
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    for txn in world.rows("balance_transactions"):
        assert txn["net"] == txn["amount"] - txn["fee"]
        assert txn["fee"] == sum(detail["amount"] for detail in txn["fee_details"])
        assert all(detail["currency"] == txn["currency"] for detail in txn["fee_details"])
        sums[txn["currency"]][txn["status"]] += txn["net"]
        assert txn["status"] == ("available" if txn["available_on"] <= world.now else "pending")
    for currency, parts in world.balance().items():
        assert parts == {"available": sums[currency]["available"], "pending": sums[currency]["pending"]}


def payouts_pay_their_transactions(world: World) -> None:
    """A payout is the sum of what it pays out, no transaction is paid out twice, and a failure comes back."""
    seen: Counter[str] = Counter()
    by_id = {txn["id"]: txn for txn in world.rows("balance_transactions")}
    for payout in world.rows("payouts"):
        own, *paid = world.payout_transactions(payout["id"])
        assert own["id"] == payout["balance_transaction"]
        assert own["net"] == -payout["amount"]
        assert payout["amount"] == sum(txn["net"] for txn in paid) > 0
        assert all(txn["status"] == "available" and txn["currency"] == payout["currency"] for txn in paid)
        seen.update(txn["id"] for txn in paid)
        assert (payout["status"] == "failed") == (payout["failure_balance_transaction"] is not None)
        if payout["status"] == "failed":
            assert by_id[payout["failure_balance_transaction"]]["net"] == payout["amount"]
    assert not seen or max(seen.values()) == 1


def money_moves_are_booked(world: World) -> None:
    """Charges, refunds and disputes each have the transactions that their state asks for, and only those."""
    booked = Counter(
        (txn["source"], txn["type"]) for txn in world.rows("balance_transactions") if txn["source"]
    )
    assert not booked or max(booked[key] for key in booked if key[1] != "adjustment") == 1
    refunded: Counter[str] = Counter()
    released = Counter(refund["charge"] for refund in world.rows("refunds") if is_release(world, refund))
    for refund in world.rows("refunds"):
        assert is_release(world, refund) or world.get("balance_transactions", refund["balance_transaction"])
        failed = refund["status"] == "failed"
        assert (
            (booked[refund["id"], "refund_failure"] == 1)
            == failed
            == ("failure_balance_transaction" in refund)
        )
        refunded[refund["charge"]] += 0 if failed else refund["amount"]
    for charge in world.rows("charges"):
        taken = charge["status"] == "succeeded" and charge["captured"]
        assert taken == (charge["balance_transaction"] is not None)
        # What was let go counts as refunded only where a request of an old version let it go.
        let_go = released[charge["id"]] * (charge["amount"] - charge["amount_captured"])
        assert charge["amount_refunded"] == refunded[charge["id"]] <= charge["amount_captured"] + let_go
        assert charge["refunded"] == (0 < charge["amount_refunded"] == charge["amount_captured"] + let_go)
        txn = world.get("balance_transactions", charge["balance_transaction"] or "")
        if txn and SETTLES_IN[charge["currency"]] == charge["currency"]:
            assert (txn["amount"], txn["currency"], txn["source"]) == (
                charge["amount_captured"] + let_go,
                charge["currency"],
                charge["id"],
            )
    for dispute in world.rows("disputes"):
        moves = {"won": 2, "warning_needs_response": 0, "warning_under_review": 0, "warning_closed": 0}
        assert len(dispute["balance_transactions"]) == moves.get(dispute["status"], 1)
        assert all(
            txn == world.get("balance_transactions", txn["id"]) for txn in dispute["balance_transactions"]
        )


def is_release(world: World, refund: Obj) -> bool:
    """Whether a refund is of what was authorized and never captured."""
    booked = world.get("balance_transactions", refund["balance_transaction"] or "")
    return booked is None or bool(booked["reporting_category"] == "partial_capture_reversal")


def holds_are_kept_or_let_go(world: World) -> None:
    """Only what can still be captured is held, for a week at most; what was not captured has no transaction."""
    for intent in world.rows("payment_intents"):
        held = intent["status"] == "requires_capture"
        assert intent["amount_capturable"] == (intent["amount"] if held else 0)
        charge = world.get("charges", intent["latest_charge"] or "")
        assert intent["amount_received"] == (
            charge["amount_captured"] if charge and intent["status"] == "succeeded" else 0
        )
        if held:
            assert charge
            assert charge["captured"] is False
            assert charge["payment_method_details"]["card"]["capture_before"] > world.now


def invoices_add_up(world: World) -> None:
    """Lines sum to the total, credit is used first, paid plus remaining is what was due, and payments agree."""
    paid = {}
    for payment in world.rows("invoice_payments"):
        intent = world.get("payment_intents", payment["payment"]["payment_intent"])
        invoice = world.get("invoices", payment["invoice"])
        assert intent
        assert invoice
        assert payment["amount_requested"] == intent["amount"] == invoice["amount_due"]
        assert (
            (payment["status"] == "paid")
            == (intent["status"] == "succeeded")
            == (invoice["status"] == "paid")
        )
        paid[payment["invoice"]] = payment["status"]
    for invoice in world.rows("invoices"):
        assert (
            sum(line["amount"] for line in invoice["lines"]["data"])
            == invoice["total"]
            == invoice["subtotal"]
        )
        assert invoice["amount_paid"] + invoice["amount_remaining"] == invoice["amount_due"]
        assert (invoice["id"] in paid) == (invoice["amount_due"] > 0 and invoice["status"] != "draft")
        if invoice["status"] != "draft":
            owed = invoice["total"] + invoice["starting_balance"]
            assert (invoice["amount_due"], invoice["ending_balance"]) == (max(owed, 0), min(owed, 0))
        if invoice["amount_due"] == 0:
            assert invoice["status"] in ("draft", "paid")


def subscriptions_are_current(world: World) -> None:
    """A live subscription is inside its period; an ended one says when; the latest invoice is its own."""
    for subscription in world.rows("subscriptions"):
        live = subscription["status"] in ("active", "trialing", "past_due")
        assert live == (subscription["ended_at"] is None) or subscription["status"] == "incomplete"
        for item in subscription["items"]["data"]:
            assert item["subscription"] == subscription["id"]
            assert not live or item["current_period_start"] <= world.now < item["current_period_end"]
        invoice = world.get("invoices", subscription["latest_invoice"])
        assert invoice
        assert invoice["parent"]["subscription_details"]["subscription"] == subscription["id"]


def strings(value: Any) -> Iterator[str]:
    """Every string inside a value, metadata aside."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for element in value:
            yield from strings(element)
    elif isinstance(value, dict):
        for name, element in value.items():
            if name != "metadata":
                yield from strings(element)


def references_resolve(world: World) -> None:
    """Every id that any object or event mentions is the id of something."""
    truth = world.truth()
    known = {id for objects in truth.values() for id in objects}
    mentioned = {word for word in strings(list(truth.values())) if ID.fullmatch(word)}
    assert mentioned <= known


def events_tell_the_truth(world: World) -> None:
    """The last snapshot of every object is its present state; a deleted one's last event says so."""
    last: dict[str, Obj] = {}
    for event in world.rows("events"):
        assert ("previous_attributes" in event["data"]) == event["type"].endswith(".updated") or event[
            "type"
        ] in (
            "charge.refund.updated",
            "charge.dispute.updated",
        )
        last[event["data"]["object"]["id"]] = event
    for kind, objects in world.truth().items():
        for id, current in objects.items():
            if kind in WITHOUT_EVENTS or unannounced(kind, current):
                continue
            if current.get("deleted"):
                assert last[id]["type"].endswith(".deleted")
            else:
                assert announced(kind, last[id]["data"]["object"]) == announced(kind, current)


def announced(kind: str, current: Obj) -> Obj:
    """The object without what a dispute, or a refund that fails, changes of its charge: only their own events tell."""
    silent = {"amount_refunded", "disputed", "refunded"} if kind == "charges" else set()
    return {key: value for key, value in current.items() if key not in silent}


def unannounced(kind: str, current: Obj) -> bool:
    """Stripe has no event for a payment method never attached, nor for an invoice payment not (or no longer) due."""
    if kind == "payment_methods":
        return bool(current["customer"] is None)
    return kind == "invoice_payments" and current["status"] != "paid"


def rows_are_in_order(world: World) -> None:
    """Rows come in creation order, agree with `get`, and hold no deleted object."""
    truth = world.truth()
    for kind in KINDS:
        rows = world.rows(kind)
        created = [row["created"] for row in rows]
        assert created == sorted(created)
        assert all(0 < second <= world.now for second in created)
        assert all(world.get(kind, row["id"]) is row for row in rows)
        living = {id for id, obj in truth[kind].items() if not obj.get("deleted")}
        assert living == {row["id"] for row in rows}


INVARIANTS: tuple[Callable[[World], None], ...] = (
    ledger_adds_up,
    payouts_pay_their_transactions,
    money_moves_are_booked,
    holds_are_kept_or_let_go,
    invoices_add_up,
    subscriptions_are_current,
    references_resolve,
    events_tell_the_truth,
    rows_are_in_order,
)


@small
@given(seed=seeds, until=seconds)
def test_invariants_hold_at_any_second(seed: int, until: int) -> None:
    """Books, references, events and order are right wherever the clock is stopped."""
    world = played(seed, until)
    for invariant in INVARIANTS:
        invariant(world)


@small
@given(seed=seeds, stops=st.lists(seconds, max_size=6), until=seconds)
def test_steps_do_not_matter(seed: int, stops: list[int], until: int) -> None:
    """However the way was divided, also with steps back, the same second shows the same bytes."""
    at_once = played(seed, max([until, *stops]))
    assert text(played(seed, *stops, until).truth()) == text(at_once.truth())


@small
@given(seed=seeds, first=seconds, second=seconds)
def test_history_does_not_change(seed: int, first: int, second: int) -> None:
    """Events and objects once seen stay as they were; later events only come after them."""
    world = played(seed, min(first, second))
    seen = {kind: list(world.rows(kind)) for kind in KINDS}
    before = text(seen)
    world.play(max(first, second))
    assert text(seen) == before
    assert list(world.rows("events"))[: len(seen["events"])] == seen["events"]


@small
@given(seed=seeds, until=seconds)
def test_a_longer_world_has_the_same_customers(seed: int, until: int) -> None:
    """A customer's id depends on the seed and its day of birth, neither on the start nor on how many others there are."""
    long = World(seed=seed, start=date(2026, 1, 10), customers_per_day=5)
    long.play(until)
    born = {row["id"]: row for row in long.rows("customers")}
    for customer in played(seed, until).rows("customers"):
        assert born[customer["id"]]["name"] == customer["name"]
        assert born[customer["id"]]["created"] == customer["created"]


WRITES: tuple[Callable[[World, Random], object], ...] = (
    lambda world, dice: world.delete_customer(some(world, "customers", dice)),
    lambda world, dice: world.update_customer(some(world, "customers", dice), metadata={"k": "v"}),
    lambda world, dice: world.detach_payment_method(some(world, "payment_methods", dice)),
    lambda world, dice: world.cancel_subscription(some(world, "subscriptions", dice), dice.random() < 0.5),
    lambda world, dice: world.renew_subscription(some(world, "subscriptions", dice)),
    lambda world, dice: world.change_subscription(
        some(world, "subscriptions", dice), quantity=dice.randint(1, 9), invoice_now=dice.random() < 0.5
    ),
    lambda world, dice: world.pay_invoice(
        some(world, "invoices", dice), decline_code=dice.choice([None, "lost_card"])
    ),
    lambda world, dice: world.void_invoice(some(world, "invoices", dice)),
    lambda world, dice: world.mark_uncollectible(some(world, "invoices", dice)),
    lambda world, dice: world.delete_draft_invoice(some(world, "invoices", dice)),
    lambda world, dice: world.confirm_payment_intent(some(world, "payment_intents", dice)),
    lambda world, dice: world.cancel_payment_intent(some(world, "payment_intents", dice)),
    lambda world, dice: world.create_payment(
        amount=dice.randint(1, 9_000),
        currency=dice.choice(["usd", "eur", "jpy", "kwd"]),
        payment_method=some(world, "payment_methods", dice),
        customer=some(world, "customers", dice) if dice.random() < 0.2 else None,
        capture_method=dice.choice(["automatic", "manual", "manual"]),
    ),
    lambda world, dice: of_any_version(
        world, dice, world.capture_payment_intent, amount_to_capture=dice.choice([None, 1, 500])
    ),
    lambda world, dice: of_any_version(world, dice, world.cancel_payment_intent),
    lambda world, dice: world.create_refund(
        charge=some(world, "charges", dice), amount=dice.choice([None, 1])
    ),
    lambda world, dice: world.fail_refund(some(world, "refunds", dice)),
    lambda world, dice: world.open_dispute(some(world, "charges", dice), inquiry=dice.random() < 0.3),
    lambda world, dice: world.submit_evidence(some(world, "disputes", dice)),
    lambda world, dice: world.close_dispute(some(world, "disputes", dice), dice.random() < 0.5),
    lambda world, dice: world.pay_out(dice.choice(["usd", "eur", "gbp", "jpy"])),
    lambda world, dice: world.payout_failed(some(world, "payouts", dice)),
    lambda world, dice: world.payout_paid(some(world, "payouts", dice)),
    lambda world, dice: world.settle_balance(),
    lambda world, dice: world.delete_product(some(world, "products", dice)),
    lambda world, dice: world.update_price(some(world, "prices", dice), active=False),
)


def of_any_version(world: World, dice: Random, act: Callable[..., object], **fields: object) -> None:
    """End a hold, by a request of this version or of one that makes a refund of what is let go."""
    held = [row["id"] for row in world.rows("payment_intents") if row["status"] == "requires_capture"]
    with world.own_request(dice.choice([API_VERSION, "2025-02-24.acacia"])):
        act(dice.choice(held) if held else "none", **fields)


def some(world: World, kind: str, dice: Random) -> str:
    """The id of some living object, or one that does not exist."""
    rows = world.rows(kind)
    return str(dice.choice(rows)["id"]) if rows else "none"


@small
@given(seed=seeds, writes=st.lists(st.integers(0, len(WRITES) - 1), min_size=60, max_size=120))
def test_invariants_survive_any_writes(seed: int, writes: list[int]) -> None:
    """Writes at will, refused or not, leave a world whose books, references and events are right."""
    world, dice = played(seed, MIDNIGHT + 12 * DAY), Random(seed)
    for write in writes:
        with suppress(WorldError):
            WRITES[write](world, dice)
        world.play(world.now + dice.randrange(DAY // 2))
    for invariant in INVARIANTS:
        invariant(world)
