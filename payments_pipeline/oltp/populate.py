"""Makes sure that an account holds what a fixture names: looks first, and writes only what is missing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import msgspec

from payments_pipeline.entities import ENTITIES
from payments_pipeline.errors import SourceError, SourceRefused, UsageError
from payments_pipeline.flow import Reporter, Window
from payments_pipeline.oltp.fixture import CustomerEntry, Fixture, PriceEntry, ProductEntry
from payments_pipeline.settings import Settings
from payments_pipeline.stripe.client import StripeClient

CARD = "tok_visa"
"""The test card that every customer without a card gets."""

_EVER = Window(0, 4_102_444_800)
_ENDED = {"canceled", "incomplete_expired"}
_GENERATIONS = 100


@dataclass(frozen=True, slots=True)
class Deed:
    """What became of one object: `kind` is its list's name."""

    kind: str
    id: str
    action: Literal["created", "found", "cancelled"]


class _Recurring(msgspec.Struct):
    interval: str
    interval_count: int = 1
    usage_type: str = "licensed"


class _InvoiceSettings(msgspec.Struct):
    default_payment_method: str | None = None


class _Object(msgspec.Struct):
    """What is looked at of an object of any kind."""

    id: str
    created: int = 0
    deleted: bool = False
    active: bool = True
    status: str | None = None
    name: str | None = None
    currency: str | None = None
    unit_amount: int | None = None
    billing_scheme: str | None = None
    recurring: _Recurring | None = None
    invoice_settings: _InvoiceSettings | None = None

    @property
    def is_usable(self) -> bool:
        """Neither deleted, archived nor ended."""
        return not self.deleted and self.active and self.status not in _ENDED


def check_allowed(settings: Settings, command: str) -> None:
    """`UsageError` unless test data may be written: ENV is DEV, and a key, if there is one, is a test key."""
    settings.require_development(command)
    key = settings.stripe_api_key
    if key is not None and not key.get_secret_value().startswith(("sk_test_", "rk_test_")):
        raise UsageError(
            f"'{command}' takes test keys only (sk_test_…, rk_test_…), and STRIPE_API_KEY is none: it would make up "
            "customers and payments in a real account. Nothing was read or written."
        )


