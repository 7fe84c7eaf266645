"""Invoices: drafted, finalized, paid (through a payment intent), retried, voided or given up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from mock_api.lines import Line
from mock_api.money import DAY
from mock_api.payments import Payments
from mock_api.products import Products
from mock_api.shapes import Obj, listing, shape
from mock_api.state import WorldError, require

RETRY_DAYS = (3, 5, 7)
"""Days from each failed automatic attempt to the next; after the last one Stripe gives up."""

DRAFT_SECONDS = 3600
DUE_DAYS = 30

PAYMENT_DESCRIPTIONS = {
    "subscription_create": "Subscription creation",
    "subscription_cycle": "Subscription update",
    "subscription_update": "Subscription update",
}


@dataclass(frozen=True, slots=True)
class Bill:
    """What a new draft invoice charges, and whom."""

    customer: str
    currency: str
    lines: Sequence[Line]
    reason: str
    period: tuple[int, int]
    subscription: str | None = None
    payment_method: str | None = None
    collection_method: str = "charge_automatically"
    automatic: bool = False
    metadata: Mapping[str, str] | None = None


class Invoices(Payments, Products):
    """Every finalized invoice with something due has one payment intent, linked by its invoice payment."""

    def __init__(self, seed: int, start: int) -> None:
        super().__init__(seed, start)
        self._payment_of: dict[str, tuple[str, str]] = {}
        self._invoice_of: dict[str, str] = {}

    def create_draft_invoice(
        self,
        *,
        customer: str,
        items: Sequence[Mapping[str, Any]] = (),
        currency: str = "usd",
        collection_method: str = "charge_automatically",
        metadata: Mapping[str, str] | None = None,
    ) -> Obj:
        """A manual draft; an item is {"price", "quantity"} (one-time price) or {"amount", "description"}."""
        self._find("customers", require("customer", customer), "customer")
        lines = [self._manual_line(item, currency) for item in items]
        period = (self.now, self.now)
        bill = Bill(
            customer,
            currency,
            lines,
            "manual",
            period,
            collection_method=collection_method,
            metadata=metadata,
        )
        return self._draft(bill)

    def cancel_payment_intent(self, id: str, *, cancellation_reason: str | None = None) -> Obj:
        """Give up an intent that has not succeeded; an invoice's intent is cancelled by voiding the invoice."""
        if id in self._invoice_of:
            message = "You cannot cancel the PaymentIntent for an invoice: void the invoice instead."
            raise WorldError("payment_intent_unexpected_state", message, "intent")
        return super().cancel_payment_intent(id, cancellation_reason=cancellation_reason)

    def delete_draft_invoice(self, id: str) -> Obj:
        """Delete a manual invoice that was never finalized; returns its stub."""
        invoice = self._find("invoices", id, "invoice")
        if invoice["status"] != "draft" or invoice["billing_reason"] != "manual":
            message = "You can only delete draft invoices that are not attached to a subscription."
            raise WorldError("invoice_not_editable", message, "invoice")
        return self._remove("invoices", id)

    def finalize_invoice(self, id: str) -> Obj:
        """Make a draft payable: it gets its number; the customer's credit is used first; nothing due means paid."""
        invoice = self._in_status(id, "draft")
        customer = self._find("customers", invoice["customer"], "customer")
        balance = customer["balance"]
        after = min(balance + invoice["total"], 0)
        due = max(balance + invoice["total"], 0)
        sequence = customer["next_invoice_sequence"]
        self._change("customers", customer["id"], balance=after, next_invoice_sequence=sequence + 1)
        sent = invoice["collection_method"] == "send_invoice"
        url = f"https://invoice.example.com/i/{id}"
        invoice = self._change(
            "invoices",
            id,
            "updated",
            "finalized",
            amount_due=due,
            amount_remaining=due,
            auto_advance=not sent,
            automatically_finalizes_at=None,
            due_date=self.now + DUE_DAYS * DAY if sent else None,
            effective_at=self.now,
            ending_balance=after,
            hosted_invoice_url=url,
            invoice_pdf=f"{url}/pdf",
            number=f"{customer['invoice_prefix']}-{sequence:04}",
            starting_balance=balance,
            status="open",
            status_transitions={**invoice["status_transitions"], "finalized_at": self.now},
        )
        if due == 0:
            return self._paid(invoice)
        self._request_payment(invoice)
        if sent:
            self._emit("invoice.sent", invoice)
        return invoice

    def pay_invoice(
        self, id: str, *, payment_method: str | None = None, decline_code: str | None = None
    ) -> Obj:
        """Attempt to collect an open invoice (a draft is finalized first); the invoice tells how it went."""
        if self._find("invoices", id, "invoice")["status"] == "draft":
            self.finalize_invoice(id)
        invoice = self._find("invoices", id)
        if invoice["status"] == "paid" and invoice["amount_due"] == 0:
            return invoice
        if invoice["status"] not in ("open", "uncollectible"):
            raise WorldError("invoice_not_payable", f"Invoice is already {invoice['status']}.", "invoice")
        method = payment_method or self._paying_method(invoice)
        if method is None:
            return self._payment_failed(invoice)
        intent = self.confirm_payment_intent(
            self._payment_of[id][1], payment_method=method, decline_code=decline_code
        )
        if intent["status"] == "processing":
            attempts = invoice["attempt_count"] + 1
            self._change("invoices", id, attempted=True, attempt_count=attempts, next_payment_attempt=None)
        return self._find("invoices", id)

    def void_invoice(self, id: str) -> Obj:
        """Declare that an open or uncollectible invoice was a mistake; its payment is cancelled."""
        invoice = self._in_status(id, "open", "uncollectible")
        self._abandon_payment(id, "void_invoice")
        return self._close(invoice, "void", "voided_at", "voided")

    def mark_uncollectible(self, id: str) -> Obj:
        """Write an open invoice off; it can still be paid."""
        return self._close(
            self._in_status(id, "open"), "uncollectible", "marked_uncollectible_at", "marked_uncollectible"
        )

    def charge_of(self, invoice: str) -> str | None:
        """The latest charge made for an invoice, if any."""
        _, intent = self._payment_of.get(invoice, (None, None))
        charge: str | None = self._find("payment_intents", intent)["latest_charge"] if intent else None
        return charge

    def _draft(self, bill: Bill) -> Obj:
        customer = self._find("customers", bill.customer, "customer")
        if customer["currency"] is None:
            customer = self._change("customers", bill.customer, currency=bill.currency)
        total = sum(line.amount for line in bill.lines)
        invoice = self._create("invoices", event=None, **_draft_fields(bill, customer, total))
        id = invoice["id"]
        lines = [line.rendered(self._unique("il_"), id, bill.currency) for line in bill.lines]
        parent = _subscription_parent(bill.subscription) if bill.subscription else None
        finalizes = self.now + DRAFT_SECONDS if bill.automatic else None
        invoice = self._change_quietly(
            "invoices",
            id,
            automatically_finalizes_at=finalizes,
            lines=listing(f"/v1/invoices/{id}/lines", lines),
            parent=parent,
        )
        self._emit("invoice.created", invoice)
        if finalizes is not None:
            self.at(finalizes, partial(self._collect, id))
        return invoice

    def _collect(self, id: str) -> None:
        """Finalize and charge a draft that advances by itself, unless it was abandoned meanwhile."""
        invoice = self._living["invoices"].get(id)
        if invoice is None or invoice["status"] != "draft":
            return
        if self._abandoned(invoice):
            self._change("invoices", id, auto_advance=False, automatically_finalizes_at=None)
        else:
            self.pay_invoice(id)

    def _retry(self, id: str, attempt: int) -> None:
        invoice = self._find("invoices", id)
        if (
            invoice["status"] == "open"
            and invoice["attempt_count"] == attempt
            and not self._abandoned(invoice)
        ):
            self.pay_invoice(id)

    def _abandoned(self, invoice: Obj) -> bool:
        """Whether nobody is left to pay: subscriptions add that theirs was cancelled."""
        return invoice["customer"] not in self._living["customers"]

    def _request_payment(self, invoice: Obj) -> None:
        intent = self.create_payment_intent(
            amount=invoice["amount_due"],
            currency=invoice["currency"],
            customer=invoice["customer"],
            description=PAYMENT_DESCRIPTIONS.get(
                invoice["billing_reason"], f"Payment for invoice {invoice['number']}"
            ),
        )
        payment = self._create(
            "invoice_payments",
            event=None,
            amount_requested=invoice["amount_due"],
            currency=invoice["currency"],
            invoice=invoice["id"],
            is_default=True,
            payment={"type": "payment_intent", "payment_intent": intent["id"]},
            status="open",
        )
        self._payment_of[invoice["id"]] = (payment["id"], intent["id"])
        self._invoice_of[intent["id"]] = invoice["id"]

    def _payment_finished(self, intent: Obj) -> None:
        id = self._invoice_of.get(intent["id"])
        if id is None:
            return
        invoice = self._find("invoices", id)
        if intent["status"] == "succeeded":
            self._paid(invoice)
        else:
            self._payment_failed(invoice)

    def _paid(self, invoice: Obj) -> Obj:
        id, due = invoice["id"], invoice["amount_due"]
        if due:
            payment, _ = self._payment_of[id]
            times = {"canceled_at": None, "paid_at": self.now}
            self._change(
                "invoice_payments", payment, "paid", amount_paid=due, status="paid", status_transitions=times
            )
        paid = self._change(
            "invoices",
            id,
            "updated",
            "paid",
            "payment_succeeded",
            amount_paid=due,
            amount_remaining=0,
            attempted=True,
            attempt_count=invoice["attempt_count"] + (due > 0),
            auto_advance=False,
            next_payment_attempt=None,
            status="paid",
            status_transitions={**invoice["status_transitions"], "paid_at": self.now},
            webhooks_delivered_at=self.now,
        )
        self._set_delinquent(invoice["customer"], False)
        self._invoice_paid(paid)
        return paid

    def _payment_failed(self, invoice: Obj) -> Obj:
        """Count the attempt and plan the next one; a first subscription invoice is left to the customer."""
        attempts = invoice["attempt_count"] + 1
        retries = invoice["collection_method"] == "charge_automatically"
        retries = (
            retries and invoice["billing_reason"] != "subscription_create" and attempts <= len(RETRY_DAYS)
        )
        again = self.now + RETRY_DAYS[attempts - 1] * DAY if retries else None
        failed = self._change(
            "invoices",
            invoice["id"],
            "updated",
            "payment_failed",
            attempted=True,
            attempt_count=attempts,
            next_payment_attempt=again,
        )
        if again is not None:
            self.at(again, partial(self._retry, invoice["id"], attempts))
        self._set_delinquent(invoice["customer"], True)
        self._invoice_unpaid(failed)
        return self._find("invoices", invoice["id"])

    def _invoice_paid(self, invoice: Obj) -> None:
        """An invoice was paid; subscriptions listen here."""

    def _invoice_unpaid(self, invoice: Obj) -> None:
        """An attempt to collect failed; `next_payment_attempt` None means it was the last one. Subscriptions listen."""

    def _paying_method(self, invoice: Obj) -> str | None:
        customer = self._find("customers", invoice["customer"], "customer")
        for id in (invoice["default_payment_method"], customer["invoice_settings"]["default_payment_method"]):
            if id and self._find("payment_methods", id)["customer"] == customer["id"]:
                return str(id)
        return None

    def _abandon_payment(self, id: str, reason: str) -> None:
        if id not in self._payment_of:
            return
        payment, intent = self._payment_of[id]
        super().cancel_payment_intent(intent, cancellation_reason=reason)
        times = {"canceled_at": self.now, "paid_at": None}
        self._change_quietly("invoice_payments", payment, status="canceled", status_transitions=times)

    def _close(self, invoice: Obj, status: str, transition: str, event: str) -> Obj:
        return self._change(
            "invoices",
            invoice["id"],
            "updated",
            event,
            auto_advance=False,
            next_payment_attempt=None,
            status=status,
            status_transitions={**invoice["status_transitions"], transition: self.now},
        )

    def _set_delinquent(self, customer: str, delinquent: bool) -> None:
        if customer in self._living["customers"]:
            self._change("customers", customer, delinquent=delinquent)

    def _in_status(self, id: str, *statuses: str) -> Obj:
        invoice = self._find("invoices", id, "invoice")
        if invoice["status"] not in statuses:
            message = f"This invoice is {invoice['status']}; it must be {' or '.join(statuses)}."
            raise WorldError("invoice_not_editable", message, "invoice")
        return invoice

    def _manual_line(self, item: Mapping[str, Any], currency: str) -> Line:
        own, period = self._unique("ii_"), (self.now, self.now)
        if "price" not in item:
            return Line(int(item["amount"]), item.get("description"), period, invoice_item=own)
        price, quantity = self._find("prices", item["price"], "price"), int(item.get("quantity", 1))
        if price["recurring"] or price["currency"] != currency:
            raise WorldError(
                "parameter_invalid", f"The price specified must be one-time and in {currency}.", "price"
            )
        name = self._find("products", price["product"])["name"]
        return Line(price["unit_amount"] * quantity, name, period, quantity, price, invoice_item=own)


