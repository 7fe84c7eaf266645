"""Objects as the API serves them: nested lists cut to their first ten rows, and `expand[]` honoured.

The world's objects are never changed: every step that alters something copies the objects on its path.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mock_api import forms
from mock_api.errors import bad_request
from mock_api.filters import Obj
from mock_api.lists import DEFAULT_LIMIT, Page, Paging, list_page, nested_page
from mock_api.resources import BY_KIND, nested_rows
from mock_api.state import KINDS

if TYPE_CHECKING:
    from mock_api.world import World

MAX_DEPTH = 4
"""Segments of an expand path; `data.` of a list counts as one."""

_KIND_OF_PREFIX = {prefix: kind for kind, (_, prefix) in KINDS.items()} | {
    "py_": "charges",
    "pyr_": "refunds",
}
"""Id prefix -> kind; charges and refunds of debits have prefixes of their own."""

_NESTED = {
    "invoice": ("lines", "/v1/invoices/{id}/lines"),
    "subscription": ("items", "/v1/subscription_items?subscription={id}"),
}
"""Objects that carry a list: its field and its URL."""


def rendered(obj: Obj) -> Obj:
    """The object with its nested list as an envelope of at most ten rows; events likewise around the object they carry."""
    if obj["object"] == "event":
        return {**obj, "data": {**obj["data"], "object": rendered(obj["data"]["object"])}}
    if obj["object"] not in _NESTED:
        return obj
    name, url = _NESTED[obj["object"]]
    if name not in obj:
        return obj
    page = nested_page(nested_rows(obj[name]), name, Paging(DEFAULT_LIMIT, None))
    return {**obj, name: page.envelope(url.format(id=obj["id"]))}


def take_expand(params: forms.Tree) -> list[list[str]]:
    """Takes `expand[]` out of `params` as paths; raises `ApiError` (400) for one that is too deep."""
    paths = forms.array(forms.text)(params.pop("expand", ""), "expand")
    for path in paths:
        if path.count(".") >= MAX_DEPTH:
            raise bad_request(
                f"You cannot expand more than {MAX_DEPTH} levels of a property. Property: {path}",
                param="expand",
            )
    return [path.split(".") for path in paths]


def expanded(world: World, obj: Obj, paths: Sequence[Sequence[str]]) -> Obj:
    """The rendered object with every path replaced by the object it names; raises `ApiError` (400) for what cannot be expanded."""
    for path in paths:
        obj = _expand(world, obj, path, ".".join(path))
    return obj


def expanded_page(world: World, page: Page, paths: Sequence[Sequence[str]]) -> Page:
    """The page with its rows rendered and expanded; on lists a path begins with `data`."""
    for path in paths:
        if path[0] != "data":
            name = ".".join(path)
            raise bad_request(
                f"This property cannot be expanded ({name}). You may want to try expanding 'data.{name}' instead.",
                param="expand",
            )
    inner = [path[1:] for path in paths if len(path) > 1]
    return Page([expanded(world, rendered(row), inner) for row in page.rows], page.has_more)


def _expand(world: World, obj: Obj, path: Sequence[str], name: str) -> Obj:
    if not path:
        return obj
    head, rest = path[0], path[1:]
    # Event payloads are rendered when the event happens and never again.
    if obj.get("object") == "event":
        raise _cannot(name)
    if head not in obj:
        return {**obj, head: _expand_value(world, _included(world, obj, head, name), rest, name)}
    return {**obj, head: _expand_value(world, obj[head], rest, name)}


def _expand_value(world: World, value: Any, rest: Sequence[str], name: str) -> Any:
    if value is None:
        return None
    if isinstance(value, str):
        return _expand(world, _resolve(world, value, name), rest, name)
    if isinstance(value, list):
        return [_expand_value(world, inner, rest, name) for inner in value]
    if isinstance(value, dict) and (rest or "object" in value):
        return _expand(world, value, rest, name)
    raise _cannot(name)


def _resolve(world: World, object_id: str, name: str) -> Obj:
    kind = _KIND_OF_PREFIX.get(object_id.partition("_")[0] + "_")
    found = None if kind is None else world.get(kind, object_id)
    if found is None:
        raise _cannot(name)
    return rendered(found)


def _cannot(name: str) -> Exception:
    return bad_request(f"This property cannot be expanded ({name}).", param="expand")


_INCLUDABLE: dict[tuple[str, str], tuple[str, str, str]] = {
    ("charge", "refunds"): ("refunds", "charge", "/v1/charges/{id}/refunds"),
    ("customer", "subscriptions"): ("subscriptions", "customer", "/v1/customers/{id}/subscriptions"),
    ("invoice", "payments"): ("invoice_payments", "invoice", "/v1/invoice_payments?invoice={id}"),
}
"""Lists that are absent unless asked for: (object, field) -> kind of the rows, the filter that names the object, URL."""


def _included(world: World, obj: Obj, field: str, name: str) -> Obj:
    known = _INCLUDABLE.get((obj.get("object", ""), field))
    if known is None:
        raise _cannot(name)
    kind, owner, url = known
    page = list_page(world, BY_KIND[kind], {owner: obj["id"]})
    return expanded_page(world, page, ()).envelope(url.format(id=obj["id"]))
