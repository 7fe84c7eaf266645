"""Lists that change, lie or break while they are read: nothing of a window is lost, nothing goes on for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import pytest

from payments_pipeline.entities import ENTITIES, EntitySpec
from payments_pipeline.errors import SourceError, SourceRefused
from payments_pipeline.flow import Page, Window
from tests.unit.stripe.wire import Script, Shelf, Time, client_of, ids, listing, problem, thing

WINDOW = Window(1000, 2000)
CHARGES = ENTITIES["charges"]
each_entity = pytest.mark.parametrize("kind", ENTITIES)


def shelf_of(kind: str, count: int = 23, *, per_second: int = 4) -> Shelf:
    """Objects from the window's first second on, several in each, and some on either side of it."""
    spec = ENTITIES[kind]
    seconds = [998, 999, *(1000 + number // per_second for number in range(count)), 1999, 2000, 2001]
    shelf = Shelf(kind, (thing(spec, number, created) for number, created in enumerate(seconds)))
    shelf.now = 3000
    return shelf


def inside(shelf: Shelf) -> set[str]:
    """The ids of the window, as things stand."""
    return {obj["id"] for obj in shelf.objects.values() if 1000 <= obj["created"] < 2000}


def read(shelf: Shelf, page_size: int = 3) -> list[str]:
    """The ids that a listing of the window brings."""
    with client_of(shelf, page_size=page_size) as client:
        return ids(text for page in client.pages(shelf.spec, WINDOW) for text in page.records)


def cursor_of(request: httpx.Request) -> str | None:
    """The object that a call continues after."""
    cursor: str | None = request.url.params.get("starting_after")
    return cursor


@each_entity
def test_e17_a_window_holds_its_first_second_and_not_its_end(kind: str) -> None:
    """Every object of the window once, newest first; the neighbours belong to the neighbouring windows."""
    shelf = shelf_of(kind)
    found = read(shelf)
    assert len(found) == len(set(found)) == 24
    assert set(found) == inside(shelf)
    assert [shelf.objects[name]["created"] for name in found] == sorted(
        (shelf.objects[name]["created"] for name in found), reverse=True
    )


@pytest.mark.parametrize("edge", [1000, 1999])
@each_entity
def test_e17_more_than_a_page_of_objects_in_one_second(kind: str, edge: int) -> None:
    """Also in the first or the last second of the window."""
    spec = ENTITIES[kind]
    shelf = Shelf(kind, (thing(spec, number, edge) for number in range(250)))
    shelf.now = 3000
    found = read(shelf, page_size=100)
    assert len(found) == 250
    assert set(found) == set(shelf.objects)


@each_entity
def test_e15_objects_that_arrive_while_paging_lose_nothing(kind: str) -> None:
    """They come in at the front, in the very seconds that are being read, and in between."""
    shelf = shelf_of(kind)
    wanted = inside(shelf)

    def arrive(number: int) -> None:
        for created in (1000 + number, 1002, 2500):
            obj = thing(shelf.spec, 1000 * number + created, created)
            shelf.objects[obj["id"]] = obj

    shelf.before = arrive
    assert wanted <= set(read(shelf)) <= inside(shelf)


def vanish_cursor(shelf: Shelf) -> None:
    """Take the object away that the newest call wants to continue after."""
    shelf.objects.pop(cursor_of(shelf.asked[-1]) or "", None)


@each_entity
def test_e16_the_cursor_object_vanishes_before_every_page(kind: str) -> None:
    """Deleted, or no longer passing the list's filters: whatever still is there is found."""
    shelf = shelf_of(kind)
    wanted = inside(shelf)
    shelf.before = lambda number: vanish_cursor(shelf)
    assert set(read(shelf)) == wanted
    assert len(inside(shelf)) < len(wanted)


@each_entity
def test_e16_a_whole_page_vanishes_with_the_cursor(kind: str) -> None:
    """More than a page of one second, of which the part already shown is deleted."""
    spec = ENTITIES[kind]
    shelf = Shelf(kind, (thing(spec, number, 1500 + number // 40) for number in range(100)))
    shelf.now = 3000
    wanted = inside(shelf)
    shown: set[str] = set()
    with client_of(shelf, page_size=10) as client:
        pages = client.pages(spec, WINDOW)
        for page in pages:
            shown |= set(ids(page.records))
            if len(shown) == 30:
                for name in shown:
                    del shelf.objects[name]
    assert shown == wanted


@each_entity
def test_e16_objects_that_change_while_paging_appear_in_one_of_their_states(kind: str) -> None:
    """The newer one wherever it is read again."""
    shelf = shelf_of(kind)

    def change(number: int) -> None:
        for obj in shelf.objects.values():
            obj["metadata"] = {"version": str(number)}

    shelf.before = change
    seen = 0
    with client_of(shelf, page_size=5) as client:
        for call, page in enumerate(client.pages(shelf.spec, WINDOW), 1):
            versions = {msgspec.json.decode(text)["metadata"]["version"] for text in page.records}
            assert versions <= {str(call)}
            seen += len(page.records)
    assert seen == len(inside(shelf))


def test_e20_events_that_age_out_while_they_are_read_end_the_list_and_not_the_run() -> None:
    """A cursor beyond the API's retention is one that vanished: what is still kept is found."""
    retention = 30 * 86_400
    spec = ENTITIES["events"]
    shelf = Shelf("events", (thing(spec, number, 1000 + number) for number in range(40)))

    def age(number: int) -> None:
        shelf.now = retention + 1000 + 4 * number

    shelf.before = age
    found = read(shelf)
    kept_since = shelf.now - retention
    assert 1000 < kept_since < 1039
    assert {name for name, obj in shelf.objects.items() if obj["created"] >= kept_since} <= set(found)
    assert len(found) < 40


def test_a_list_without_created_filter_stops_below_its_window() -> None:
    """Not at its first odd record, and not at the end of the account."""
    spec = ENTITIES["payment_methods"]
    shelf = Shelf("payment_methods", (thing(spec, number, number) for number in range(500, 2500)))
    wanted = inside(shelf)
    found = read(shelf, page_size=100)
    assert set(found) == wanted
    assert len(shelf.asked) == 16
    # The record that closes a page of newer objects claims to be from 1970.
    answers = [
        listing(b'{"id":"pm_3","created":1500}', b'{"id":"pm_2","created":1}', has_more=True),
        listing(b'{"id":"pm_1","created":1400}'),
    ]
    with client_of(lambda _: answers.pop(0)) as client:
        pages = list(client.pages(spec, WINDOW))
    assert [ids(page.records) for page in pages] == [["pm_3"], ["pm_1"]]


def test_e12_an_empty_page_that_promises_more_is_an_error() -> None:
    """Not the end of the list."""
    with (
        client_of(lambda _: listing(has_more=True)) as client,
        pytest.raises(SourceError, match="nothing new to continue from"),
    ):
        list(client.pages(CHARGES, WINDOW))


def loop(*names: str) -> Callable[[httpx.Request], httpx.Response]:
    """A list of pages of one object each that runs in a circle."""
    follower = dict(zip(names, [*names[1:], names[0]], strict=True))

    def answer(request: httpx.Request) -> httpx.Response:
        cursor = cursor_of(request)
        name = names[0] if cursor is None else follower[cursor]
        return listing(b'{"id":"%b","created":1500}' % name.encode(), has_more=True)

    return answer


@pytest.mark.parametrize("names", [("ch_1",), ("ch_1", "ch_2"), ("ch_1", "ch_2", "ch_3")])
def test_e13_a_cursor_that_comes_back_is_an_error(names: tuple[str, ...]) -> None:
    """At its first repeat, however long the circle."""
    with client_of(loop(*names)) as client:
        pages: list[Page] = []
        with pytest.raises(SourceError, match="nothing new to continue from"):
            pages.extend(client.pages(CHARGES, WINDOW))
        assert client.counts.calls == len(names) + 1


def test_e13_the_same_page_again_and_again_is_an_error() -> None:
    """Whatever cursor it is asked with."""
    page = [b'{"id":"ch_3","created":3}', b'{"id":"ch_2","created":2}', b'{"id":"ch_1","created":1}']
    with client_of(lambda _: listing(*page, has_more=True)) as client:
        with pytest.raises(SourceError, match="nothing new to continue from"):
            list(client.pages(CHARGES, WINDOW))
        assert client.counts.calls == 2


def test_e13_a_source_that_knows_none_of_its_objects_is_given_up() -> None:
    """It refuses every cursor it gave."""

    def answer(request: httpx.Request) -> httpx.Response:
        if cursor_of(request) is None:
            return listing(b'{"id":"ch_1","created":1500}', has_more=True)
        error = {"code": "resource_missing", "param": "starting_after", "message": "No such charge"}
        return httpx.Response(400, json={"error": error})

    with client_of(answer) as client, pytest.raises(SourceError, match="lost its place 100 times"):
        list(client.pages(CHARGES, WINDOW))


def test_a_missing_object_in_another_parameter_is_no_lost_cursor() -> None:
    """It is a refusal like any other."""
    with client_of(lambda _: problem(400, code="resource_missing")) as client, pytest.raises(SourceRefused):
        list(client.pages(CHARGES, WINDOW))


def test_e14_duplicates_inside_a_page_and_across_pages_lose_nothing() -> None:
    """They are handed on: silver keeps one row of each."""
    shelf = shelf_of("charges")

    def answer(request: httpx.Request) -> httpx.Response:
        page = msgspec.json.decode(shelf(request).content)
        repeated: list[dict[str, Any]] = page["data"][:2]
        again = [thing(CHARGES, 0, 998)] if cursor_of(request) else []
        return httpx.Response(200, json={**page, "data": again + page["data"] + repeated})

    with client_of(answer, Time(), page_size=7) as client:
        found = ids(text for page in client.pages(CHARGES, WINDOW) for text in page.records)
    assert inside(shelf) <= set(found)
    assert len(found) > len(set(found))


@pytest.mark.parametrize("bad", [b'{"created":1500}', b'{"id":7,"created":1500}', b'{"id":"","x":NaN}'])
def test_records_without_an_id_are_handed_on_and_do_not_end_a_list(bad: bytes) -> None:
    """The page before the last of its records that has an id is continued after that one."""
    asked: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(cursor_of(request))
        if asked[-1] is None:
            return listing(b'{"id":"ch_2","created":1501}', bad, has_more=True)
        return listing(bad, b'{"id":"ch_1","created":1500}')

    with client_of(answer) as client:
        records = [page.records for page in client.pages(CHARGES, WINDOW)]
    assert asked == [None, "ch_2"]
    assert records == [
        (b'{"id":"ch_2","created":1501}', bad),
        (bad, b'{"id":"ch_1","created":1500}'),
    ]


def test_records_that_do_not_say_when_they_were_created_are_never_left_out() -> None:
    """Not where a list has no filter, nor where it is resumed after them: then the whole window is asked for again."""
    bare, dated = b'{"id":"pm_2"}', b'{"id":"pm_1","created":1500}'
    with client_of(lambda _: listing(bare, dated)) as client:
        (page,) = client.pages(ENTITIES["payment_methods"], WINDOW)
    assert page.records == (bare, dated)
    lost = {"code": "resource_missing", "param": "starting_after", "message": "No such charge"}
    script = Script([listing(bare, has_more=True), httpx.Response(400, json={"error": lost}), listing(dated)])
    with client_of(script) as client:
        assert [page.records for page in client.pages(CHARGES, WINDOW)] == [(bare,), (dated,)]
    assert script.asked[2].url.params["created[lt]"] == str(WINDOW.end)


def test_e18_what_becomes_visible_late_is_found_by_the_next_look() -> None:
    """A listing never answers from memory."""
    shelf = shelf_of("charges")
    before = read(shelf)
    late = thing(CHARGES, 77, 1003)
    shelf.objects[late["id"]] = late
    assert set(read(shelf)) == {*before, late["id"]}


def entity_specs() -> list[EntitySpec]:
    """Entities whose lists hide objects unless told not to."""
    return [spec for spec in ENTITIES.values() if spec.listings != ({},)]


@pytest.mark.parametrize("spec", entity_specs(), ids=lambda spec: spec.name)
def test_filters_that_hide_objects_are_lifted_on_every_page(spec: EntitySpec) -> None:
    """Also after a restart."""
    shelf = Shelf(spec.name, (thing(spec, number, 1500, status="canceled") for number in range(9)))
    shelf.before = lambda number: vanish_cursor(shelf)
    assert len(set(read(shelf))) == 9
    for request in shelf.asked:
        assert any(dict(each).items() <= dict(request.url.params).items() for each in spec.listings)


def test_prices_are_found_whether_active_or_not() -> None:
    """Also where the list shows active prices only unless asked for the others."""
    spec = ENTITIES["prices"]
    shelf = Shelf("prices", (thing(spec, number, 1500, active=number % 2 == 0) for number in range(9)))
    found = read(shelf)
    assert len(found) == 9
    assert set(found) == set(shelf.objects)