def _draft_fields(bill: Bill, customer: Obj, total: int) -> Obj:
    return {
        "account_country": "US",
        "account_name": "Mock Store",
        "amount_due": max(total, 0),
        "amount_remaining": max(total, 0),
        "auto_advance": bill.automatic,
        "billing_reason": bill.reason,
        "collection_method": bill.collection_method,
        "currency": bill.currency,
        "customer": bill.customer,
        "customer_address": customer["address"],
        "customer_email": customer["email"],
        "customer_name": customer["name"],
        "customer_phone": customer["phone"],
        "customer_tax_exempt": customer["tax_exempt"],
        "customer_tax_ids": [],
        "default_payment_method": bill.payment_method,
        "issuer": {"type": "self"},
        "metadata": dict(bill.metadata or {}),
        "period_start": bill.period[0],
        "period_end": bill.period[1],
        "starting_balance": customer["balance"],
        "status": "draft",
        "subtotal": total,
        "subtotal_excluding_tax": total,
        "total": total,
        "total_discount_amounts": [],
        "total_excluding_tax": total,
        "total_pretax_credit_amounts": [],
        "total_taxes": [],
    }


def _subscription_parent(subscription: str) -> Obj:
    details = {"metadata": {}, "subscription": subscription}
    return shape("invoice.parent", type="subscription_details", subscription_details=details)
