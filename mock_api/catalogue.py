"""What the simulated business sells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from mock_api.business import Business
from mock_api.money import DAY

CURRENCIES = ("usd", "eur", "gbp", "jpy", "kwd")

PLANS: Mapping[str, tuple[int, ...]] = {
    "Starter": (1900, 1900, 1500, 2800, 6000),
    "Team": (4900, 4500, 3900, 7200, 15000),
    "Business": (14900, 13900, 11900, 21800, 46000),
}
"""Plan, cheapest first -> monthly amount per currency, in minor units."""

MONTHS_PER_YEAR_PAID = 10
WEEKLY: tuple[int, ...] = (500, 500, 400, 700, 1500)
WORKSHOP: tuple[int, ...] = (35000, 32000, 28000, 52000, 108000)
LEGACY_AMOUNT = 900


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Price ids: (plan, interval, currency) -> recurring price, currency -> one-time price of the workshop."""

    plans: Mapping[tuple[str, str, str], str]
    workshop: Mapping[str, str]


def open_catalogue(business: Business) -> Catalogue:
    """Create products and prices, and plan what becomes of the unsuccessful ones."""
    plans: dict[tuple[str, str, str], str] = {}
    for name, amounts in PLANS.items():
        product = _product(business, name, f"{name} plan", unit_label="seat")
        for currency, amount in zip(CURRENCIES, amounts, strict=True):
            plans[name, "month", currency] = _price(business, product, currency, amount, "month")
            yearly = amount * MONTHS_PER_YEAR_PAID
            plans[name, "year", currency] = _price(business, product, currency, yearly, "year")
    digest = _product(business, "Digest", "Weekly digest")
    for currency, amount in zip(CURRENCIES, WEEKLY, strict=True):
        plans["Digest", "week", currency] = _price(business, digest, currency, amount, "week")
    workshop = _product(business, "Workshop", "Onboarding workshop, one day")
    once = {
        currency: _price(business, workshop, currency, amount, None)
        for currency, amount in zip(CURRENCIES, WORKSHOP, strict=True)
    }
    _plan_endings(business, plans)
    return Catalogue(plans, once)


def _plan_endings(business: Business, plans: Mapping[tuple[str, str, str], str]) -> None:
    """A price is withdrawn, a product archived, another described anew, and one created by mistake is deleted."""
    legacy = _product(business, "Basic", "Basic plan, no longer sold")
    price = _price(business, legacy, "usd", LEGACY_AMOUNT, "month")
    mistake = _product(business, "Tset", "Created by mistake")
    starter = next(iter(plans.values()))

    def ask_later(days: int, call: Callable[[], object]) -> None:
        business.at(business.now + days * DAY + 36_000, partial(_ask, business, call))

    ask_later(1, partial(business.delete_product, mistake))
    ask_later(12, partial(business.update_price, starter, nickname="Starter, monthly"))
    ask_later(20, partial(business.update_price, price, active=False))
    ask_later(21, partial(business.update_product, legacy, active=False))
    ask_later(33, partial(business.update_product, legacy, metadata={"replaced_by": "Starter"}))


def _ask(business: Business, call: Callable[[], object]) -> None:
    with business.own_request():
        call()


def _product(business: Business, name: str, description: str, *, unit_label: str | None = None) -> str:
    with business.own_request():
        product = business.create_product(name=name, description=description, unit_label=unit_label)
    return str(product["id"])


def _price(business: Business, product: str, currency: str, amount: int, interval: str | None) -> str:
    recurring = {"interval": interval} if interval else None
    with business.own_request():
        price = business.create_price(
            product=product, currency=currency, unit_amount=amount, recurring=recurring
        )
    return str(price["id"])
