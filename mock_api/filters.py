"""The filters of the list endpoints: each turns the raw value of a query parameter into a test on one object."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mock_api import forms
from mock_api.errors import bad_request, missing

if TYPE_CHECKING:
    from mock_api.world import World

Obj = dict[str, Any]
Test = Callable[[Obj], bool]


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter of a list endpoint; `parse(world, raw value, parameter name)` raises `ApiError` (400) for a value Stripe refuses."""

    parse: Callable[[World, Any, str], Test]


def field(path: str) -> Callable[[Obj], Any]:
    """Reads a dotted path; None where any step is absent."""
    names = path.split(".")

    def read(obj: Obj) -> Any:
        value: Any = obj
        for name in names:
            if not isinstance(value, dict):
                return None
            value = value.get(name)
        return value

    return read


def equals(path: str, reader: forms.Reader = forms.text) -> Filter:
    """The field equals the value."""
    return among((path,), reader)


def among(paths: Collection[str], reader: forms.Reader = forms.text) -> Filter:
    """At least one of the fields equals the value."""
    reads = [field(path) for path in paths]

    def parse(world: World, value: Any, param: str) -> Test:
        wanted = reader(value, param)
        return lambda obj: any(read(obj) == wanted for read in reads)

    return Filter(parse)


def word(path: str, *allowed: str) -> Filter:
    """The field equals the value, which is one of the allowed words."""
    return equals(path, forms.one_of(*allowed))


def flag(path: str) -> Filter:
    """The boolean field equals the value."""
    return equals(path, forms.boolean)


def reference(kind: str, noun: str, path: str) -> Filter:
    """The field refers to the object with this id; an id that never existed is a 400 `resource_missing`."""
    read = field(path)

    def parse(world: World, value: Any, param: str) -> Test:
        wanted = forms.text(value, param)
        if world.get(kind, wanted) is None:
            raise missing(noun, wanted, param=param, status=400)
        return lambda obj: bool(read(obj) == wanted)

    return Filter(parse)


def any_of(path: str, limit: int) -> Filter:
    """The field is one of the values of an array parameter of at most `limit` elements."""
    read, as_array = field(path), forms.array(forms.text)

    def parse(world: World, value: Any, param: str) -> Test:
        wanted = set(as_array(value, param))
        if len(wanted) > limit:
            raise bad_request(f"Invalid {param}: at most {limit} values are allowed", param=param)
        return lambda obj: read(obj) in wanted

    return Filter(parse)


def nested(inner: Mapping[str, Filter]) -> Filter:
    """A hash of filters (`recurring[interval]=month`), all of which must hold."""

    def parse(world: World, value: Any, param: str) -> Test:
        if not isinstance(value, dict):
            raise bad_request("Invalid object", param=param)
        for name in value:
            if name not in inner:
                raise forms.unknown_parameter(f"{param}[{name}]")
        tests = [inner[name].parse(world, raw, f"{param}[{name}]") for name, raw in value.items()]
        return lambda obj: all(test(obj) for test in tests)

    return Filter(parse)


@dataclass(frozen=True, slots=True)
class Span:
    """Whole seconds, both ends inclusive; None is open."""

    first: int | None
    last: int | None

    def holds(self, second: Any) -> bool:
        """Whether the second is inside; an absent one never is."""
        return (
            isinstance(second, int)
            and (self.first is None or second >= self.first)
            and (self.last is None or second <= self.last)
        )


def read_span(value: Any, param: str) -> Span:
    """An exact second or a hash of `gt`, `gte`, `lt`, `lte`."""
    if not isinstance(value, dict):
        exact = forms.integer(value, param)
        return Span(exact, exact)
    bounds = forms.hash_of(dict.fromkeys(("gt", "gte", "lt", "lte"), forms.integer))(value, param)
    firsts = [bounds[name] + shift for name, shift in (("gt", 1), ("gte", 0)) if name in bounds]
    lasts = [bounds[name] - shift for name, shift in (("lt", 1), ("lte", 0)) if name in bounds]
    return Span(max(firsts, default=None), min(lasts, default=None))


def span(path: str) -> Filter:
    """The time field lies inside the given span."""
    read = field(path)
    return any_span(lambda obj: [read(obj)])


def any_span(reads: Callable[[Obj], list[Any]]) -> Filter:
    """At least one of the times of the object lies inside the given span."""

    def parse(world: World, value: Any, param: str) -> Test:
        wanted = read_span(value, param)
        return lambda obj: any(wanted.holds(second) for second in reads(obj))

    return Filter(parse)


def transactions_of_payout() -> Filter:
    """The balance transaction belongs to the payout with this id; no field of it says so."""

    def parse(world: World, value: Any, param: str) -> Test:
        payout = forms.text(value, param)
        if world.get("payouts", payout) is None:
            raise missing("payout", payout, param=param, status=400)
        ids = {row["id"] for row in world.payout_transactions(payout)}
        return lambda obj: obj["id"] in ids

    return Filter(parse)
