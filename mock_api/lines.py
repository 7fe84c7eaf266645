"""Invoice lines, as today's API shapes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mock_api.shapes import Obj, shape


@dataclass(frozen=True, slots=True)
class Line:
    """What one invoice line charges (negative: credits); `subscription` and `item` when a subscription caused it."""

    amount: int
    description: str | None
    period: tuple[int, int]
    quantity: int = 1
    price: Obj | None = None
    subscription: str | None = None
    item: str | None = None
    invoice_item: str | None = None

    def rendered(self, id: str, invoice: str, currency: str) -> Obj:
        """The line item object."""
        return shape(
            "line_item",
            id=id,
            amount=self.amount,
            currency=currency,
            description=self.description,
            discount_amounts=[],
            discountable=self.invoice_item is None or self.subscription is None,
            invoice=invoice,
            parent=self._parent(),
            period={"start": self.period[0], "end": self.period[1]},
            pretax_credit_amounts=[],
            pricing=self._pricing(),
            quantity=self.quantity,
            quantity_decimal=str(self.quantity),
            subscription=self.subscription,
            subtotal=self.amount,
            taxes=[],
        )

    def _parent(self) -> Obj:
        proration = self.invoice_item is not None and self.subscription is not None
        common: dict[str, Any] = {"invoice_item": self.invoice_item, "proration": proration}
        common |= {"proration_details": {"credited_items": None}, "subscription": self.subscription}
        if self.subscription is None:
            details = shape("line_item.parent.invoice_item_details", **common)
            return shape("line_item.parent", type="invoice_item_details", invoice_item_details=details)
        details = shape("line_item.parent.subscription_item_details", **common, subscription_item=self.item)
        return shape("line_item.parent", type="subscription_item_details", subscription_item_details=details)

    def _pricing(self) -> Obj | None:
        if self.price is None:
            return None
        details = {"price": self.price["id"], "product": self.price["product"]}
        unit = self.price["unit_amount_decimal"]
        return shape(
            "line_item.pricing", type="price_details", price_details=details, unit_amount_decimal=unit
        )
