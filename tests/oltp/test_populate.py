"""Populate: what the fixture names is there afterwards, once, whatever happened on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import stripe

from mock_api.faults import Answer, Cut, Drop, Rule, Script
from payments_pipeline.errors import SourceRefused, UsageError
from payments_pipeline.oltp.fixture import Fixture, default_fixture, read_fixture
from tests.e2e.harness import Account, account_of
from tests.oltp.shop import counted, deeds_of, expected, fixture, populate, sdk, seen

FIXTURE = fixture()
PRICES = sum(len(product.prices) for product in FIXTURE.products)
ALL_CREATED = {
    ("customers", "created"): len(FIXTURE.customers),
    ("payment_methods", "created"): len(FIXTURE.customers),
    ("products", "created"): len(FIXTURE.products),
    ("prices", "created"): PRICES,
    ("subscriptions", "created"): len(FIXTURE.subscriptions),
}
ALL_FOUND = {(kind, "found"): count for (kind, _), count in ALL_CREATED.items() if kind != "payment_methods"}


@pytest.fixture(scope="module", autouse=True)
def _no_telemetry() -> Iterator[None]:
    """The SDK would write an id into the home folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stripe, "enable_telemetry", False)
        yield


@pytest.fixture
def shop() -> Iterator[Account]:
    """A young account of the test's own, with customers, products and subscriptions that are not the fixture's."""
    with account_of(days=1.5, customers_per_day=3) as account:
        yield account


def test_the_fixture_is_what_the_account_holds_afterwards(shop: Account) -> None:
    """Seen by the official SDK: customers with a card that pays, products, prices, active subscriptions."""
    assert populate(shop) == ALL_CREATED
    assert seen(shop) == expected(FIXTURE)


def test_populating_twice_changes_nothing(shop: Account) -> None:
    """Not one object of the account, also a month later, when its idempotency keys are long forgotten."""
    populate(shop)
    before = shop.truth()
    assert populate(shop, run="twice") == ALL_FOUND
    assert shop.truth() == before
    shop.clock.advance(35 * 86_400)
    before = shop.truth()
    assert populate(shop, run="later") == ALL_FOUND
    assert shop.truth() == before


def test_force_cancels_and_recreates_the_fixtures_subscriptions_only(shop: Account) -> None:
    """As often as it is asked for: one live subscription each, and everybody else's as they were."""
    populate(shop)
    others = _others(shop)
    before = set(shop.truth()["subscriptions"])
    for number in range(3):
        done = populate(shop, force=True, run=f"force-{number}")
        assert (
            done["subscriptions", "cancelled"]
            == done["subscriptions", "created"]
            == len(FIXTURE.subscriptions)
        )
        assert seen(shop) == expected(FIXTURE)
    after = shop.truth()["subscriptions"]
    assert len(after) == len(before) + 3 * len(FIXTURE.subscriptions)
    assert _others(shop) == others


def _others(shop: Account) -> dict[str, Any]:
    truth = shop.truth()
    ours = {
        each["id"]
        for each in truth["customers"].values()
        if (each.get("email") or "").endswith("@populate.example.com")
    }
    return {key: each for key, each in truth["subscriptions"].items() if each["customer"] not in ours}


FAULTS = [
    Rule(Answer(429), probability=0.07),
    Rule(Answer(503), probability=0.07),
    Rule(Drop(), probability=0.07),
    Rule(Cut(), probability=0.07),
]


@pytest.mark.parametrize("seed", range(3))
def test_faults_double_and_lose_nothing(shop: Account, seed: int) -> None:
    """Every fourth call fails, some after they took effect, in populate and in force."""
    shop.faults.replace(Script(tuple(FAULTS), seed))
    populate(shop)
    shop.faults.replace(Script())
    assert seen(shop) == expected(FIXTURE)
    shop.faults.replace(Script(tuple(FAULTS), seed))
    populate(shop, force=True, run="force")
    shop.faults.replace(Script())
    assert seen(shop) == expected(FIXTURE)
    assert populate(shop, run="again") == ALL_FOUND


@pytest.mark.parametrize("write", [1, 2, 3, 4, 5, 24, 25, 28, 30, 31, 36, 38])
def test_a_populate_that_died_is_completed_by_the_next(shop: Account, write: int) -> None:
    """Whichever write was its last."""
    shop.faults.replace(Script((Rule(Answer(400), method="POST", nth=(write,)),)))
    with pytest.raises(SourceRefused):
        populate(shop)
    shop.faults.replace(Script())
    populate(shop, run="next")
    assert seen(shop) == expected(FIXTURE)
    assert populate(shop, run="last") == ALL_FOUND


