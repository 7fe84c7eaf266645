"""Subscriptions: trials, renewals, changes with proration, dunning and their ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import partial
from typing import Any

from mock_api.customers import merged, refuse_unknown
from mock_api.invoices import Bill, Invoices
from mock_api.lines import Line
from mock_api.money import DAY, half_up
from mock_api.periods import period_end
from mock_api.products import plan_of
from mock_api.shapes import Obj, listing, shape
from mock_api.state import WorldError, differences, require

EXPIRY_SECONDS = 23 * 3600
"""How long a first invoice may stay unpaid before its subscription expires."""

TRIAL_NOTICE_DAYS = 3
LIVE = ("trialing", "active", "past_due")


class Subscriptions(Invoices):
    """A live subscription renews itself; what it owes is always on an invoice."""

    def __init__(self, seed: int, start: int) -> None:
        super().__init__(seed, start)
        self._subscriptions_of: dict[str, list[str]] = {}
        self._prorations: dict[str, list[Line]] = {}

    def create_subscription(
        self,
        *,
        customer: str,
        items: Sequence[Mapping[str, Any]],
        trial_days: int | None = None,
        default_payment_method: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Obj:
        """Subscribe a customer to recurring prices; the first invoice is charged at once, incomplete if that fails."""
        owner = self._find("customers", require("customer", customer), "customer")
        prices = self._recurring_prices(require("items", items), owner["currency"])
        self._own_payment_method(default_payment_method, customer)
        usual = owner["invoice_settings"]["default_payment_method"]
        if not (default_payment_method or usual or trial_days):
            message = "This customer has no attached payment source or default payment method."
            raise WorldError("resource_missing", message, "default_payment_method")
        trial_end = self.now + trial_days * DAY if trial_days else None
        subscription = self._create(
            "subscriptions",
            event=None,
            billing_cycle_anchor=trial_end or self.now,
            billing_mode={
                "type": "flexible",
                "flexible": {"proration_discounts": "included"},
                "updated_at": None,
            },
            cancellation_details=shape("subscription.cancellation_details"),
            currency=prices[0]["currency"],
            customer=customer,
            default_payment_method=default_payment_method,
            default_tax_rates=[],
            invoice_settings=shape("subscription")["invoice_settings"] | {"issuer": {"type": "self"}},
            metadata=dict(metadata or {}),
            payment_settings=shape("subscription.payment_settings", save_default_payment_method="off"),
            start_date=self.now,
            status="trialing" if trial_end else "incomplete",
            trial_end=trial_end,
            trial_settings={
                "end_behavior": {"billing_cycle_anchor": None, "missing_payment_method": "create_invoice"}
            },
            trial_start=self.now if trial_end else None,
        )
        id = subscription["id"]
        self._subscriptions_of.setdefault(customer, []).append(id)
        end = trial_end or period_end(self.now, self.now, prices[0]["recurring"])
        quantities = [int(item.get("quantity", 1)) for item in items]
        sold = [
            self._item(id, price, quantity, end) for price, quantity in zip(prices, quantities, strict=True)
        ]
        subscription = self._change_quietly("subscriptions", id, items=_items(id, sold))
        return self._begin(subscription, end)

    def update_subscription(self, id: str, **fields: Any) -> Obj:
        """Change `default_payment_method`, `description`, `metadata` or `cancel_at_period_end`."""
        subscription = self._live(id)
        refuse_unknown(fields, {"default_payment_method", "description", "metadata", "cancel_at_period_end"})
        if "metadata" in fields:
            fields["metadata"] = merged(subscription["metadata"], fields["metadata"])
        self._own_payment_method(fields.get("default_payment_method"), subscription["customer"])
        leaving = fields.get("cancel_at_period_end")
        if leaving is not None and leaving != subscription["cancel_at_period_end"]:
            reason = "cancellation_requested" if leaving else None
            fields["cancel_at"] = _period(subscription)[1] if leaving else None
            fields["canceled_at"] = self.now if leaving else None
            fields["cancellation_details"] = shape("subscription.cancellation_details", reason=reason)
        return self._change("subscriptions", id, **fields)

    def change_subscription(
        self, id: str, *, price: str | None = None, quantity: int | None = None, invoice_now: bool = False
    ) -> Obj:
        """Change the first item; unused time is credited and the rest charged, now or on the next invoice.

        A price with another interval starts a new period and is always invoiced now.
        """
        subscription = self._live(id)
        old, *others = subscription["items"]["data"]
        new_price = (
            self._recurring_prices([{"price": price}], subscription["currency"])[0] if price else old["price"]
        )
        new = {**old, "price": new_price, "plan": plan_of(new_price), "quantity": quantity or old["quantity"]}
        if new == old:
            return subscription
        start, end = _period(subscription)
        same_cycle = _cycle(new_price) == _cycle(old["price"])
        if subscription["status"] == "trialing":
            return self._change("subscriptions", id, items=_items(id, [new, *others]))
        share = Fraction(end - self.now, end - start)
        lines = [self._proration(id, old, -share, end)]
        if same_cycle:
            lines.append(self._proration(id, new, share, end))
        self._prorations.setdefault(id, []).extend(lines)
        changed = self._change_quietly("subscriptions", id, items=_items(id, [new, *others]))
        if not same_cycle:
            self._new_period(changed)
        if invoice_now or not same_cycle:
            invoice = self._bill(subscription, "subscription_update", whole=not same_cycle)
            self.pay_invoice(invoice["id"])
        else:
            self._emit("customer.subscription.updated", changed, differences(subscription, changed))
        return self._find("subscriptions", id)

    def cancel_subscription(
        self, id: str, at_period_end: bool = False, reason: str = "cancellation_requested"
    ) -> Obj:
        """End a subscription now, or let its period run out; nothing is refunded."""
        if at_period_end:
            return self.update_subscription(id, cancel_at_period_end=True)
        subscription = self._live(id, "incomplete")
        canceled = self._change(
            "subscriptions",
            id,
            "deleted",
            canceled_at=subscription["canceled_at"] or self.now,
            cancellation_details=shape("subscription.cancellation_details", reason=reason),
            ended_at=self.now,
            status="canceled",
        )
        self._prorations.pop(id, None)
        invoice = self._living["invoices"].get(canceled["latest_invoice"])
        if invoice and invoice["status"] in ("draft", "open"):
            self._change("invoices", invoice["id"], auto_advance=False, next_payment_attempt=None)
        return canceled

    def renew_subscription(self, id: str) -> Obj:
        """Begin the next period now and draft its invoice, which is charged an hour later."""
        old = self._live(id)
        status = "active" if old["status"] == "trialing" else old["status"]
        self._new_period(self._change_quietly("subscriptions", id, status=status))
        self._bill(old, "subscription_cycle", automatic=True)
        return self._find("subscriptions", id)

    def delete_customer(self, id: str) -> Obj:
        """Delete a customer: subscriptions end at once, payment methods are detached; returns the stub."""
        self._find("customers", id, "customer")
        for subscription in self._subscriptions_of.get(id, []):
            if self._find("subscriptions", subscription)["status"] in (*LIVE, "incomplete"):
                self.cancel_subscription(subscription)
        for method in self.payment_methods_of(id):
            self._change("payment_methods", method["id"], "detached", customer=None)
        return self._remove("customers", id)

    def _begin(self, subscription: Obj, end: int) -> Obj:
        """Announce a new subscription, charge its first invoice, and plan what follows."""
        id = subscription["id"]
        trial = subscription["status"] == "trialing"
        invoice = self._draft(self._bill_for(subscription, "subscription_create"))
        self._emit(
            "customer.subscription.created",
            self._change_quietly("subscriptions", id, latest_invoice=invoice["id"]),
        )
        self.at(end, partial(self._period_ends, id, end))
        if trial:
            notice = max(self.now, end - TRIAL_NOTICE_DAYS * DAY)
            self.at(notice, partial(self._trial_will_end, id))
            self.finalize_invoice(invoice["id"])
            return self._find("subscriptions", id)
        invoice = self.pay_invoice(invoice["id"])
        if self._is_processing(invoice):
            self._change("subscriptions", id, status="active")
        elif invoice["status"] != "paid":
            self.at(self.now + EXPIRY_SECONDS, partial(self._expires, id))
        return self._find("subscriptions", id)

    def _is_processing(self, invoice: Obj) -> bool:
        _, intent = self._payment_of.get(invoice["id"], (None, None))
        return intent is not None and self._find("payment_intents", intent)["status"] == "processing"

    def _period_ends(self, id: str, end: int) -> None:
        subscription = self._find("subscriptions", id)
        if subscription["status"] not in LIVE or _period(subscription)[1] != end:
            return
        if subscription["cancel_at_period_end"]:
            self.cancel_subscription(id)
        else:
            self.renew_subscription(id)

    def _trial_will_end(self, id: str) -> None:
        subscription = self._find("subscriptions", id)
        if subscription["status"] == "trialing":
            self._emit("customer.subscription.trial_will_end", subscription)

    def _expires(self, id: str) -> None:
        """A first invoice stayed unpaid: the subscription never began."""
        subscription = self._find("subscriptions", id)
        invoice = self._find("invoices", subscription["latest_invoice"])
        if subscription["status"] != "incomplete" or self._is_processing(invoice):
            return
        self._change("subscriptions", id, ended_at=self.now, status="incomplete_expired")
        if invoice["status"] in ("open", "uncollectible"):
            self.void_invoice(invoice["id"])

    def _new_period(self, subscription: Obj) -> Obj:
        """Start the next period at this second, without event; the cycle keeps its anchor when it is on time."""
        id, now = subscription["id"], self.now
        items = subscription["items"]["data"]
        on_time = _period(subscription)[1] == now
        anchor = subscription["billing_cycle_anchor"] if on_time else now
        end = period_end(anchor, now, items[0]["price"]["recurring"])
        moved = [{**item, "current_period_start": now, "current_period_end": end} for item in items]
        self.at(end, partial(self._period_ends, id, end))
        return self._change_quietly("subscriptions", id, billing_cycle_anchor=anchor, items=_items(id, moved))

    def _bill(self, old: Obj, reason: str, *, whole: bool = True, automatic: bool = False) -> Obj:
        """Draft an invoice for the subscription as it is now, and announce all that changed since `old`."""
        id = old["id"]
        bill = self._bill_for(self._find("subscriptions", id), reason, whole=whole, automatic=automatic)
        invoice = self._draft(bill)
        new = self._change_quietly("subscriptions", id, latest_invoice=invoice["id"])
        self._emit("customer.subscription.updated", new, differences(old, new))
        return invoice

    def _bill_for(
        self, subscription: Obj, reason: str, *, whole: bool = True, automatic: bool = False
    ) -> Bill:
        """Pending prorations, then (if `whole`) every item for the current period."""
        id, period = subscription["id"], _period(subscription)
        lines = self._prorations.pop(id, [])
        if whole:
            free = subscription["status"] == "trialing"
            lines = lines + [
                self._item_line(id, item, period, free=free) for item in subscription["items"]["data"]
            ]
        return Bill(
            customer=subscription["customer"],
            currency=subscription["currency"],
            lines=lines,
            reason=reason,
            period=(self.now, self.now) if reason == "subscription_create" else period,
            subscription=id,
            payment_method=subscription["default_payment_method"],
            automatic=automatic,
        )

    def _item_line(self, id: str, item: Obj, period: tuple[int, int], *, free: bool) -> Line:
        price, quantity = item["price"], item["quantity"]
        name = self._find("products", price["product"])["name"]
        amount = 0 if free else price["unit_amount"] * quantity
        words = (
            f"Trial period for {name}"
            if free
            else f"{quantity} × {name} (per {price['recurring']['interval']})"
        )
        return Line(amount, words, period, quantity, price, subscription=id, item=item["id"])

    def _proration(self, id: str, item: Obj, share: Fraction, end: int) -> Line:
        """A charge for `share` of the period; a negative share credits unused time."""
        name = self._find("products", item["price"]["product"])["name"]
        amount = half_up(item["price"]["unit_amount"] * item["quantity"] * share)
        words = f"{'Unused' if share < 0 else 'Remaining'} time on {name}"
        period, own = (self.now, end), self._unique("ii_")
        return Line(amount, words, period, item["quantity"], item["price"], id, item["id"], own)

    def _invoice_paid(self, invoice: Obj) -> None:
        subscription = self._subscription_of(invoice)
        if subscription is None or subscription["latest_invoice"] != invoice["id"]:
            return
        if subscription["status"] in ("incomplete", "past_due"):
            self._change("subscriptions", subscription["id"], status="active")

    def _invoice_unpaid(self, invoice: Obj) -> None:
        subscription = self._subscription_of(invoice)
        if subscription is None or subscription["status"] not in ("active", "past_due"):
            return
        if invoice["next_payment_attempt"] is None:
            self.cancel_subscription(subscription["id"], reason="payment_failed")
            if invoice["status"] == "open":
                self.mark_uncollectible(invoice["id"])
        else:
            self._change("subscriptions", subscription["id"], status="past_due")

    def _abandoned(self, invoice: Obj) -> bool:
        subscription = self._subscription_of(invoice)
        return super()._abandoned(invoice) or (
            subscription is not None and subscription["status"] not in LIVE
        )

    def _subscription_of(self, invoice: Obj) -> Obj | None:
        parent = invoice["parent"]
        return self._find("subscriptions", parent["subscription_details"]["subscription"]) if parent else None

    def _live(self, id: str, *also: str) -> Obj:
        subscription = self._find("subscriptions", id, "subscription")
        if subscription["status"] not in (*LIVE, *also):
            message = f"Subscription {id} is {subscription['status']} and can't be changed."
            raise WorldError("resource_missing", message, "subscription")
        return subscription

    def _recurring_prices(self, items: Sequence[Mapping[str, Any]], currency: str | None) -> list[Obj]:
        """The prices of items, refused unless active, recurring, of one currency and one billing interval."""
        prices = [
            self._find("prices", require("items[price]", item.get("price")), "items[price]") for item in items
        ]
        for price in prices:
            if not price["active"] or price["recurring"] is None:
                message = f"The price specified is {'inactive' if price['recurring'] else 'not recurring'}."
                raise WorldError(
                    "price_inactive" if price["recurring"] else "parameter_invalid", message, "items[price]"
                )
            if price["currency"] != (currency or prices[0]["currency"]):
                message = "You cannot combine currencies on a single customer."
                raise WorldError("currency_mismatch", message, "currency")
            if _cycle(price) != _cycle(prices[0]):
                message = (
                    "All prices on a subscription must have the same recurring.interval and interval_count."
                )
                raise WorldError("parameter_invalid", message, "items")
        return prices

    def _item(self, id: str, price: Obj, quantity: int, end: int) -> Obj:
        return shape(
            "subscription_item",
            id=self._unique("si_"),
            created=self.now,
            current_period_start=self.now,
            current_period_end=end,
            plan=plan_of(price),
            price=price,
            quantity=quantity,
            subscription=id,
            tax_rates=[],
        )


def _items(id: str, items: list[Obj]) -> Obj:
    return listing(f"/v1/subscription_items?subscription={id}", items)


def _period(subscription: Obj) -> tuple[int, int]:
    first = subscription["items"]["data"][0]
    return first["current_period_start"], first["current_period_end"]


def _cycle(price: Obj) -> tuple[str, int]:
    return price["recurring"]["interval"], price["recurring"]["interval_count"]
