"""All that can happen in the account, as one class."""

from __future__ import annotations

from mock_api.disputes import Disputes
from mock_api.holds import Holds
from mock_api.subscriptions import Subscriptions


class Business(Subscriptions, Holds, Disputes):
    """Every write, at the current second: customers, catalogue, payments, invoices, subscriptions, books."""
