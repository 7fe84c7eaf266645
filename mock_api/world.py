"""The simulated Stripe account: its whole business, played forward on a simulated clock."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Any

from mock_api.disputes import Disputes
from mock_api.refunds import Refunds
from mock_api.shapes import Obj
from mock_api.subscriptions import Subscriptions

__all__ = ["World"]


class World(Subscriptions, Refunds, Disputes):
    """A simulated Stripe account played forward in simulated time (Unix seconds, UTC). Callers hold `world.lock`.

    The same (seed, start, customers_per_day) gives the same objects at the same simulated second, however the way
    there was divided into calls of `play`, in any process and time zone. Objects are never mutated once returned.
    """

    def __init__(self, *, seed: int, start: date, customers_per_day: int) -> None:
        super().__init__(seed, int(datetime.combine(start, time(), UTC).timestamp()))
        self.start = start
        self.customers_per_day = customers_per_day
        self.account: dict[str, Any] = self._account()

    def _account(self) -> Obj:
        return {
            "id": f"acct_mock{self.seed}x{self.start:%Y%m%d}",
            "object": "account",
            "business_profile": {"name": "Mock Store", "url": None},
            "charges_enabled": True,
            "country": "US",
            "created": self.now + 1,
            "default_currency": "usd",
            "details_submitted": True,
            "email": "account@example.com",
            "metadata": {"seed": str(self.seed), "start": self.start.isoformat()},
            "payouts_enabled": True,
            "type": "standard",
        }
