"""The endpoints that write: a table of method, path, parameters and the world's act behind each.

Parameters that Stripe knows but this simulation does not act on are refused as unknown, never silently ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from mock_api import forms
from mock_api.errors import bad_request, missing
from mock_api.filters import Obj
from mock_api.forms import integer, one_of, text
from mock_api.payment_writes import (
    card_of_token,
    confirm_payment_intent,
    create_payment_intent,
    own_payment_method,
    pay_invoice,
)
from mock_api.reads import find
from mock_api.rendering import expanded, rendered, take_expand
from mock_api.resources import BY_KIND
from mock_api.routes import Call, Route
from mock_api.world import World
from mock_api.write_params import (
    CUSTOMER,
    NEW_CUSTOMER,
    NEW_PAYMENT_INTENT,
    NEW_PAYMENT_METHOD,
    NEW_PRICE,
    NEW_REFUND,
    NEW_SUBSCRIPTION,
    PRICE,
    PRODUCT,
    SUBSCRIPTION,
)

Act = Callable[[World, str, Obj], Obj]
"""Does the write: the world, the id in the path ("" when there is none) and the parameters read."""


@dataclass(frozen=True, slots=True)
class Write:
    """One endpoint that writes; `kind` is the kind of the object in the path or of the one created."""

    method: str
    path: str
    kind: str
    summary: str
    act: Act
    readers: Mapping[str, forms.Reader]
    required: tuple[str, ...] = ()


def write_routes() -> Iterator[Route]:
    """Every endpoint that writes."""
    for write in WRITES:
        params = (*write.readers, "expand[]")
        yield Route(write.method, write.path, BY_KIND[write.kind].tag, write.summary, _writer(write), params)


def _writer(write: Write) -> Callable[[Call], Obj]:
    def answer(call: Call) -> Obj:
        paths = take_expand(call.params)
        object_id = call.ids.get("id", "")
        current = _living(call, write.kind) if object_id and not object_id.startswith("pm_card_") else {}
        fields = forms.read_all(call.params, write.readers)
        for name in write.required:
            if name not in fields:
                raise bad_request(f"Missing required param: {name}.", param=name, code="parameter_missing")
        if "metadata" in fields and fields["metadata"] is None:
            fields["metadata"] = dict.fromkeys(current.get("metadata", {}), "")
        return expanded(call.world, rendered(write.act(call.world, object_id, fields)), paths)

    return answer


def _living(call: Call, kind: str) -> Obj:
    """The object in the path; a deleted one can be read but not written."""
    obj = find(call, BY_KIND[kind])
    if "deleted" in obj:
        raise missing(BY_KIND[kind].noun, obj["id"])
    return obj


def _create_payment_method(world: World, _: str, fields: Obj) -> Obj:
    token = fields.get("card", {}).pop("token", None)
    if token is not None:
        fields["card"] |= card_of_token(token)
    return world.create_payment_method(**fields)


def _attach(world: World, object_id: str, fields: Obj) -> Obj:
    method = own_payment_method(world, object_id, None)
    return world.attach_payment_method(method, fields["customer"])


def _create_subscription(world: World, _: str, fields: Obj) -> Obj:
    return world.create_subscription(trial_days=fields.pop("trial_period_days", None), **fields)


def _update_subscription(world: World, object_id: str, fields: Obj) -> Obj:
    items, behavior = fields.pop("items", []), fields.pop("proration_behavior", "create_prorations")
    subscription = world.get("subscriptions", object_id) or {}
    if items:
        _refuse_other_items(items, subscription)
        change = {name: items[0][name] for name in ("price", "quantity") if name in items[0]}
        subscription = world.change_subscription(
            object_id, **change, invoice_now=behavior == "always_invoice"
        )
    return world.update_subscription(object_id, **fields) if fields else subscription


def _refuse_other_items(items: list[Obj], subscription: Obj) -> None:
    """The world changes the first item of a subscription; it neither adds nor removes items."""
    first = subscription["items"]["data"][0]["id"]
    if len(items) > 1 or items[0].get("id") != first:
        message = f"Only the first item of a subscription can be changed here: pass items[0][id]={first}."
        raise bad_request(message, param="items")


def _create(act: Callable[..., Obj]) -> Act:
    """The world's method, called with the parameters."""
    return lambda world, _, fields: act(world, **fields)


