from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mock_api.lists import Page, list_page
from mock_api.resources import BY_KIND
from mock_api.world import World

START = date(2026, 9, 1)
MIDNIGHT = int(datetime(2026, 9, 1, tzinfo=UTC).timestamp())
DAY = 86_400
KINDS = ("events", "charges", "customers", "balance_transactions")

windows = st.tuples(
    st.sampled_from(("gt", "gte")), st.integers(0, 9), st.sampled_from(("lt", "lte")), st.integers(0, 9)
)


@pytest.fixture(scope="module")
def world() -> World:
    """Nine busy days, with many objects in one second."""
    played = World(seed=3, start=START, customers_per_day=3)
    played.play(MIDNIGHT + 9 * DAY)
    return played


def pages(world: World, kind: str, params: dict[str, Any], cursor: str) -> list[dict[str, Any]]:
    """All rows that a client meets who follows a cursor to the end, in the order it meets them."""
    met: list[dict[str, Any]] = []
    while True:
        page: Page = list_page(world, BY_KIND[kind], params)
        rows = page.rows if cursor == "starting_after" else page.rows[::-1]
        met += rows
        if not page.has_more:
            return met
        params = {**params, cursor: rows[-1]["id"]}


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(KINDS), limit=st.integers(1, 100), window=windows, offset=st.integers(0, DAY))
def test_pages_of_any_size_join_to_the_window(
    world: World, kind: str, limit: int, window: tuple[str, int, str, int], offset: int
) -> None:
    """Whatever the page size and the bounds: every object of the window once, newest first, and the same backward."""
    lower, first, upper, last = window
    low, high = MIDNIGHT + first * DAY + offset, MIDNIGHT + last * DAY + offset
    params = {"limit": str(limit), "created": {lower: str(low), upper: str(high)}}
    wanted = [
        row
        for row in reversed(world.rows(kind))
        if (row["created"] > low or (lower == "gte" and row["created"] == low))
        and (row["created"] < high or (upper == "lte" and row["created"] == high))
    ]
    forward = pages(world, kind, params, "starting_after")
    assert forward == wanted
    if forward:
        oldest = forward[-1]["id"]
        assert pages(world, kind, {**params, "ending_before": oldest}, "ending_before") == forward[-2::-1]


@settings(max_examples=20, deadline=None)
@given(limit=st.integers(1, 20), pause=st.integers(1, 6 * 3600))
def test_objects_that_arrive_while_paging_disturb_no_page(limit: int, pause: int) -> None:
    """New ones are in front of the first page: the old ones still appear exactly once."""
    world = World(seed=3, start=START, customers_per_day=2)
    world.play(MIDNIGHT + 3 * DAY)
    wanted = [row["id"] for row in reversed(world.rows("charges"))]
    met: list[str] = []
    params: dict[str, Any] = {"limit": str(limit)}
    while True:
        page = list_page(world, BY_KIND["charges"], params)
        met += [row["id"] for row in page.rows]
        if not page.has_more:
            break
        params["starting_after"] = met[-1]
        world.play(world.now + pause)
    assert met == wanted
