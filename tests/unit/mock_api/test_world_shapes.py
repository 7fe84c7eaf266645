"""The world's objects against the official SDK's resource classes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, ForwardRef, Literal, Union, get_args, get_origin

import pytest
from stripe import ListObject, StripeObject

import mock_api
from mock_api.make_shapes import CLASSES, always_present, fields, rendered
from mock_api.money import DAY
from mock_api.world import KINDS, World

BY_CLASS_NAME = {cls.__name__: name for name, cls in CLASSES.items()}


@pytest.fixture(scope="module")
def world() -> World:
    """A month and a half of business, with every kind of object in it."""
    world = World(seed=11, start=date(2026, 7, 20), customers_per_day=5)
    world.play(world.now + 50 * DAY)
    return world


def faults(path: str, value: Any, hint: Any) -> Iterator[str]:
    """Every way in which `value` is not what the annotation declares."""
    if isinstance(hint, ForwardRef):
        hint = CLASSES[BY_CLASS_NAME[hint.__forward_arg__]] if isinstance(value, dict) else str
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Union:
        yield from union_faults(path, value, arguments)
    elif origin is Literal and value not in arguments:
        yield f"{path}: {value!r} is not one of {arguments}"
    elif origin is list:
        yield from list_faults(path, value, arguments[0])
    elif origin is ListObject:
        yield from envelope_faults(path, value, arguments[0])
    elif isinstance(hint, type) and issubclass(hint, StripeObject):
        yield from object_faults(BY_CLASS_NAME.get(hint.__name__, path), value, hint)
    elif isinstance(hint, type) and type(value) is not (str if hint is Decimal else hint):
        yield f"{path}: {value!r} is not {hint}"


def list_faults(path: str, value: Any, element: Any) -> Iterator[str]:
    """A plain array and its elements."""
    if not isinstance(value, list):
        yield f"{path}: not a list"
        return
    for member in value:
        yield from faults(path, member, element)


def envelope_faults(path: str, value: Any, element: Any) -> Iterator[str]:
    """A nested list in Stripe's envelope and its elements."""
    if value.keys() != {"object", "data", "has_more", "url"}:
        yield f"{path}: not a list envelope"
    yield from list_faults(path, value["data"], element)


def union_faults(path: str, value: Any, members: tuple[Any, ...]) -> Iterator[str]:
    """A string must be one of the literals, where the union names any; anything else must fit one member."""
    if value is None:
        if type(None) not in members:
            yield f"{path}: null is not allowed"
        return
    members = tuple(member for member in members if member is not type(None))
    if isinstance(value, str) and any(get_origin(member) is Literal for member in members):
        members = tuple(member for member in members if get_origin(member) is Literal)
    found = [list(faults(path, value, member)) for member in members]
    if all(found):
        yield from found[0]


def object_faults(path: str, value: Any, cls: type[StripeObject]) -> Iterator[str]:
    """Missing and undeclared fields of an object, then the faults of its fields."""
    declared = fields(cls)
    if not isinstance(value, dict):
        yield f"{path}: {value!r} is not an object"
        return
    if not declared or cls is StripeObject:
        return
    yield from (f"{path}.{name} is missing" for name in always_present(path, cls) if name not in value)
    yield from (f"{path}.{name} is not declared" for name in value if name not in declared)
    for name in value.keys() & declared.keys():
        yield from faults(f"{path}.{name}", value[name], declared[name])


@pytest.mark.parametrize("kind", KINDS)
def test_objects_are_what_the_sdk_declares(world: World, kind: str) -> None:
    """No always-present field is missing, none is undeclared, and every enumerated value is legal."""
    rows = world.rows(kind)
    name = KINDS[kind][0]
    assert rows
    found = {fault for row in rows for fault in faults(name, row, CLASSES[name])}
    assert sorted(found) == []


def test_every_event_holds_an_object_the_sdk_declares(world: World) -> None:
    """Snapshots are complete objects too, at every stage of their lives."""
    snapshots = [event["data"]["object"] for event in world.rows("events")]
    found = {
        fault
        for snapshot in snapshots
        for fault in faults(snapshot["object"], snapshot, CLASSES[snapshot["object"]])
    }
    assert sorted(found) == []


def test_the_checker_notices_what_is_wrong(world: World) -> None:
    """A dropped field, an invented field, an illegal literal and a wrong type are all found."""
    charge = {**world.rows("charges")[0], "status": "done", "invoice": "in_1", "amount": "12"}
    del charge["outcome"]
    found = {fault.partition(":")[0] for fault in faults("charge", charge, CLASSES["charge"])}
    assert found == {
        "charge.status",
        "charge.invoice is not declared",
        "charge.amount",
        "charge.outcome is missing",
    }


def test_shapes_file_is_what_the_generator_writes() -> None:
    """shapes.json is generated, never edited."""
    written = (Path(mock_api.__file__).parent / "shapes.json").read_text(encoding="utf-8")
    assert written == rendered()
