"""Stripe's list semantics: newest first, cursors in both directions, `has_more` in the direction of travel, `created` windows, filters."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mock_api import forms
from mock_api.errors import bad_request, missing
from mock_api.filters import Obj, Span, Test, read_span
from mock_api.resources import Resource, check_together

if TYPE_CHECKING:
    from mock_api.world import World

DEFAULT_LIMIT = 10
MAX_LIMIT = 100


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page begins: `object_id` is not on it. `param` is `starting_after` (towards older) or `ending_before` (towards newer)."""

    param: str
    object_id: str


@dataclass(frozen=True, slots=True)
class Paging:
    """The parameters every list takes."""

    limit: int
    cursor: Cursor | None


@dataclass(frozen=True, slots=True)
class Page:
    """A page in the order it is served, and whether the direction of travel has more."""

    rows: list[Obj]
    has_more: bool

    def envelope(self, url: str) -> Obj:
        """The list object around the page."""
        return {"object": "list", "data": self.rows, "has_more": self.has_more, "url": url}


def take_paging(params: forms.Tree) -> Paging:
    """Takes limit and cursor out of `params`; raises `ApiError` (400) for what Stripe refuses."""
    limit = _limit(params.pop("limit", str(DEFAULT_LIMIT)))
    given = [name for name in ("starting_after", "ending_before") if name in params]
    if len(given) == 2:
        raise bad_request(
            "You can only specify one of these parameters: starting_after, ending_before.",
            param="starting_after",
        )
    cursors = [Cursor(name, forms.text(params.pop(name), name)) for name in given]
    return Paging(limit, cursors[0] if cursors else None)


def _limit(raw: Any) -> int:
    limit = forms.integer(raw, "limit")
    if limit < 1:
        raise bad_request(
            "This value must be greater than or equal to 1.", param="limit", code="parameter_invalid_integer"
        )
    if limit > MAX_LIMIT:
        message = f"This value must be less than or equal to {MAX_LIMIT} (it currently is '{limit}')."
        raise bad_request(message, param="limit", code="parameter_invalid_integer")
    return limit


def list_page(world: World, resource: Resource, params: forms.Tree) -> Page:
    """The page of a list endpoint for its decoded query parameters (`expand` already taken out)."""
    left = dict(params)
    paging = take_paging(left)
    window = _window(world, resource, left)
    passes = _passes(world, resource, left)
    rows = world.rows(resource.kind)
    start, end = _bounds(rows, window)
    cursor = paging.cursor
    if cursor is None:
        return _travel(rows, range(end - 1, start - 1, -1), passes, paging.limit)
    at = _position(world, resource, cursor, lambda obj: window.holds(obj["created"]) and passes(obj))
    if cursor.param == "starting_after":
        return _travel(rows, range(at - 1, start - 1, -1), passes, paging.limit)
    page = _travel(rows, range(at + 1, end), passes, paging.limit)
    return Page(page.rows[::-1], page.has_more)


def _window(world: World, resource: Resource, params: forms.Tree) -> Span:
    """Takes `created` out of `params`: the window asked for, cut to what the account still keeps."""
    asked = (
        read_span(params.pop("created"), "created")
        if resource.has_created_filter and "created" in params
        else Span(None, None)
    )
    kept_since = resource.kept_since(world.now)
    firsts = [first for first in (asked.first, kept_since) if first is not None]
    return Span(max(firsts, default=None), asked.last)


def _passes(world: World, resource: Resource, params: forms.Tree) -> Test:
    """The filters asked for, and the default ones that were not overridden, as one test."""
    for name in params:
        if name not in resource.filters:
            raise forms.unknown_parameter(name)
    check_together(resource, params)
    tests: list[Test] = [resource.filters[name].parse(world, value, name) for name, value in params.items()]
    tests += [test for name, test in resource.defaults.items() if name not in params]
    if len(tests) == 1:
        return tests[0]
    return lambda obj: all(test(obj) for test in tests)


def _bounds(rows: Sequence[Obj], window: Span) -> tuple[int, int]:
    """The half-open range of positions whose objects lie in the window."""
    start = 0 if window.first is None else bisect_left(rows, window.first, key=_created)
    end = len(rows) if window.last is None else bisect_right(rows, window.last, key=_created)
    return start, max(start, end)


def _created(obj: Obj) -> int:
    return int(obj["created"])


def _position(world: World, resource: Resource, cursor: Cursor, visible: Callable[[Obj], bool]) -> int:
    """The position of the cursor's object; a 400 `resource_missing` when this very list would not show it."""
    rows, known = world.rows(resource.kind), world.get(resource.kind, cursor.object_id)
    gone = missing(resource.noun, cursor.object_id, param=cursor.param, status=400)
    if known is None or known.get("deleted"):
        raise gone
    kept_since = resource.kept_since(world.now)
    if kept_since is not None and known["created"] < kept_since:
        message = f"The event {cursor.object_id} is no longer available because it's aged out of our retention policy."
        raise bad_request(message, param=cursor.param, code="resource_missing")
    if not visible(known):
        raise gone
    at = bisect_left(rows, _created(known), key=_created)
    while at < len(rows) and rows[at]["id"] != cursor.object_id:
        at += 1
    if at == len(rows):
        raise gone
    return at


def _travel(rows: Sequence[Obj], positions: range, passes: Test, limit: int) -> Page:
    found: list[Obj] = []
    for position in positions:
        obj = rows[position]
        if passes(obj):
            if len(found) == limit:
                return Page(found, True)
            found.append(obj)
    return Page(found, False)


def nested_page(rows: Sequence[Obj], noun: str, paging: Paging) -> Page:
    """A page of a list that lives inside an object, in the object's own order."""
    if paging.cursor is None:
        return Page(list(rows[: paging.limit]), len(rows) > paging.limit)
    ids = [row["id"] for row in rows]
    if paging.cursor.object_id not in ids:
        raise missing(noun, paging.cursor.object_id, param=paging.cursor.param, status=400)
    at = ids.index(paging.cursor.object_id)
    if paging.cursor.param == "starting_after":
        end = at + 1 + paging.limit
        return Page(list(rows[at + 1 : end]), len(rows) > end)
    start = max(0, at - paging.limit)
    return Page(list(rows[start:at]), start > 0)
