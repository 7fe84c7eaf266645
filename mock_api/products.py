"""Products and their prices."""

from __future__ import annotations

from typing import Any

from mock_api.customers import merged, refuse_unknown
from mock_api.ledger import is_supported
from mock_api.money import decimal_text
from mock_api.shapes import Obj, shape
from mock_api.state import State, WorldError, require

PRODUCT_FIELDS = frozenset(
    "active default_price description images metadata name shippable statement_descriptor unit_label url".split()
)
INTERVALS = ("day", "week", "month", "year")


class Products(State):
    """What the account sells; objects that refer to a price keep the version they were sold at."""

    def create_product(self, **fields: Any) -> Obj:
        """A new product; `name` is required."""
        refuse_unknown(fields, PRODUCT_FIELDS)
        require("name", fields.get("name"))
        usual: Obj = {"active": True, "type": "service", "metadata": {}, "updated": self.now}
        return self._create("products", **(usual | fields))

    def update_product(self, id: str, **fields: Any) -> Obj:
        """Change a product; archiving it is `active=False`."""
        product = self._find("products", id, "product")
        refuse_unknown(fields, PRODUCT_FIELDS)
        if "metadata" in fields:
            fields["metadata"] = merged(product["metadata"], fields["metadata"])
        return self._change("products", id, **fields, updated=self.now)

    def delete_product(self, id: str) -> Obj:
        """Delete a product that never had a price."""
        self._find("products", id, "product")
        if any(price["product"] == id for price in self.rows("prices")):
            message = "This product cannot be deleted because it has one or more user-created prices."
            raise WorldError("resource_in_use", message, "id")
        return self._remove("products", id)

    def create_price(self, **fields: Any) -> Obj:
        """A new price of `unit_amount` minor units of `currency`; recurring when `recurring` names an interval."""
        known = {
            "product",
            "currency",
            "unit_amount",
            "recurring",
            "nickname",
            "lookup_key",
            "metadata",
            "active",
        }
        refuse_unknown(fields, known | {"product_data", "tax_behavior"})
        currency = require("currency", fields.get("currency"))
        if not is_supported(currency):
            raise WorldError("parameter_invalid", f"Invalid currency: {currency}", "currency")
        amount = int(require("unit_amount", fields.get("unit_amount")))
        if amount < 0:
            raise WorldError("parameter_invalid_integer", "Invalid non-negative integer", "unit_amount")
        if fields.get("product_data"):
            fields["product"] = self.create_product(**fields.pop("product_data"))["id"]
        product = self._find("products", require("product", fields.get("product")), "product")
        usual: Obj = {"active": True, "tax_behavior": "unspecified", "metadata": {}}
        terms = recurring_terms(fields.pop("recurring", None))
        fields |= {
            "product": product["id"],
            "unit_amount": amount,
            "unit_amount_decimal": decimal_text(amount),
        }
        kind = "recurring" if terms else "one_time"
        return self._create("prices", **(usual | fields), recurring=terms, type=kind)

    def update_price(self, id: str, **fields: Any) -> Obj:
        """Change what may change: `active`, `nickname`, `lookup_key`, `metadata`, `tax_behavior`."""
        price = self._find("prices", id, "price")
        refuse_unknown(fields, {"active", "nickname", "lookup_key", "metadata", "tax_behavior"})
        if "metadata" in fields:
            fields["metadata"] = merged(price["metadata"], fields["metadata"])
        return self._change("prices", id, **fields)


def recurring_terms(terms: Obj | None) -> Obj | None:
    """The complete `recurring` hash of a price, or None for a one-time price."""
    if not terms:
        return None
    if terms.get("interval") not in INTERVALS:
        message = f"Invalid recurring[interval]: must be one of {', '.join(INTERVALS)}"
        raise WorldError("parameter_invalid", message, "recurring[interval]")
    count = int(terms.get("interval_count", 1))
    return shape("price.recurring", interval=terms["interval"], interval_count=count, usage_type="licensed")


def plan_of(price: Obj) -> Obj:
    """The legacy plan object that Stripe still shows beside the price of a subscription item."""
    same = (
        "active",
        "billing_scheme",
        "created",
        "currency",
        "id",
        "livemode",
        "metadata",
        "nickname",
        "product",
    )
    terms = price["recurring"]
    return shape(
        "plan",
        amount=price["unit_amount"],
        amount_decimal=price["unit_amount_decimal"],
        interval=terms["interval"],
        interval_count=terms["interval_count"],
        usage_type=terms["usage_type"],
        **{name: price[name] for name in same},
    )
