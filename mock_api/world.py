"""The simulated Stripe account: its whole business, played forward on a simulated clock."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from functools import partial
from random import Random
from typing import Any

from mock_api.bookings import book
from mock_api.business import Business
from mock_api.catalogue import Catalogue, open_catalogue
from mock_api.lives import Life
from mock_api.money import DAY
from mock_api.shapes import Obj
from mock_api.state import KINDS, WorldError
from mock_api.stories import live

__all__ = ["KINDS", "World", "WorldError"]

PAYOUT_HOUR = 4


class World(Business):
    """A simulated Stripe account played forward in simulated time (Unix seconds, UTC). Callers hold `world.lock`.

    The same (seed, start, customers_per_day) gives the same objects at the same simulated second, however the way
    there was divided into calls of `play`, in any process and time zone. A customer's life depends on the seed and
    its day of birth only. Objects are never mutated: what was returned once stays as it was.
    """

    def __init__(self, *, seed: int, start: date, customers_per_day: int) -> None:
        midnight = int(datetime.combine(start, time(), UTC).timestamp())
        super().__init__(seed, midnight)
        self.start = start
        self.customers_per_day = customers_per_day
        self.account: dict[str, Any] = self._account(midnight)
        self.at(midnight, self._open, origin="catalogue")

    def _open(self) -> None:
        """The first second: the catalogue is there, and days begin."""
        catalogue = open_catalogue(self)
        self.at(self.now, partial(self._day_begins, catalogue), origin="account")

    def _day_begins(self, catalogue: Catalogue) -> None:
        """Settle what is due, pay out later in the night, and plan the day's new customers."""
        self.settle_balance()
        self.at(self.now + PAYOUT_HOUR * 3600, self._pay_out_due)
        day = datetime.fromtimestamp(self.now, UTC).date()
        if day.day == 1:
            self.charge_monthly_fee(f"Billing, {day:%Y-%m}")
        for number in range(self.customers_per_day):
            name = f"{day:%Y%m%d}-{number}"
            life = Life(self, catalogue, name=name, dice=Random(f"{self.seed}:{day}:{number}"))
            birth = self.now + life.dice.randrange(DAY)
            self.at(birth, partial(live, life), origin=f"life:{day}:{number}")
            dice = Random(f"{self.seed}:{day}:{number}:booking")
            self.at(birth, partial(book, life, dice), origin=f"booking:{day}:{number}")
        self.at(self.now + DAY, partial(self._day_begins, catalogue))

    def _account(self, created: int) -> Obj:
        return {
            "id": f"acct_mock{self.seed}x{self.start:%Y%m%d}",
            "object": "account",
            "business_profile": {"name": "Mock Store", "url": None},
            "charges_enabled": True,
            "country": "US",
            "created": created,
            "default_currency": "usd",
            "details_submitted": True,
            "email": "account@example.com",
            "metadata": {"seed": str(self.seed), "start": self.start.isoformat()},
            "payouts_enabled": True,
            "type": "standard",
        }