def test_a_write_whose_answer_was_lost_is_found_by_the_next_populate(shop: Account) -> None:
    """The process died knowing nothing of the customer and the card that it had made."""
    before = len(shop.truth()["payment_methods"])
    for path in ("/v1/customers", "/v1/payment_methods", "/v1/products", "/v1/prices", "/v1/subscriptions"):
        shop.faults.replace(Script((Rule(Cut(), path=path, method="POST"),)))
        with pytest.raises(Exception, match="still fails"):
            populate(shop, run=path)
    shop.faults.replace(Script())
    populate(shop, run="next")
    assert seen(shop) == expected(FIXTURE)
    assert len(shop.truth()["payment_methods"]) == before + len(FIXTURE.customers)


def test_two_at_once_make_one_of_each(shop: Account) -> None:
    """Both ask for the same things under the same keys."""
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda name: populate(shop, run=name), ["one", "two"]))
    assert all(sum(counts.values()) >= len(FIXTURE.customers) for counts in done)
    shown, wanted = seen(shop), expected(FIXTURE)
    assert {**shown, "cards": [email for email, *_ in shown["cards"]]} == {
        **wanted,
        "cards": [email for email, *_ in wanted["cards"]],
    }


def test_what_was_taken_away_is_made_anew(shop: Account) -> None:
    """Although the API would repeat the old answer to the same key: a deleted customer, archived price and product."""
    populate(shop)
    client = sdk(shop)
    (ada,) = client.v1.customers.list({"email": "ada@populate.example.com"}).data
    client.v1.customers.delete(ada.id)
    (basic,) = [each for each in client.v1.products.list({"limit": 100}).data if each.name == "Fixture Basic"]
    price = client.v1.prices.list({"product": basic.id}).data[0]
    client.v1.prices.update(price.id, {"active": False})
    done = populate(shop, run="again")
    assert (done["customers", "created"], done["prices", "created"]) == (1, 1)
    assert seen(shop) == expected(FIXTURE)
    client.v1.products.update(basic.id, {"active": False})
    assert populate(shop, run="third")["products", "created"] == 1
    assert populate(shop, run="fourth") == ALL_FOUND


def test_a_customer_who_was_there_first_is_kept_and_given_a_card(shop: Account) -> None:
    """The oldest of that address; its name and its own default card stay as they are."""
    client = sdk(shop)
    client.v1.customers.create({"email": "ada@populate.example.com", "name": "Ada First"})
    shop.clock.advance(60)
    client.v1.customers.create({"email": "ada@populate.example.com", "name": "Ada Second"})
    ben = client.v1.customers.create({"email": "ben@populate.example.com", "name": "Ben"})
    own = client.v1.payment_methods.attach("pm_card_mastercard", {"customer": ben.id})
    client.v1.customers.update(ben.id, {"invoice_settings": {"default_payment_method": own.id}})
    done = populate(shop)
    assert done["customers", "found"] == 2
    assert done["payment_methods", "created"] == len(FIXTURE.customers) - 1
    shown = {email: (cards, pays) for email, cards, pays in seen(shop)["cards"] if email.startswith("ben")}
    assert shown == {"ben@populate.example.com": (["4444"], True)}
    ada = [
        each for each in shop.truth()["customers"].values() if each.get("email") == "ada@populate.example.com"
    ]
    assert {each["name"]: bool(each["invoice_settings"]["default_payment_method"]) for each in ada} == {
        "Ada First": True,
        "Ada Second": False,
    }


def test_a_card_that_is_attached_already_becomes_the_default(shop: Account) -> None:
    """No second card is made for a customer who has one."""
    client = sdk(shop)
    ada = client.v1.customers.create({"email": "ada@populate.example.com", "name": "Ada"})
    own = client.v1.payment_methods.attach("pm_card_amex", {"customer": ada.id})
    assert populate(shop)["payment_methods", "found"] == 1
    settings = client.v1.customers.retrieve(ada.id).invoice_settings
    assert settings is not None
    assert settings.default_payment_method == own.id


