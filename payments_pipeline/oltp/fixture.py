"""The fixture: the customers, products and subscriptions that `populate` makes sure of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Self

import pydantic

from payments_pipeline.errors import UsageError


class _Part(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)


class CustomerEntry(_Part):
    """A customer, known by `email`."""

    email: str = pydantic.Field(pattern=r"^[^@\s]+@[^@\s]+$", max_length=512)
    name: str = pydantic.Field(min_length=1, max_length=256)


class PriceEntry(_Part):
    """A price of `amount` minor units; `interval` None is a price to be paid once."""

    amount: int = pydantic.Field(ge=0, le=99_999_999)
    currency: str = pydantic.Field(pattern=r"^[a-z]{3}$")
    interval: Literal["day", "week", "month", "year"] | None = None


class ProductEntry(_Part):
    """A product, known by `name`, and its prices."""

    name: str = pydantic.Field(min_length=1, max_length=250)
    description: str | None = pydantic.Field(None, min_length=1)
    prices: tuple[PriceEntry, ...] = pydantic.Field(min_length=1)


class SubscriptionEntry(_Part):
    """A customer's subscription to the product's first recurring price."""

    customer_email: str
    product_name: str


class Fixture(_Part):
    """What is to be there: nothing named twice, and every subscription's customer and product part of it."""

    customers: tuple[CustomerEntry, ...] = ()
    products: tuple[ProductEntry, ...] = ()
    subscriptions: tuple[SubscriptionEntry, ...] = ()

    @pydantic.model_validator(mode="after")
    def _is_consistent(self) -> Self:
        _refuse_twice("customer", (customer.email for customer in self.customers))
        _refuse_twice("product", (product.name for product in self.products))
        for product in self.products:
            _refuse_twice(f"price of {product.name!r}", map(str, product.prices))
        _refuse_twice("subscription", map(str, self.subscriptions))
        emails = {customer.email for customer in self.customers}
        recurring = {
            product.name for product in self.products if any(price.interval for price in product.prices)
        }
        for subscription in self.subscriptions:
            if subscription.customer_email not in emails:
                raise ValueError(f"a subscription's customer {subscription.customer_email!r} is not in it")
            if subscription.product_name not in recurring:
                raise ValueError(f"no product {subscription.product_name!r} with a recurring price is in it")
        return self


def default_fixture() -> Path:
    """`fixtures/stripe_batch_fixture.json`: packaged in an installed wheel, the repository's own in a checkout."""
    package = Path(__file__).resolve().parent.parent
    roots = (package / "fixtures", package.parent / "fixtures")
    return next((root for root in roots if root.is_dir()), roots[-1]) / "stripe_batch_fixture.json"


def read_fixture(path: Path) -> Fixture:
    """The fixture in a JSON file; `UsageError` says what is wrong with it, and where."""
    try:
        return Fixture.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError(
            f"the fixture {path} cannot be read: {error.strerror}. Nothing was read or written elsewhere."
        ) from error
    except pydantic.ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, problem["loc"])) or "the file"
        raise UsageError(
            f"the fixture {path} is not usable: {place}: {problem['msg']}. Nothing was read or written elsewhere."
        ) from error


def _refuse_twice(what: str, names: Iterable[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{what} {twice[0]!r} is in it twice")
