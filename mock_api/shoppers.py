"""Customers who pay now and then: one-off payments and manual invoices."""

from __future__ import annotations

from functools import partial
from typing import Any

from mock_api.aftermath import follow_up
from mock_api.lives import Life
from mock_api.shapes import Obj

DECLINE_CODES = (
    ("generic_decline", 30),
    ("insufficient_funds", 35),
    ("do_not_honor", 15),
    ("expired_card", 6),
    ("incorrect_cvc", 6),
    ("lost_card", 3),
    ("fraudulent", 5),
)
UNITS = {"usd": 100, "eur": 100, "gbp": 100, "jpy": 150, "kwd": 300}
"""About one dollar, in minor units."""

ENDINGS = ("pay", "send", "void", "write_off", "keep", "delete")
ENDING_WEIGHTS = (45, 25, 9, 9, 6, 6)


def decline_code(life: Life) -> str:
    """A real decline code, in realistic shares."""
    codes, weights = zip(*DECLINE_CODES, strict=True)
    return str(life.dice.choices(codes, weights)[0])


def shop(life: Life) -> None:
    """One to five purchases over the coming weeks."""
    for number in range(life.dice.choices([1, 2, 3, 5], [50, 25, 15, 10])[0]):
        life.later(number * life.dice.uniform(3, 25), partial(_purchase, life))


def _purchase(life: Life) -> None:
    amount = life.dice.randint(5, 400) * UNITS[life.currency] + life.dice.choice([0, 0, 50, 90])
    order = {"order_id": f"order-{life.name}-{life.dice.randrange(10_000)}"}
    method = life.method if life.chance(0.93) else None
    intent = life.ask(
        life.business.create_payment_intent,
        amount=amount,
        currency=life.currency,
        customer=life.customer,
        payment_method=method,
        description="Order",
        metadata=order,
    )
    if method is None:
        _hesitate(life, intent["id"])
    elif life.chance(0.05):
        life.ask(life.business.confirm_payment_intent, intent["id"], challenge=True)
        _hesitate(life, intent["id"])
    else:
        _try_to_pay(life, intent["id"], attempts=0)


def _hesitate(life: Life, intent: str) -> None:
    """An intent that waits for its customer: some pay in the end, some cancel, some are forgotten."""
    fate = life.dice.random()
    if fate < 0.35:
        life.later(life.dice.uniform(0, 1), partial(_try_to_pay, life, intent, attempts=0))
    elif fate < 0.65:
        cancel = partial(life.business.cancel_payment_intent, intent, cancellation_reason="abandoned")
        life.later(life.dice.uniform(0.5, 3), partial(life.ask, cancel))


def _try_to_pay(life: Life, intent: str, *, attempts: int) -> None:
    """Confirm; a declined customer tries again up to three times, perhaps with a new card."""
    code = decline_code(life) if life.chance(0.12 if attempts == 0 else 0.45) else None
    confirm = life.business.confirm_payment_intent
    paid = life.ask(confirm, intent, payment_method=life.method, decline_code=code)
    if paid["status"] in ("succeeded", "processing"):
        follow_up(life, paid["latest_charge"])
    elif attempts < 3 and life.chance(0.75):
        if life.chance(0.3):
            life.method = life.add_method()
        life.later(life.dice.choice([0, 0.1, 1]), partial(_try_to_pay, life, intent, attempts=attempts + 1))


def buy_on_account(life: Life) -> None:
    """Projects billed by manual invoices."""
    for number in range(life.dice.randint(1, 3)):
        life.later(number * life.dice.uniform(8, 30), partial(_invoice, life))


def _invoice(life: Life) -> None:
    many = life.chance(0.25)
    count = life.dice.randint(11, 26) if many else life.dice.randint(1, 4)
    items: list[dict[str, Any]] = [
        {"amount": life.dice.randint(10, 900) * 10, "description": f"Consulting, part {number + 1}"}
        for number in range(count)
    ]
    if life.chance(0.4):
        items.append({"price": life.catalogue.workshop[life.currency], "quantity": life.dice.randint(1, 2)})
    ending = life.dice.choices(ENDINGS, ENDING_WEIGHTS)[0]
    invoice = life.ask(
        life.business.create_draft_invoice,
        customer=life.customer,
        items=items,
        currency=life.currency,
        collection_method="charge_automatically" if ending == "pay" else "send_invoice",
        metadata={"project": life.name},
    )
    life.later(life.dice.uniform(0, 2), partial(_conclude, life, invoice["id"], ending))


def _conclude(life: Life, invoice: str, ending: str) -> None:
    business = life.business
    if ending == "pay":
        _after_payment(life, life.ask(business.pay_invoice, invoice))
    elif ending == "delete":
        life.ask(business.delete_draft_invoice, invoice)
    elif ending != "keep":
        life.ask(business.finalize_invoice, invoice)
        then = {"send": _pay_late, "void": _void, "write_off": _write_off}[ending]
        life.later(life.dice.uniform(2, 35), partial(then, life, invoice))


def _pay_late(life: Life, invoice: str) -> None:
    code = decline_code(life) if life.chance(0.15) else None
    _after_payment(life, life.ask(life.business.pay_invoice, invoice, decline_code=code))


def _after_payment(life: Life, invoice: Obj) -> None:
    follow_up(life, life.business.charge_of(invoice["id"]) if invoice["status"] == "paid" else None)


def _void(life: Life, invoice: str) -> None:
    life.ask(life.business.void_invoice, invoice)


def _write_off(life: Life, invoice: str) -> None:
    life.ask(life.business.mark_uncollectible, invoice)
