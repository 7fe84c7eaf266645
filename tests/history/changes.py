"""What can happen to an account between, before and during runs: every kind of change, aimed by a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mock_api.shapes import API_VERSION
from mock_api.world import World, WorldError

Obj = dict[str, Any]
Change = Callable[[World, int], object]
CURRENCIES = ("usd", "eur", "jpy", "gbp")


def happen(world: World, name: str, aim: int) -> None:
    """Let the change happen to what `aim` picks; nothing happens where Stripe would refuse or nothing is there."""
    with world.lock:
        try:
            CHANGES[name](world, aim)
        except (WorldError, NobodyThere):
            return


class NobodyThere(Exception):
    """No object is in the state that the change needs."""


def _pick(found: Sequence[Obj], aim: int) -> str:
    if not found:
        raise NobodyThere
    return str(found[aim % len(found)]["id"])


def _one(world: World, kind: str, aim: int, **fields: object) -> str:
    """An object of that kind whose fields have these values (any of them, if a tuple)."""

    def suits(obj: Obj) -> bool:
        return all(
            obj[name] in (value if isinstance(value, tuple) else (value,)) for name, value in fields.items()
        )

    return _pick([obj for obj in world.rows(kind) if suits(obj)], aim)


def _payer(world: World, aim: int) -> tuple[str, str]:
    """A customer and its default payment method; a new one if nobody has any."""
    payers = [each for each in world.rows("customers") if each["invoice_settings"]["default_payment_method"]]
    if not payers:
        return _new_payer(world, aim)
    payer = payers[aim % len(payers)]
    return payer["id"], payer["invoice_settings"]["default_payment_method"]


def _new_payer(world: World, aim: int) -> tuple[str, str]:
    kind = "sepa_debit" if aim % 4 == 3 else "card"
    method = world.create_payment_method(type=kind)["id"]
    customer = world.create_customer(email=f"payer{aim}@example.com", payment_method=method)["id"]
    world.update_customer(customer, invoice_settings={"default_payment_method": method})
    return customer, method


def _pay(world: World, aim: int) -> None:
    customer, method = _payer(world, aim)
    decline = "insufficient_funds" if aim % 5 == 4 else None
    world.create_payment(
        customer=customer,
        amount=1000 + aim % 9000,
        currency=CURRENCIES[aim % len(CURRENCIES)],
        payment_method=method,
        decline_code=decline,
    )


def _hold(world: World, aim: int) -> None:
    card = world.create_payment_method()["id"]
    currency = CURRENCIES[aim % len(CURRENCIES)]
    world.create_payment(
        amount=1000 + aim % 9000, currency=currency, payment_method=card, capture_method="manual"
    )


def _end_hold(world: World, aim: int) -> None:
    """Capture a hold in whole or in part or cancel it, by a request of this API version or of an old one."""
    held = _one(world, "payment_intents", aim, status="requires_capture")
    with world.own_request((API_VERSION, "2025-02-24.acacia")[aim % 2]):
        if aim % 3 == 0:
            world.cancel_payment_intent(held)
        else:
            world.capture_payment_intent(held, amount_to_capture=None if aim % 3 == 1 else 1 + aim % 999)


def _subscribe(world: World, aim: int) -> None:
    customer, _ = _payer(world, aim)
    currency = world.get("customers", customer)
    prices = [
        price
        for price in world.rows("prices")
        if price["recurring"]
        and price["active"]
        and price["currency"] == ((currency or {}).get("currency") or "usd")
    ]
    items = [{"price": _pick(prices, aim), "quantity": 1 + aim % 3}]
    world.create_subscription(customer=customer, items=items, trial_days=7 if aim % 3 == 2 else None)


def _change_plan(world: World, aim: int) -> None:
    subscription = _one(world, "subscriptions", aim, status=("active", "trialing", "past_due"))
    world.change_subscription(subscription, quantity=1 + aim % 5, invoice_now=aim % 2 == 0)


def _draft(world: World, aim: int) -> str:
    customer, _ = _payer(world, aim)
    # More lines than an invoice shows of itself, every third time: the rest must be read from their own list.
    lines = 13 if aim % 3 == 0 else 2
    items = [{"amount": 100 + number, "description": f"Line {number}"} for number in range(lines)]
    return str(world.create_draft_invoice(customer=customer, items=items)["id"])


def _refund(world: World, aim: int) -> None:
    paid = [each for each in world.rows("charges") if each["status"] == "succeeded" and not each["refunded"]]
    charge = _pick(paid, aim)
    world.create_refund(charge=charge, amount=1 + aim % 50 if aim % 2 else None)


def _create_product(world: World, aim: int) -> None:
    product = world.create_product(name=f"Product {aim % 10}")["id"]
    if aim % 2:
        world.create_price(product=product, currency="usd", unit_amount=aim % 5000)


def _switch(world: World, kind: str, aim: int, change: Callable[..., object]) -> None:
    """Archive an active product or price, or bring an archived one back."""
    id = _one(world, kind, aim)
    found = world.get(kind, id)
    assert found is not None
    change(id, active=not found["active"])


def _delete_product(world: World, aim: int) -> None:
    priced = {price["product"] for price in world.rows("prices")}
    world.delete_product(_pick([each for each in world.rows("products") if each["id"] not in priced], aim))


def _void(world: World, aim: int) -> None:
    invoice = _draft(world, aim)
    world.finalize_invoice(invoice)
    world.void_invoice(invoice)


def _write_off(world: World, aim: int) -> None:
    invoice = _draft(world, aim)
    world.finalize_invoice(invoice)
    world.mark_uncollectible(invoice)


def _unattached(world: World, aim: int) -> None:
    world.create_payment_method()
    loose = [each for each in world.rows("payment_methods") if each["customer"] is None]
    world.attach_payment_method(_pick(loose, aim), _one(world, "customers", aim))


CHANGES: Mapping[str, Change] = {
    "a new customer": _new_payer,
    "a payment": _pay,
    "a hold": _hold,
    "a hold is captured or let go": _end_hold,
    "a change of address": lambda world, aim: world.update_customer(
        _one(world, "customers", aim), name=f"Name {aim}", address={"country": ("DE", "US", "FR")[aim % 3]}
    ),
    "a customer is deleted": lambda world, aim: world.delete_customer(_one(world, "customers", aim)),
    "a subscription": _subscribe,
    "a changed plan": _change_plan,
    "a cancellation": lambda world, aim: world.cancel_subscription(
        _one(world, "subscriptions", aim, status=("active", "trialing", "past_due", "incomplete")),
        aim % 2 == 0,
    ),
    "a refund": _refund,
    "a refund fails": lambda world, aim: world.fail_refund(_one(world, "refunds", aim, status="succeeded")),
    "a dispute": lambda world, aim: world.open_dispute(
        _one(world, "charges", aim, status="succeeded", disputed=False), inquiry=aim % 3 == 0
    ),
    "a dispute ends": lambda world, aim: world.close_dispute(
        _one(world, "disputes", aim, status=("needs_response", "warning_needs_response")), won=aim % 2 == 0
    ),
    "a draft invoice": _draft,
    "an invoice is paid": lambda world, aim: world.pay_invoice(
        _one(world, "invoices", aim, status=("draft", "open"))
    ),
    "a draft is deleted": lambda world, aim: world.delete_draft_invoice(
        _one(world, "invoices", aim, status="draft", billing_reason="manual")
    ),
    "a voided invoice": _void,
    "a written-off invoice": _write_off,
    "an unpaid invoice is voided": lambda world, aim: world.void_invoice(
        _one(world, "invoices", aim, status=("open", "uncollectible"))
    ),
    "a note on a charge": lambda world, aim: world.update_charge(
        _one(world, "charges", aim), metadata={"note": str(aim)}
    ),
    "a new product": _create_product,
    "a product is deleted": _delete_product,
    "a product is archived or brought back": lambda world, aim: _switch(
        world, "products", aim, world.update_product
    ),
    "a price is archived or brought back": lambda world, aim: _switch(
        world, "prices", aim, world.update_price
    ),
    "a card is attached": _unattached,
    "a card is detached": lambda world, aim: world.detach_payment_method(
        _pick([each for each in world.rows("payment_methods") if each["customer"]], aim)
    ),
    "a payout": lambda world, aim: world.pay_out(("usd", "eur", "gbp")[aim % 3]),
    "a payout fails": lambda world, aim: world.payout_failed(
        _one(world, "payouts", aim, status="in_transit")
    ),
}
"""What happens, in words → how."""
