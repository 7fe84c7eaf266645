"""How a customer's life unfolds."""

from __future__ import annotations

from functools import partial
from typing import Any

from mock_api.lives import Life
from mock_api.shoppers import buy_on_account, shop
from mock_api.subscribers import subscribe

CALLINGS = (subscribe, shop, buy_on_account, None)
CALLING_WEIGHTS = (52, 32, 9, 7)


def live(life: Life) -> None:
    """Arrive, do business, change, and in a few cases leave for good."""
    life.arrive()
    calling = life.dice.choices(CALLINGS, CALLING_WEIGHTS)[0]
    if calling:
        life.later(life.dice.choice([0, 0, 0.05, 1]), partial(calling, life))
    if life.chance(0.15):
        life.later(life.dice.uniform(0, 3), partial(shop, life))
    if life.chance(0.2):
        life.later(life.dice.uniform(1, 80), partial(_change_details, life))
    if life.chance(0.1):
        life.later(life.dice.uniform(5, 80), partial(_replace_card, life))
    if life.chance(0.05):
        life.later(life.dice.uniform(3, 85), partial(_delete, life))


def _change_details(life: Life) -> None:
    changes: list[dict[str, Any]] = [
        {"phone": "+15555550100"},
        {"metadata": {"segment": life.dice.choice(["small", "large"])}},
        {"address": {"city": "Newtown", "country": life.country, "line1": "2 Example Road"}},
        {"description": "Moved", "metadata": {"source": ""}},
    ]
    life.ask(life.business.update_customer, life.customer, **life.dice.choice(changes))


def _replace_card(life: Life) -> None:
    """Renew the card in place, or attach a new one and perhaps remove the old one."""
    method = life.business.get("payment_methods", life.method)
    if method and method["type"] == "card" and life.chance(0.4):
        life.ask(
            life.business.update_payment_method,
            life.method,
            card={"exp_year": method["card"]["exp_year"] + 3},
        )
        return
    old, life.method = life.method, life.add_method()
    if life.chance(0.6):
        life.ask(life.business.detach_payment_method, old)


def _delete(life: Life) -> None:
    life.ask(life.business.delete_customer, life.customer)
