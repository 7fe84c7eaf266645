"""Whatever an account holds, a listing brings exactly the objects of its window."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from payments_pipeline.entities import ENTITIES
from payments_pipeline.flow import Window
from tests.unit.stripe.wire import Shelf, client_of, ids, thing

seconds = st.integers(1000, 1012)
created = st.lists(st.one_of(seconds, st.sampled_from([1003, 1004])), max_size=130)
page_sizes = st.one_of(st.integers(1, 7), st.integers(1, 100))
windows = st.tuples(seconds, seconds).map(lambda ends: Window(min(ends), max(ends) + 1))
kinds = st.sampled_from(sorted(ENTITIES))


def shelf_of(kind: str, moments: list[int]) -> Shelf:
    """Objects created then, many of them in the same second."""
    shelf = Shelf(kind, (thing(ENTITIES[kind], number, moment) for number, moment in enumerate(moments)))
    shelf.now = 2000
    return shelf


def read(shelf: Shelf, window: Window, page_size: int) -> list[str]:
    """The ids that a listing brings, in order."""
    with client_of(shelf, page_size=page_size) as client:
        return ids(text for page in client.pages(shelf.spec, window) for text in page.records)


def within(objects: list[dict[str, Any]], window: Window) -> list[str]:
    """The ids of those created in the window."""
    return [obj["id"] for obj in objects if window.start <= obj["created"] < window.end]


@settings(max_examples=150, deadline=None)
@given(kind=kinds, moments=created, window=windows, page_size=page_sizes)
def test_pages_bring_exactly_the_window(
    kind: str, moments: list[int], window: Window, page_size: int
) -> None:
    """Each object once, newest first, whatever the page size and the ties."""
    shelf = shelf_of(kind, moments)
    assert read(shelf, window, page_size) == within(shelf.rows(kind), window)[::-1]


@settings(max_examples=60, deadline=None)
@given(kind=kinds, moments=created, cuts=st.lists(seconds, max_size=5), page_size=page_sizes)
def test_windows_that_touch_join_without_gap_or_overlap(
    kind: str, moments: list[int], cuts: list[int], page_size: int
) -> None:
    """However a range is cut."""
    shelf = shelf_of(kind, moments)
    edges = sorted({1000, *cuts, 1013})
    found: list[str] = []
    for start, end in pairwise(edges):
        found += read(shelf, Window(start, end), page_size)
    assert sorted(found) == sorted(shelf.objects)


@settings(max_examples=150, deadline=None)
@given(kind=kinds, moments=created, window=windows, page_size=page_sizes, data=st.data())
def test_changes_while_paging_lose_nothing_that_stays(
    kind: str, moments: list[int], window: Window, page_size: int, data: st.DataObject
) -> None:
    """Before any call objects may appear in any second and others vanish, the cursor's among them.

    What was there all the time is found; what is found was there at some time.
    """
    shelf = shelf_of(kind, moments)
    steady, ever = set(shelf.objects), set(shelf.objects)
    changes = data.draw(
        st.lists(st.tuples(st.booleans(), st.booleans(), seconds, st.integers(0, 200)), max_size=40)
    )

    def change(number: int) -> None:
        if number > len(changes):
            return
        take_cursor, add, moment, choice = changes[number - 1]
        if take_cursor:
            cursor = shelf.asked[-1].url.params.get("starting_after")
            shelf.objects.pop(cursor, None)
            steady.discard(cursor)
        elif shelf.objects:
            victim = sorted(shelf.objects)[choice % len(shelf.objects)]
            del shelf.objects[victim]
            steady.discard(victim)
        if add:
            obj = thing(shelf.spec, 1000 + number, moment)
            shelf.objects[obj["id"]] = obj
            ever.add(obj["id"])

    wanted = set(within(shelf.rows(kind), window))
    shelf.before = change
    found = set(read(shelf, window, page_size))
    assert wanted & steady <= found <= ever
