"""Customers and their payment methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mock_api.shapes import Obj, shape
from mock_api.state import State, WorldError, require

TEST_CARDS: Mapping[str, tuple[str, str]] = {
    "visa": ("visa", "4242"),
    "visa_debit": ("visa", "5556"),
    "mastercard": ("mastercard", "4444"),
    "amex": ("amex", "8431"),
    "discover": ("discover", "1117"),
    "jcb": ("jcb", "0505"),
    "chargeDeclined": ("visa", "0002"),
    "chargeCustomerFail": ("visa", "0341"),
    "chargeDeclinedInsufficientFunds": ("visa", "9995"),
    "chargeDeclinedExpiredCard": ("visa", "0069"),
}
"""Stripe's test cards, as in `tok_<name>` and `pm_card_<name>`: brand, last four digits."""

DECLINING_CARDS: Mapping[str, str] = {
    "0002": "generic_decline",
    "0341": "generic_decline",
    "9995": "insufficient_funds",
    "0069": "expired_card",
}
"""Last four digits of the test cards that attach but never pay -> decline code."""

ATTACHED = "The payment method you provided has already been attached to a customer."

CUSTOMER_FIELDS = frozenset(
    "address balance description email metadata name phone preferred_locales shipping tax_exempt".split()
)


class Customers(State):
    """Customers come, change their details and cards; their deletion is the business of subscriptions."""

    def create_customer(self, **fields: Any) -> Obj:
        """A new customer; `payment_method` is attached to it, `invoice_settings` may name a default."""
        method, settings = fields.pop("payment_method", None), fields.pop("invoice_settings", None)
        if method and self._find("payment_methods", method, "payment_method")["customer"]:
            raise WorldError("payment_method_unexpected_state", ATTACHED, "payment_method")
        fresh: Obj = {"balance": 0, "delinquent": False, "discount": None, "next_invoice_sequence": 1}
        fresh |= {"preferred_locales": [], "tax_exempt": "none", "metadata": {}}
        fresh |= self._customer_fields(fields)
        customer = self._create(
            "customers",
            invoice_prefix=self._unique("").upper()[:8],
            invoice_settings=shape("customer.invoice_settings"),
            **fresh,
        )
        if method:
            self.attach_payment_method(method, customer["id"])
        if settings:
            return self.update_customer(customer["id"], invoice_settings=settings)
        return customer

    def update_customer(self, id: str, **fields: Any) -> Obj:
        """Change details; metadata is merged key by key, and an empty value removes the key."""
        customer = self._find("customers", id, "customer")
        settings = fields.pop("invoice_settings", None)
        changes = self._customer_fields(fields)
        if "metadata" in changes:
            changes["metadata"] = merged(customer["metadata"], changes["metadata"])
        if settings:
            self._own_payment_method(settings.get("default_payment_method"), id)
            changes["invoice_settings"] = {**customer["invoice_settings"], **settings}
        return self._change("customers", id, **changes)

    def create_payment_method(self, *, type: str = "card", **fields: Any) -> Obj:
        """An unattached card or SEPA debit account; `card` and `sepa_debit` name only what differs from the usual."""
        if type not in ("card", "sepa_debit"):
            raise WorldError(
                "parameter_invalid", f"Invalid type: must be one of card or sepa_debit, not {type}", "type"
            )
        known = {"billing_details", "metadata", "card", "sepa_debit", "allow_redisplay"}
        refuse_unknown(fields, known)
        details = fields.pop(type, None) or {}
        fields.pop("card" if type == "sepa_debit" else "sepa_debit", None)
        billing = {
            **shape("payment_method")["billing_details"],
            **(fields.pop("billing_details", None) or {}),
        }
        values: Obj = {"allow_redisplay": "unspecified", "metadata": {}, "billing_details": billing} | fields
        part = self._card(**details) if type == "card" else self._sepa_debit(**details)
        return self._create("payment_methods", event=None, type=type, **(values | {type: part}))

    def attach_payment_method(self, id: str, customer: str) -> Obj:
        """Give a payment method to a customer; refused when it belongs to another one."""
        method = self._find("payment_methods", id, "payment_method")
        self._find("customers", require("customer", customer), "customer")
        if method["customer"] not in (None, customer):
            raise WorldError("payment_method_unexpected_state", ATTACHED, "payment_method")
        return self._change("payment_methods", id, "attached", customer=customer)

    def detach_payment_method(self, id: str) -> Obj:
        """Take a payment method from its customer; it stops being the customer's default."""
        method = self._find("payment_methods", id, "payment_method")
        if method["customer"] is None:
            message = (
                "The payment method you provided is not attached to a customer so detachment is impossible."
            )
            raise WorldError("payment_method_unexpected_state", message, "payment_method")
        customer = self._living["customers"].get(method["customer"])
        if customer and customer["invoice_settings"]["default_payment_method"] == id:
            settings = {**customer["invoice_settings"], "default_payment_method": None}
            self._change("customers", customer["id"], invoice_settings=settings)
        return self._change("payment_methods", id, "detached", customer=None)

    def payment_methods_of(self, customer: str) -> list[Obj]:
        """The payment methods attached to a customer, oldest first."""
        return [method for method in self.rows("payment_methods") if method["customer"] == customer]

    def update_payment_method(self, id: str, **fields: Any) -> Obj:
        """Change `billing_details`, `metadata`, or of `card` the expiry."""
        method = self._find("payment_methods", id, "payment_method")
        refuse_unknown(fields, {"billing_details", "metadata", "card", "allow_redisplay"})
        for part in ("billing_details", "card"):
            if part in fields:
                fields[part] = {**method[part], **fields[part]}
        if "metadata" in fields:
            fields["metadata"] = merged(method["metadata"], fields["metadata"])
        return self._change("payment_methods", id, **fields)

    def _customer_fields(self, fields: Obj) -> Obj:
        refuse_unknown(fields, CUSTOMER_FIELDS)
        if fields.get("address"):
            fields["address"] = shape("customer.address", **fields["address"])
        return fields

    def _own_payment_method(self, id: str | None, customer: str) -> Obj | None:
        """The payment method, refused unless it is attached to the customer; None for None."""
        if not id:
            return None
        method = self._find("payment_methods", id, "payment_method")
        if method["customer"] != customer:
            message = f"The customer does not have a payment method with the ID {id}. "
            raise WorldError(
                "resource_missing", message + "It must be attached to the customer.", "payment_method"
            )
        return method

    def _card(self, **given: Any) -> Obj:
        number = str(given.pop("number", ""))
        given.pop("cvc", None)
        if number:
            given["last4"] = number[-4:]
        brand = given.get("brand", "visa")
        usual: Obj = {
            "brand": brand,
            "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
            "country": "US",
            "display_brand": brand,
            "exp_month": 12,
            "exp_year": 2034,
            "fingerprint": self._unique("")[:16],
            "funding": "credit",
            "last4": "4242",
            "networks": {"available": [brand], "preferred": None},
            "regulated_status": "unregulated",
            "three_d_secure_usage": {"supported": True},
        }
        return shape("payment_method.card", **(usual | given))

    def _sepa_debit(self, **given: Any) -> Obj:
        given.pop("iban", None)
        usual: Obj = {
            "bank_code": "37040044",
            "branch_code": "",
            "country": "DE",
            "fingerprint": self._unique("")[:16],
            "generated_from": {"charge": None, "setup_attempt": None},
            "last4": "3000",
        }
        return shape("payment_method.sepa_debit", **(usual | given))


def merged(metadata: Obj | None, changes: Obj) -> Obj:
    """Metadata after an update: keys are merged, an empty value removes its key."""
    return {key: value for key, value in {**(metadata or {}), **changes}.items() if value != ""}


def refuse_unknown(fields: Mapping[str, Any], known: frozenset[str] | set[str]) -> None:
    """Refuse the first unknown parameter as Stripe does."""
    for name in fields:
        if name not in known:
            raise WorldError("parameter_unknown", f"Received unknown parameter: {name}", name)
