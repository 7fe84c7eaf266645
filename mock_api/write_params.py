"""The parameters of the endpoints that write: name -> how its value is read."""

from __future__ import annotations

from collections.abc import Mapping

from mock_api.forms import Reader, array, boolean, clearable, hash_of, integer, metadata, one_of, text

_ADDRESS = hash_of(dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"), clearable))
CUSTOMER: Mapping[str, Reader] = {
    "address": _ADDRESS,
    "balance": integer,
    "description": clearable,
    "email": clearable,
    "invoice_settings": hash_of({"default_payment_method": clearable, "footer": clearable}),
    "metadata": metadata,
    "name": clearable,
    "phone": clearable,
    "preferred_locales": array(text),
    "tax_exempt": one_of("none", "exempt", "reverse"),
}
NEW_CUSTOMER: Mapping[str, Reader] = {**CUSTOMER, "payment_method": text}
PRODUCT: Mapping[str, Reader] = {
    "active": boolean,
    "description": clearable,
    "images": array(text),
    "metadata": metadata,
    "name": text,
    "shippable": boolean,
    "statement_descriptor": text,
    "unit_label": clearable,
    "url": clearable,
}
PRICE: Mapping[str, Reader] = {
    "active": boolean,
    "lookup_key": clearable,
    "metadata": metadata,
    "nickname": clearable,
    "tax_behavior": one_of("exclusive", "inclusive", "unspecified"),
}
NEW_PRICE: Mapping[str, Reader] = {
    **PRICE,
    "currency": text,
    "product": text,
    "product_data": hash_of(
        {name: PRODUCT[name] for name in ("active", "metadata", "name", "statement_descriptor", "unit_label")}
    ),
    "recurring": hash_of({"interval": one_of("day", "month", "week", "year"), "interval_count": integer}),
    "unit_amount": integer,
}
_CARD = {"token": text, "number": text, "cvc": text, "exp_month": integer, "exp_year": integer}
NEW_PAYMENT_METHOD: Mapping[str, Reader] = {
    "allow_redisplay": one_of("always", "limited", "unspecified"),
    "billing_details": hash_of(
        {"address": _ADDRESS, "email": clearable, "name": clearable, "phone": clearable}
    ),
    "card": hash_of(_CARD),
    "metadata": metadata,
    "sepa_debit": hash_of({"iban": text}),
    "type": one_of("card", "sepa_debit"),
}
_ITEM = {"price": text, "quantity": integer}
NEW_SUBSCRIPTION: Mapping[str, Reader] = {
    "customer": text,
    "default_payment_method": text,
    "items": array(hash_of(_ITEM)),
    "metadata": metadata,
    "trial_period_days": integer,
}
SUBSCRIPTION: Mapping[str, Reader] = {
    "cancel_at_period_end": boolean,
    "default_payment_method": text,
    "description": clearable,
    "items": array(hash_of({"id": text, **_ITEM})),
    "metadata": metadata,
    "proration_behavior": one_of("always_invoice", "create_prorations"),
}
NEW_PAYMENT_INTENT: Mapping[str, Reader] = {
    "amount": integer,
    "capture_method": one_of("automatic", "automatic_async", "manual"),
    "confirm": boolean,
    "currency": text,
    "customer": text,
    "description": text,
    "metadata": metadata,
    "payment_method": text,
}
NEW_REFUND: Mapping[str, Reader] = {
    "amount": integer,
    "charge": text,
    "metadata": metadata,
    "payment_intent": text,
    "reason": one_of("duplicate", "fraudulent", "requested_by_customer"),
}
