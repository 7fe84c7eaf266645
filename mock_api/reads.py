"""The endpoints that read: list and retrieve of every kind, the lists that live inside objects, the account and its balance."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mock_api import forms
from mock_api.errors import bad_request, missing
from mock_api.filters import Obj
from mock_api.lists import list_page, nested_page, take_paging
from mock_api.rendering import expanded, expanded_page, rendered, take_expand
from mock_api.resources import BY_KIND, RESOURCES, Resource, nested_rows
from mock_api.routes import Call, Route

_LIST_PARAMS = ("limit", "starting_after", "ending_before", "expand[]")

_SUBLISTS = (
    ("/v1/customers/{id}/payment_methods", "customers", "payment_methods", "customer"),
    ("/v1/customers/{id}/subscriptions", "customers", "subscriptions", "customer"),
    ("/v1/charges/{id}/refunds", "charges", "refunds", "charge"),
)
"""Lists under an object: path, kind of the object, kind of the rows, and the filter that names the object."""


def read_routes() -> Iterator[Route]:
    """Every endpoint that reads."""
    for resource in RESOURCES:
        created = ("created",) if resource.has_created_filter else ()
        params = (*_LIST_PARAMS, *created, *resource.filters)
        path = f"/v1/{resource.kind}"
        yield Route("GET", path, resource.tag, f"List {resource.kind}", _lister(resource, path), params)
        yield Route(
            "GET",
            f"{path}/{{id}}",
            resource.tag,
            f"Retrieve a {resource.noun}",
            _retriever(resource),
            ("expand[]",),
        )
    for path, parent, kind, name in _SUBLISTS:
        resource = BY_KIND[kind]
        answer = _sublister(BY_KIND[parent], resource, path, name)
        yield Route(
            "GET",
            path,
            resource.tag,
            f"List a {BY_KIND[parent].noun}'s {kind}",
            answer,
            (*_LIST_PARAMS, *resource.filters),
        )
    yield Route(
        "GET", "/v1/invoices/{id}/lines", "Billing", "List an invoice's lines", _invoice_lines, _LIST_PARAMS
    )
    yield Route(
        "GET",
        "/v1/subscription_items",
        "Billing",
        "List a subscription's items",
        _subscription_items,
        ("subscription", *_LIST_PARAMS),
    )
    yield Route("GET", "/v1/account", "Account", "Retrieve the account", _account)
    yield Route("GET", "/v1/balance", "Balance", "Retrieve the balance", _balance)


def _lister(resource: Resource, url: str) -> Callable[[Call], Obj]:
    def answer(call: Call) -> Obj:
        paths = take_expand(call.params)
        page = list_page(call.world, resource, call.params)
        return expanded_page(call.world, page, paths).envelope(url)

    return answer


def _retriever(resource: Resource) -> Callable[[Call], Obj]:
    def answer(call: Call) -> Obj:
        paths = take_expand(call.params)
        forms.read_all(call.params, {})
        return expanded(call.world, rendered(find(call, resource)), paths)

    return answer


def find(call: Call, resource: Resource) -> Obj:
    """The object named in the path, raising 404 `resource_missing` for one that is not served.

    Only a deleted customer can still be retrieved, as a stub; whatever else was deleted is gone.
    """
    object_id = call.ids["id"]
    obj = call.world.get(resource.kind, object_id)
    if obj is None or ("deleted" in obj and resource.kind != "customers"):
        raise missing(resource.noun, object_id)
    kept_since = resource.kept_since(call.world.now)
    if kept_since is not None and obj["created"] < kept_since:
        raise missing(resource.noun, object_id)
    return obj


def _sublister(parent: Resource, resource: Resource, path: str, name: str) -> Callable[[Call], Obj]:
    def answer(call: Call) -> Obj:
        paths = take_expand(call.params)
        owner = find(call, parent)["id"]
        if name in call.params:
            raise forms.unknown_parameter(name)
        page = list_page(call.world, resource, {**call.params, name: owner})
        return expanded_page(call.world, page, paths).envelope(path.format(id=owner))

    return answer


def _invoice_lines(call: Call) -> Obj:
    invoice = find(call, BY_KIND["invoices"])
    return _nested(
        call, nested_rows(invoice["lines"]), "invoice line item", f"/v1/invoices/{invoice['id']}/lines"
    )


def _subscription_items(call: Call) -> Obj:
    if "subscription" not in call.params:
        raise bad_request(
            "Missing required param: subscription.", param="subscription", code="parameter_missing"
        )
    object_id = forms.text(call.params.pop("subscription"), "subscription")
    subscription = call.world.get("subscriptions", object_id)
    if subscription is None:
        raise missing("subscription", object_id, param="subscription", status=400)
    return _nested(
        call,
        nested_rows(subscription["items"]),
        "subscription item",
        f"/v1/subscription_items?subscription={object_id}",
    )


def _nested(call: Call, rows: list[Obj], noun: str, url: str) -> Obj:
    paths = take_expand(call.params)
    paging = take_paging(call.params)
    forms.read_all(call.params, {})
    return expanded_page(call.world, nested_page(rows, noun, paging), paths).envelope(url)


def _account(call: Call) -> Obj:
    forms.read_all(call.params, {})
    return call.world.account


def _balance(call: Call) -> Obj:
    forms.read_all(call.params, {})
    per_currency = sorted(call.world.balance().items())
    parts = {
        name: [{"amount": amounts[name], "currency": currency} for currency, amounts in per_currency]
        for name in ("available", "pending")
    }
    return {"object": "balance", **parts, "livemode": False}