def test_a_price_of_other_terms_is_another_price(shop: Account) -> None:
    """Every three months is not every month; paid once is not monthly."""
    client = sdk(shop)
    product = client.v1.products.create({"name": "Fixture Basic"}).id
    for currency, terms in [
        ("usd", {"interval": "month", "interval_count": 3}),
        ("usd", {}),
        ("eur", {"interval": "month"}),
    ]:
        params: Any = {"product": product, "currency": currency, "unit_amount": 900, "recurring": terms}
        client.v1.prices.create(params)
    assert populate(shop)["prices", "created"] == PRICES


def test_a_price_to_be_paid_once_is_found_again(shop: Account) -> None:
    """A product may have no recurring price at all, if nobody subscribes to it."""
    wanted = Fixture.model_validate_json(
        '{"products": [{"name": "Manual", "prices": [{"amount": 500, "currency": "eur"}]}]}'
    )
    assert counted(deeds_of(shop, wanted)) == {("products", "created"): 1, ("prices", "created"): 1}
    assert counted(deeds_of(shop, wanted)) == {("products", "found"): 1, ("prices", "found"): 1}


def test_an_empty_fixture_asks_nothing(shop: Account) -> None:
    """And does nothing."""
    assert deeds_of(shop, Fixture()) == []


OK: dict[str, Any] = {
    "customers": [{"email": "a@example.com", "name": "A"}],
    "products": [{"name": "P", "prices": [{"amount": 1, "currency": "usd", "interval": "month"}]}],
    "subscriptions": [{"customer_email": "a@example.com", "product_name": "P"}],
}
PRODUCT: dict[str, Any] = OK["products"][0]
PRICE: dict[str, Any] = PRODUCT["prices"][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"customers": [{"email": "a"}]}, r"customers\.0\.email"),
        ({"customers": [{"email": "a@example.com"}]}, r"customers\.0\.name"),
        ({"customers": OK["customers"] * 2}, "customer 'a@example.com' is in it twice"),
        ({"products": [PRODUCT, PRODUCT]}, "product 'P' is in it twice"),
        ({"products": [{**PRODUCT, "prices": []}]}, r"products\.0\.prices"),
        ({"products": [{**PRODUCT, "prices": [PRICE, PRICE]}]}, "price of 'P'.*twice"),
        ({"products": [{**PRODUCT, "prices": [{**PRICE, "amount": 1.5}]}]}, r"prices\.0\.amount"),
        ({"products": [{**PRODUCT, "prices": [{**PRICE, "amount": "1"}]}]}, r"prices\.0\.amount"),
        ({"products": [{**PRODUCT, "prices": [{**PRICE, "amount": True}]}]}, r"prices\.0\.amount"),
        ({"products": [{**PRODUCT, "prices": [{**PRICE, "amount": -1}]}]}, r"prices\.0\.amount"),
        ({"products": [{**PRODUCT, "prices": [{**PRICE, "currency": "USD"}]}]}, r"prices\.0\.currency"),
        ({"products": [{**PRODUCT, "prices": [{**PRICE, "interval": "decade"}]}]}, r"prices\.0\.interval"),
        ({"products": [{**PRODUCT, "prices": [{**PRICE, "interval": None}]}]}, "recurring price"),
        ({"subscriptions": OK["subscriptions"] * 2}, "subscription .* twice"),
        ({"subscriptions": [{"customer_email": "b@example.com", "product_name": "P"}]}, "'b@example.com'"),
        ({"subscriptions": [{"customer_email": "a@example.com", "product_name": "Q"}]}, "'Q'"),
        ({"coupons": []}, "coupons"),
    ],
)
def test_a_wrong_fixture_is_refused_with_its_place(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    """Before anything is asked or written."""
    path = tmp_path / "fixture.json"
    path.write_text(json.dumps({**OK, **change}))
    with pytest.raises(UsageError, match=f"{message}.*Nothing was"):
        read_fixture(path)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "\x00", '"a"'])
def test_a_file_that_is_no_fixture_is_refused(tmp_path: Path, text: str) -> None:
    """In one line that names the file."""
    path = tmp_path / "fixture.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"fixture\.json") as caught:
        read_fixture(path)
    assert "\n" not in str(caught.value)


def test_a_fixture_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """As is a folder."""
    for path in (tmp_path / "nothing.json", tmp_path):
        with pytest.raises(UsageError, match="cannot be read"):
            read_fixture(path)


def test_the_default_fixture_is_the_repositorys() -> None:
    """Wherever the command is started."""
    assert default_fixture().name == "stripe_batch_fixture.json"
    assert read_fixture(default_fixture()) == FIXTURE
