"""The life of one customer: who it is, its dice, and how it acts on the account."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import partial
from random import Random
from typing import Any, TypeVar

from mock_api.business import Business
from mock_api.catalogue import Catalogue
from mock_api.money import DAY
from mock_api.shapes import API_VERSION
from mock_api.state import WorldError

T = TypeVar("T")

COUNTRIES = {
    "US": "usd",
    "CA": "usd",
    "DE": "eur",
    "FR": "eur",
    "NL": "eur",
    "GB": "gbp",
    "JP": "jpy",
    "KW": "kwd",
}
COUNTRY_WEIGHTS = (34, 8, 14, 10, 6, 14, 9, 5)
CITIES = {
    "US": ("Springfield", "IL", "62701"),
    "CA": ("Ottawa", "ON", "K1A 0A1"),
    "DE": ("Musterstadt", None, "12345"),
    "FR": ("Lyon", None, "69001"),
    "NL": ("Utrecht", None, "3511 AB"),
    "GB": ("Leeds", None, "LS1 1AA"),
    "JP": ("Sapporo", None, "060-0001"),
    "KW": ("Kuwait City", None, "12345"),
}
LOCALES = {"DE": "de", "FR": "fr", "NL": "nl", "JP": "ja"}
BRANDS = (("visa", "4242"), ("mastercard", "4444"), ("amex", "8431"), ("discover", "1117"))
BRAND_WEIGHTS = (55, 30, 10, 5)


class Life:
    """One customer's life, drawn from its own dice: the same life in every world of the same seed."""

    def __init__(self, business: Business, catalogue: Catalogue, *, name: str, dice: Random) -> None:
        self.business, self.catalogue, self.name, self.dice = business, catalogue, name, dice
        self.country: str = dice.choices(list(COUNTRIES), COUNTRY_WEIGHTS)[0]
        self.currency = COUNTRIES[self.country]
        self.version = API_VERSION
        self.customer = ""
        self.method = ""

    def apart(self, dice: Random) -> Life:
        """The same customer, as far as it has come, with other dice: what these add changes nothing of its life."""
        other = copy(self)
        other.dice = dice
        return other

    def chance(self, share: float) -> bool:
        """Whether something happens that happens to `share` of all customers."""
        return self.dice.random() < share

    def ask(self, call: Callable[..., T], *args: Any, **fields: Any) -> T:
        """Make one API request of the merchant's server."""
        with self.business.own_request(self.version):
            return call(*args, **fields)

    def later(self, days: float, act: Callable[[], object]) -> None:
        """Plan `act` at least `days` from now, at some second of the following six hours."""
        second = self.business.now + int(days * DAY) + self.dice.randrange(6 * 3600)
        self.business.at(second, partial(self._act, act))

    def _act(self, act: Callable[[], object]) -> None:
        """Do what was planned, if it is still possible: others may have deleted, cancelled or refunded meanwhile."""
        customer = self.business.get("customers", self.customer)
        if customer is None or customer.get("deleted"):
            return
        try:
            act()
        except WorldError:
            return

    def arrive(self) -> None:
        """Become a customer of the account, mostly with a payment method."""
        city, state, postal_code = CITIES[self.country]
        self.customer = self.ask(
            self.business.create_customer,
            name=f"Mock Customer {self.name}",
            email=f"customer-{self.name}@example.com",
            address={
                "city": city,
                "country": self.country,
                "line1": "1 Example Road",
                "postal_code": postal_code,
            }
            | ({"state": state} if state else {}),
            preferred_locales=[LOCALES[self.country]] if self.country in LOCALES else [],
            metadata={"source": self.dice.choice(["web", "sales", "referral"])} if self.chance(0.7) else {},
        )["id"]
        self.method = self.add_method()

    def add_method(self) -> str:
        """Attach a new card (or SEPA account, for some in euros) and make it the default; returns its id."""
        business = self.business
        billing = {"email": f"customer-{self.name}@example.com", "name": f"Mock Customer {self.name}"}
        if self.currency == "eur" and self.chance(0.35):
            sepa = {"country": self.country, "last4": f"{self.dice.randrange(10_000):04}"}
            made = self.ask(
                business.create_payment_method, type="sepa_debit", sepa_debit=sepa, billing_details=billing
            )
        else:
            made = self.ask(business.create_payment_method, card=self._card(), billing_details=billing)
        id = str(made["id"])
        self.ask(business.attach_payment_method, id, self.customer)
        self.ask(business.update_customer, self.customer, invoice_settings={"default_payment_method": id})
        return id

    def _card(self) -> dict[str, Any]:
        brand, last4 = self.dice.choices(BRANDS, BRAND_WEIGHTS)[0]
        return {
            "brand": brand,
            "last4": last4,
            "country": self.country,
            "exp_month": self.dice.randint(1, 12),
            "exp_year": self.dice.randint(2028, 2034),
            "funding": self.dice.choices(["credit", "debit", "prepaid"], [55, 40, 5])[0],
        }
