"""A simulated account to populate and fetch from: clients that do not wait, and what the official SDK sees of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pydantic
import stripe

from payments_pipeline.flow import Quiet
from payments_pipeline.oltp.fixture import Fixture, default_fixture, read_fixture
from payments_pipeline.oltp.populate import Deed, Populator
from payments_pipeline.stripe.client import ClientOptions, StripeClient
from tests.e2e.harness import Account
from tests.unit.stripe.wire import Time

KEY = "sk_test_mock"
LIVE = {"active", "trialing", "past_due", "incomplete", "unpaid", "paused"}


def client_of(account: Account) -> StripeClient:
    """The pipeline's client, on a clock that waiting moves."""
    time = Time()
    options = ClientOptions(account.url, pydantic.SecretStr(KEY), rate=1000.0)
    return StripeClient(options, account.now, monotonic=time.monotonic, sleep=time.sleep)


def fixture(path: Path | None = None) -> Fixture:
    """The repository's own fixture, or another."""
    return read_fixture(path or default_fixture())


def populate(account: Account, *, force: bool = False, run: str = "first") -> Counter[tuple[str, str]]:
    """Populate the account; how many objects of each kind were created, found, cancelled."""
    return counted(deeds_of(account, fixture(), force=force, run=run))


def deeds_of(account: Account, wanted: Fixture, *, force: bool = False, run: str = "first") -> list[Deed]:
    """Populate the account with a fixture; what was done."""
    with client_of(account) as client:
        return Populator(client, Quiet(), run=run)(wanted, force=force)


def counted(deeds: list[Deed]) -> Counter[tuple[str, str]]:
    """Deeds by kind and action."""
    return Counter((deed.kind, deed.action) for deed in deeds)


def sdk(account: Account) -> stripe.StripeClient:
    """The official client, without retries of its own."""
    return stripe.StripeClient(KEY, base_addresses={"api": account.url}, max_network_retries=0)


def seen(account: Account) -> dict[str, Any]:
    """What the official SDK shows of the fixture's objects, ids left out, each list sorted: two of one kind show twice."""
    client = sdk(account)
    customers = [
        each
        for each in client.v1.customers.list().auto_paging_iter()
        if (each.email or "").endswith("@populate.example.com")
    ]
    products = [
        each
        for each in client.v1.products.list().auto_paging_iter()
        if each.name.startswith("Fixture ") and each.active
    ]
    prices = [
        (product.name, price.unit_amount, price.currency, price.recurring and price.recurring.interval)
        for product in products
        for price in client.v1.prices.list({"product": product.id, "active": True}).auto_paging_iter()
    ]
    names = {product.id: product.name for product in products}
    subscriptions = [
        (customer.email, names[str(each["items"]["data"][0]["price"]["product"])], each.status)
        for customer in customers
        for each in client.v1.subscriptions.list(
            {"customer": customer.id, "status": "all"}
        ).auto_paging_iter()
        if each.status in LIVE
    ]
    return {
        "customers": sorted((each.email, each.name) for each in customers),
        "cards": sorted(_cards(client, each) for each in customers),
        "products": sorted((each.name, each.description) for each in products),
        "prices": sorted(prices, key=str),
        "subscriptions": sorted(subscriptions),
    }


def _cards(client: stripe.StripeClient, customer: stripe.Customer) -> tuple[Any, ...]:
    """The customer's cards, and whether one of them pays its invoices."""
    methods = list(client.v1.payment_methods.list({"customer": customer.id}).auto_paging_iter())
    settings = customer.invoice_settings
    default = settings and settings.default_payment_method
    cards = [each.card.last4 for each in methods if each.card]
    return customer.email, cards, default in {each.id for each in methods}


def expected(wanted: Fixture) -> dict[str, Any]:
    """What `seen` must show of a populated account."""
    return {
        "customers": sorted((each.email, each.name) for each in wanted.customers),
        "cards": sorted((each.email, ["4242"], True) for each in wanted.customers),
        "products": sorted((each.name, each.description) for each in wanted.products),
        "prices": sorted(
            (
                (product.name, each.amount, each.currency, each.interval)
                for product in wanted.products
                for each in product.prices
            ),
            key=str,
        ),
        "subscriptions": sorted(
            (each.customer_email, each.product_name, "active") for each in wanted.subscriptions
        ),
    }
