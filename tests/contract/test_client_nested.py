"""Nested lists that an answer shows in part, against the simulated API over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import httpx
import msgspec
import pydantic
import pytest

from mock_api.api import create_app
from mock_api.faults import Answer, Drop, Faults, Rule
from mock_api.server import running
from mock_api.world import World
from payments_pipeline.entities import ENTITIES
from payments_pipeline.errors import SourceRefused
from payments_pipeline.flow import Window
from payments_pipeline.stripe.client import ClientOptions, StripeClient
from tests.unit.stripe.wire import KEY, Script, Time, client_of, listing, problem

INVOICES, SUBSCRIPTIONS = ENTITIES["invoices"], ENTITIES["subscriptions"]
MIDNIGHT = 1_788_220_800
WINDOW = Window(MIDNIGHT, MIDNIGHT + 86_400)
PARTIAL = b'{"id":"in_1","object":"invoice","created":1500,"x":1.10,"lines":{"object":"list","data":[{"id":"il_1"}],"has_more":true,"url":"/"}}'


@dataclass(frozen=True, slots=True)
class Shop:
    """A simulated account and a client of it."""

    world: World
    faults: Faults
    client: StripeClient

    def one(self, kind: str, object_id: str) -> dict[str, Any]:
        """The object as a listing brings it."""
        found = [
            record
            for page in self.client.pages(ENTITIES[kind], WINDOW)
            for record in map(msgspec.json.decode, page.records)
            if record["id"] == object_id
        ]
        assert len(found) == 1
        record: dict[str, Any] = found[0]
        return record


@contextmanager
def open_shop(*rules: Rule, page_size: int = 100) -> Iterator[Shop]:
    """An account in its first minute."""
    world = World(seed=1, start=date(2026, 9, 1), customers_per_day=0)
    world.play(MIDNIGHT + 60)
    time, faults = Time(), Faults(rules)
    with running(create_app(world, clock=lambda: MIDNIGHT + 60, faults=faults)) as url:
        options = ClientOptions(url, pydantic.SecretStr(KEY), rate=1000, page_size=page_size)
        with StripeClient(options, time.utc, monotonic=time.monotonic, sleep=time.sleep) as client:
            yield Shop(world, faults, client)


def draft(world: World, lines: int) -> dict[str, Any]:
    """A draft invoice of so many lines."""
    customer = world.create_customer(email="customer@example.com")
    items = [{"amount": 100 + number, "description": f"line {number}"} for number in range(lines)]
    return world.create_draft_invoice(customer=customer["id"], items=items, currency="usd")


@pytest.mark.parametrize(
    ("lines", "page_size"), [(1, 100), (10, 100), (11, 100), (100, 100), (101, 100), (250, 100), (25, 3)]
)
def test_every_line_of_an_invoice_is_read(lines: int, page_size: int) -> None:
    """However many pages they take, in order, and only once; a list that was shown whole costs no call."""
    with open_shop(page_size=page_size) as shop:
        invoice = draft(shop.world, lines)
        found = shop.one("invoices", invoice["id"])
        calls = shop.faults.stats()["by_path"].get(f"/v1/invoices/{invoice['id']}/lines", 0)
    assert [line["description"] for line in found["lines"]["data"]] == [f"line {n}" for n in range(lines)]
    assert found["lines"]["has_more"] is False
    assert calls == (0 if lines <= 10 else -(-lines // page_size))


def test_a_retrieved_invoice_is_complete_too() -> None:
    """By id as in a list."""
    with open_shop() as shop:
        invoice = draft(shop.world, 30)
        page = shop.client.retrieve(INVOICES, invoice["id"])
    assert len(msgspec.json.decode(page.records[0])["lines"]["data"]) == 30


def test_every_item_of_a_subscription_is_read() -> None:
    """Their endpoint takes the subscription as a parameter."""
    with open_shop() as shop:
        world = shop.world
        customer = world.create_customer(email="customer@example.com")
        method = world.create_payment_method()
        world.attach_payment_method(method["id"], customer["id"])
        product = world.create_product(name="Seat")
        recurring = {"interval": "month"}
        prices = [
            world.create_price(
                product=product["id"], currency="usd", unit_amount=100 + n, recurring=recurring
            )
            for n in range(12)
        ]
        subscription = world.create_subscription(
            customer=customer["id"],
            items=[{"price": price["id"]} for price in prices],
            default_payment_method=method["id"],
        )
        found = shop.one("subscriptions", subscription["id"])
    assert [item["price"]["id"] for item in found["items"]["data"]] == [price["id"] for price in prices]
    assert found["items"]["has_more"] is False


def test_faults_while_reading_lines_lose_none() -> None:
    """The retries are those of any other call."""
    rules = (Rule(Drop(), path="*/lines", nth=(1, 3)), Rule(Answer(503), path="*/lines", nth=(2, 6)))
    with open_shop(*rules, page_size=50) as shop:
        invoice = draft(shop.world, 250)
        assert len(shop.one("invoices", invoice["id"])["lines"]["data"]) == 250
        assert shop.client.counts.retries == 4


def test_e16_an_invoice_that_is_deleted_before_its_lines_are_read_stays_as_it_was_shown() -> None:
    """Its deletion is news of its own; the listing goes on."""
    script = Script([listing(PARTIAL), problem(404, code="resource_missing")])
    with client_of(script) as client:
        (page,) = client.pages(INVOICES, Window(1000, 2000))
    assert page.records == (PARTIAL,)


def test_e16_a_line_that_vanishes_while_paging_has_the_lines_read_again() -> None:
    """From their start: a list of lines has no `created` to continue by."""
    lost = {"code": "resource_missing", "param": "starting_after", "message": "No such invoice line item"}
    script = Script(
        [
            listing(PARTIAL),
            listing(b'{"id":"il_1"}', has_more=True),
            httpx.Response(400, json={"error": lost}),
            listing(b'{"id":"il_2"}', has_more=True),
            listing(b'{"id":"il_3"}'),
        ]
    )
    with client_of(script) as client:
        (page,) = client.pages(INVOICES, Window(1000, 2000))
    assert page.records[0] == PARTIAL.replace(b'{"id":"il_1"}', b'{"id":"il_2"},{"id":"il_3"}').replace(
        b'"has_more":true', b'"has_more":false'
    )


def test_e4_lines_that_may_not_be_read_are_an_error() -> None:
    """Half an invoice is not passed off as a whole one."""
    script = Script([listing(PARTIAL), problem(403)])
    with (
        client_of(script) as client,
        pytest.raises(SourceRefused, match="/v1/invoices/in_1/lines answered 403"),
    ):
        list(client.pages(INVOICES, Window(1000, 2000)))
