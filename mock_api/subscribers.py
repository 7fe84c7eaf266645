"""Customers who subscribe: trials, changes of plan, card trouble, leaving."""

from __future__ import annotations

from functools import partial

from mock_api.aftermath import follow_up
from mock_api.catalogue import PLANS
from mock_api.lives import Life
from mock_api.shapes import Obj
from mock_api.shoppers import decline_code


def subscribe(life: Life) -> None:
    """Take out a subscription and draw what will become of it."""
    interval = life.dice.choices(["month", "year", "week"], [66, 16, 18])[0]
    plan = "Digest" if interval == "week" else life.dice.choices(list(PLANS), [55, 32, 13])[0]
    prices = [life.catalogue.plans[plan, interval, life.currency]]
    if interval != "week" and plan != "Business" and life.chance(0.08):
        prices.append(life.catalogue.plans["Business", interval, life.currency])
    seats = life.dice.choices([1, 2, 3, 5, 10], [60, 15, 12, 9, 4])[0]
    items = [{"price": price, "quantity": seats} for price in prices]
    trial = life.dice.choice([7, 14]) if life.chance(0.3) else None
    if life.chance(0.06):
        life.business.let_decline(life.method, decline_code(life))
        life.later(life.dice.uniform(0.1, 2), partial(life.business.let_decline, life.method, None))
    subscription = life.ask(
        life.business.create_subscription, customer=life.customer, items=items, trial_days=trial
    )
    follow_up(life, life.business.charge_of(subscription["latest_invoice"]))
    _plan_future(life, subscription["id"], plan, interval)


def _plan_future(life: Life, subscription: str, plan: str, interval: str) -> None:
    days = life.dice.uniform
    if life.chance(0.25) and interval != "week":
        life.later(days(3, 70), partial(_change_plan, life, subscription, plan, interval))
    if life.chance(0.15):
        life.later(days(2, 60), partial(_change_seats, life, subscription))
    if life.chance(0.05):
        life.later(days(5, 80), partial(_pay_yearly, life, subscription))
    if life.chance(0.22):
        life.later(days(2, 75), partial(_card_trouble, life))
    fate = life.dice.random()
    if fate < 0.14:
        life.later(days(1, 80), partial(_leave_at_period_end, life, subscription))
    elif fate < 0.24:
        life.later(days(1, 80), partial(_leave_now, life, subscription))
    if life.chance(0.3):
        life.later(days(10, 75), partial(_look_back, life, subscription))


def _change_plan(life: Life, subscription: str, plan: str, interval: str) -> None:
    """An upgrade is invoiced at once, a downgrade shows on the next invoice."""
    plans = list(PLANS)
    other = life.dice.choice([name for name in plans if name != plan])
    price = life.catalogue.plans[other, interval, life.currency]
    upgrade = plans.index(other) > plans.index(plan)
    life.ask(life.business.change_subscription, subscription, price=price, invoice_now=upgrade)


def _change_seats(life: Life, subscription: str) -> None:
    life.ask(life.business.change_subscription, subscription, quantity=life.dice.randint(1, 8))


def _pay_yearly(life: Life, subscription: str) -> None:
    current = life.business.get("subscriptions", subscription)
    if current is None or len(current["items"]["data"]) > 1:
        return
    name = _plan_name(life, current)
    if name in PLANS:
        price = life.catalogue.plans[name, "year", life.currency]
        life.ask(life.business.change_subscription, subscription, price=price)


def _plan_name(life: Life, subscription: Obj) -> str:
    sold = subscription["items"]["data"][0]["price"]["id"]
    return next((plan for (plan, _, _), price in life.catalogue.plans.items() if price == sold), "")


def _card_trouble(life: Life) -> None:
    """The bank declines for a while; most customers put it right before Stripe gives up."""
    method = life.method
    life.business.let_decline(method, decline_code(life))
    if life.chance(0.7):
        life.later(life.dice.uniform(2, 34), partial(life.business.let_decline, method, None))


def _leave_at_period_end(life: Life, subscription: str) -> None:
    life.ask(life.business.cancel_subscription, subscription, at_period_end=True)
    if life.chance(0.25):
        stay = partial(life.business.update_subscription, subscription, cancel_at_period_end=False)
        life.later(life.dice.uniform(0.5, 6), partial(life.ask, stay))


def _leave_now(life: Life, subscription: str) -> None:
    life.ask(life.business.cancel_subscription, subscription)


def _look_back(life: Life, subscription: str) -> None:
    """Second thoughts about the latest payment."""
    current = life.business.get("subscriptions", subscription)
    if current:
        follow_up(life, life.business.charge_of(current["latest_invoice"]))
