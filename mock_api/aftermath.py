"""What happens to a charge after it succeeded: refunds and disputes."""

from __future__ import annotations

from functools import partial

from mock_api.lives import Life
from mock_api.refunds import REASONS

DISPUTE_REASONS = ("fraudulent", "product_not_received", "duplicate", "general", "subscription_canceled")
REFUND_SHARE, REFUND_FAILURE_SHARE = 0.10, 0.08
DISPUTE_SHARE, INQUIRY_SHARE, LOST_SHARE = 0.045, 0.2, 0.5


def follow_up(life: Life, charge: str | None) -> None:
    """Draw whether a charge gets refunded or disputed; None for a payment that made no charge."""
    if charge is None:
        return
    fate = life.dice.random()
    if fate < REFUND_SHARE:
        life.later(life.dice.uniform(0, 20), partial(_refund, life, charge))
    elif fate < REFUND_SHARE + DISPUTE_SHARE:
        life.later(life.dice.uniform(2, 40), partial(_dispute, life, charge))


def _refund(life: Life, charge: str) -> None:
    """All at once, or in one to three parts."""
    paid = life.business.get("charges", charge)
    if paid is None or paid["status"] != "succeeded":
        return
    parts = life.dice.choices([0, 1, 2, 3], [50, 25, 15, 10])[0]
    amount = None if parts == 0 else max(1, paid["amount_captured"] // (parts + 1))
    for number in range(max(parts, 1)):
        life.later(number * life.dice.uniform(0, 4), partial(_refund_part, life, charge, amount))


def _refund_part(life: Life, charge: str, amount: int | None) -> None:
    reason = life.dice.choice([*REASONS, None])
    refund = life.ask(life.business.create_refund, charge=charge, amount=amount, reason=reason)
    if life.chance(REFUND_FAILURE_SHARE):
        life.later(life.dice.uniform(1, 6), partial(life.business.fail_refund, refund["id"]))


def _dispute(life: Life, charge: str) -> None:
    reason = life.dice.choice(DISPUTE_REASONS)
    inquiry = life.chance(INQUIRY_SHARE)
    dispute = life.business.open_dispute(charge, reason, inquiry=inquiry)["id"]
    if life.chance(0.7):
        life.later(life.dice.uniform(1, 8), partial(_answer, life, dispute))
    else:
        life.later(life.dice.uniform(9, 14), partial(life.business.close_dispute, dispute, False))


def _answer(life: Life, dispute: str) -> None:
    life.ask(life.business.submit_evidence, dispute, product_description="Software subscription")
    won = not life.chance(LOST_SHARE)
    life.later(life.dice.uniform(10, 40), partial(life.business.close_dispute, dispute, won))