def _change(act: Callable[..., Obj]) -> Act:
    """The world's method, called with the id in the path and the parameters."""
    return lambda world, object_id, fields: act(world, object_id, **fields)


WRITES: tuple[Write, ...] = (
    Write(
        "POST",
        "/v1/customers",
        "customers",
        "Create a customer",
        _create(World.create_customer),
        NEW_CUSTOMER,
    ),
    Write(
        "POST",
        "/v1/customers/{id}",
        "customers",
        "Update a customer",
        _change(World.update_customer),
        CUSTOMER,
    ),
    Write(
        "DELETE", "/v1/customers/{id}", "customers", "Delete a customer", _change(World.delete_customer), {}
    ),
    Write(
        "POST",
        "/v1/products",
        "products",
        "Create a product",
        _create(World.create_product),
        PRODUCT,
        ("name",),
    ),
    Write(
        "POST", "/v1/products/{id}", "products", "Update a product", _change(World.update_product), PRODUCT
    ),
    Write("DELETE", "/v1/products/{id}", "products", "Delete a product", _change(World.delete_product), {}),
    Write(
        "POST",
        "/v1/prices",
        "prices",
        "Create a price",
        _create(World.create_price),
        NEW_PRICE,
        ("currency",),
    ),
    Write("POST", "/v1/prices/{id}", "prices", "Update a price", _change(World.update_price), PRICE),
    Write(
        "POST",
        "/v1/payment_methods",
        "payment_methods",
        "Create a payment method",
        _create_payment_method,
        NEW_PAYMENT_METHOD,
        ("type",),
    ),
    Write(
        "POST",
        "/v1/payment_methods/{id}/attach",
        "payment_methods",
        "Attach a payment method to a customer",
        _attach,
        {"customer": text},
        ("customer",),
    ),
    Write(
        "POST",
        "/v1/payment_methods/{id}/detach",
        "payment_methods",
        "Detach a payment method",
        _change(World.detach_payment_method),
        {},
    ),
    Write(
        "POST",
        "/v1/subscriptions",
        "subscriptions",
        "Create a subscription",
        _create_subscription,
        NEW_SUBSCRIPTION,
        ("customer", "items"),
    ),
    Write(
        "POST",
        "/v1/subscriptions/{id}",
        "subscriptions",
        "Update a subscription",
        _update_subscription,
        SUBSCRIPTION,
    ),
    Write(
        "DELETE",
        "/v1/subscriptions/{id}",
        "subscriptions",
        "Cancel a subscription",
        _change(World.cancel_subscription),
        {},
    ),
    Write(
        "POST", "/v1/invoices/{id}/pay", "invoices", "Pay an invoice", pay_invoice, {"payment_method": text}
    ),
    Write("POST", "/v1/invoices/{id}/void", "invoices", "Void an invoice", _change(World.void_invoice), {}),
    Write(
        "POST",
        "/v1/payment_intents",
        "payment_intents",
        "Create a payment intent",
        create_payment_intent,
        NEW_PAYMENT_INTENT,
        ("amount", "currency"),
    ),
    Write(
        "POST",
        "/v1/payment_intents/{id}/confirm",
        "payment_intents",
        "Confirm a payment intent",
        confirm_payment_intent,
        {"payment_method": text},
    ),
    Write(
        "POST",
        "/v1/payment_intents/{id}/capture",
        "payment_intents",
        "Capture a payment intent",
        _change(World.capture_payment_intent),
        {"amount_to_capture": integer},
    ),
    Write(
        "POST",
        "/v1/payment_intents/{id}/cancel",
        "payment_intents",
        "Cancel a payment intent",
        _change(World.cancel_payment_intent),
        {"cancellation_reason": one_of("abandoned", "duplicate", "fraudulent", "requested_by_customer")},
    ),
    Write("POST", "/v1/refunds", "refunds", "Create a refund", _create(World.create_refund), NEW_REFUND),
)