class Populator:
    """Populates one account.

    An object that is there already is left as it is. One that is missing is created under an idempotency key
    made from its content, so that neither a repeated call nor a second populate at the same time makes two.
    A run that was killed is completed by the next. `run` is a new text for each run: part of the keys of writes
    that change an object, which must take effect again when they are asked for again.
    """

    def __init__(self, client: StripeClient, reporter: Reporter, *, run: str) -> None:
        self._client = client
        self._reporter = reporter
        self._run = run
        self._deeds: list[Deed] = []

    def __call__(self, fixture: Fixture, *, force: bool = False) -> list[Deed]:
        """Make sure of everything in the fixture, in its order; what was done.

        With `force`, subscriptions that are there are cancelled and made anew.
        """
        customers = {entry.email: self._customer(entry) for entry in fixture.customers}
        known = self._products_by_name() if fixture.products else {}
        prices = {entry.name: self._product(entry, known.get(entry.name)) for entry in fixture.products}
        for entry in fixture.subscriptions:
            self._subscription(customers[entry.customer_email], prices[entry.product_name], force=force)
        return self._deeds

    def _customer(self, entry: CustomerEntry) -> str:
        same = self._list("customers", email=entry.email)
        if same:
            customer = self._found("customers", same[0].id)
        else:
            customer = self._create("customers", {"email": entry.email, "name": entry.name})
        settings = same[0].invoice_settings if same else None
        if settings is None or settings.default_payment_method is None:
            self._give_card(customer)
        return customer

    def _give_card(self, customer: str) -> None:
        """The customer's newest card, or else a new one, pays its invoices."""
        cards = self._list("payment_methods", customer=customer, type="card")
        method = self._found("payment_methods", cards[-1].id) if cards else self._new_card(customer)
        self._change("customers", customer, **{"invoice_settings[default_payment_method]": method})

    def _new_card(self, customer: str) -> str:
        for method, is_replayed in self._made(
            "payment_methods", {"type": "card", "card[token]": CARD}, owner=customer
        ):
            try:
                self._change("payment_methods", method, "attach", customer=customer)
            except SourceRefused:
                # A card that was attached and taken away again cannot be attached twice.
                if not is_replayed:
                    raise
            else:
                return self._did("payment_methods", method, "created")
        raise _used_up("payment_methods")

    def _products_by_name(self) -> dict[str, str]:
        """The oldest product of each name that is still sold."""
        return {each.name: each.id for each in reversed(self._list("products")) if each.name}

    def _product(self, entry: ProductEntry, known: str | None) -> str:
        """The product with all its prices; the id of its first recurring price, "" if it has none."""
        described = {"description": entry.description} if entry.description else {}
        product = (
            self._found("products", known)
            if known
            else self._create("products", {"name": entry.name, **described})
        )
        prices = [(self._price(product, price), price.interval) for price in entry.prices]
        return next((price for price, interval in prices if interval), "")

    def _price(self, product: str, entry: PriceEntry) -> str:
        for price in self._list("prices", product=product, currency=entry.currency, active="true"):
            if _is_same(price, entry):
                return self._found("prices", price.id)
        params = {"product": product, "currency": entry.currency, "unit_amount": str(entry.amount)}
        recurring = {"recurring[interval]": entry.interval} if entry.interval else {}
        return self._create("prices", {**params, **recurring})

    def _subscription(self, customer: str, price: str, *, force: bool) -> None:
        same = self._list("subscriptions", customer=customer, price=price, status="all")
        if same and not force:
            self._found("subscriptions", same[0].id)
            return
        for subscription in same:
            self._cancel(subscription.id)
        self._create("subscriptions", {"customer": customer, "items[0][price]": price})

    def _cancel(self, subscription: str) -> None:
        try:
            self._client.delete("subscriptions", subscription)
        except SourceRefused as error:
            # It has ended meanwhile: by itself, or by an attempt whose answer was lost.
            if error.code != "resource_missing":
                raise
        self._did("subscriptions", subscription, "cancelled")

    def _list(self, kind: str, **filters: str) -> list[_Object]:
        """The usable objects that pass the filters, oldest first."""
        spec = replace(ENTITIES[kind], listings=(filters,))
        texts = (text for page in self._client.pages(spec, _EVER) for text in page.records)
        objects = {each.id: each for each in map(_decode, texts) if each.is_usable}
        return sorted(objects.values(), key=lambda each: (each.created, each.id))

    def _create(self, kind: str, params: Mapping[str, str]) -> str:
        for object_id, is_replayed in self._made(kind, params):
            if not is_replayed or self._is_usable(kind, object_id):
                return self._did(kind, object_id, "created")
        raise _used_up(kind)

    def _made(self, kind: str, params: Mapping[str, str], owner: str = "") -> Iterator[tuple[str, bool]]:
        """Ids of objects made from this content, each under the next key, and whether it was made before.

        Stripe repeats for a day what it answered to a key, also when the object has since been deleted: then the
        caller takes the next.
        """
        for generation in range(_GENERATIONS):
            key = _digest(kind, params, owner, generation)
            written = self._client.post(kind, params=params, key=f"populate-{key}")
            yield _decode(written.record).id, written.replayed

    def _change(self, *path: str, **params: str) -> None:
        self._client.post(*path, params=params, key=f"populate-{self._run}-{_digest(path, params)}")

    def _is_usable(self, kind: str, object_id: str) -> bool:
        (text,) = self._client.retrieve(ENTITIES[kind], object_id).records
        return _decode(text).is_usable

    def _found(self, kind: str, object_id: str) -> str:
        return self._did(kind, object_id, "found")

    def _did(self, kind: str, object_id: str, action: Literal["created", "found", "cancelled"]) -> str:
        self._deeds.append(Deed(kind, object_id, action))
        self._reporter.progress(kind, 1)
        return object_id


def _is_same(price: _Object, entry: PriceEntry) -> bool:
    terms = price.recurring
    if (price.unit_amount, price.currency, price.billing_scheme) != (
        entry.amount,
        entry.currency,
        "per_unit",
    ):
        return False
    if terms is None:
        return entry.interval is None
    return (terms.interval, terms.interval_count, terms.usage_type) == (entry.interval, 1, "licensed")


def _decode(text: bytes) -> _Object:
    try:
        return msgspec.json.decode(text, type=_Object)
    except msgspec.MsgspecError as error:
        raise SourceError(
            f"the API answered an object that cannot be read: {error}. What was done is kept; run again later."
        ) from error


def _digest(*content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:40]


def _used_up(kind: str) -> SourceError:
    return SourceError(
        f"the API keeps answering with {kind} that were deleted or ended since ({_GENERATIONS} times). What was done "
        "is kept; run again in a day, when it has forgotten them."
    )
