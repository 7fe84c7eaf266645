"""What may become bronze: whole JSON, typed as declared, readable by the engine; everything else is told apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from payments_pipeline.entities import ENTITIES
from payments_pipeline.screen import MAX_RECORD_BYTES, Rejected, Screen, schema_name
from payments_pipeline.transform.duckdb_engine import DuckDBEngine

CHARGES = ENTITIES["charges"]
BASE = '"id":"ch_1","object":"charge","created":1767225600,"amount":5,"currency":"usd"'
META = b',"meta":{"observed_at":"2026-01-01T00:00:00.000000Z","source":"list","offset":0}}\n'


def _with(text: str, *, replacing: str = "") -> bytes:
    """A charge with one more member, or with one of its members replaced."""
    members = BASE.replace(replacing, text) if replacing else f"{BASE},{text}"
    return f"{{{members}}}".encode()


def _nested(depth: int) -> str:
    return '"extra":' + "[" * depth + "]" * depth


ID, CREATED, AMOUNT = '"id":"ch_1"', '"created":1767225600', '"amount":5'

ACCEPTED = {
    "no-break separators": _with('"description":"a\u2028b\u2029c\u0085d"'),
    "NUL in a text": _with(r'"description":"a\u0000b"'),
    "NUL in a key": _with(r'"a\u0000b":1'),
    "whole surrogate pair": _with(r'"description":"\ud83d\ude00"'),
    "noncharacters": _with('"description":"\uffff\U0010ffff"'),
    "any plane": _with('"description":"鍵 😀 é e\u0301"'),
    "a text like SQL": _with('"description":"\'; drop table x;--"'),
    "5,000 digits where nobody reads": _with('"extra":' + "9" * 5000),
    "5,000 digits in metadata": _with('"metadata":{"a":' + "9" * 5000 + "}"),
    "infinite where nobody reads": _with('"extra":1e400'),
    "a denormal": _with('"extra":1e-400'),
    "negative zero": _with('"amount":-0', replacing=AMOUNT),
    "the largest amount": _with('"amount":9223372036854775807', replacing=AMOUNT),
    "the smallest amount": _with('"amount":-9223372036854775808', replacing=AMOUNT),
    "no amount": _with('"amount":null', replacing=AMOUNT),
    "an unknown currency": _with('"currency":"xts"', replacing='"currency":"usd"'),
    "nested a hundred deep": _with(_nested(100)),
    "ten megabytes": _with('"description":"' + "x" * 10_000_000 + '"'),
    "whitespace all over": (" \r\n\t" + _with('"extra":[ 1 , 2 ]').decode() + " \n").encode(),
    "other case is another key": _with('"ID":"ch_2","Amount":7,"DELETED":true'),
    "empty key": _with('"":1'),
    "longest id": _with('"id":"' + "c" * 255 + '"', replacing=ID),
    "path as id": _with('"id":"../../etc/passwd"', replacing=ID),
    "SQL as id": _with('"id":"a\'b;--\\"{}%$"', replacing=ID),
    "first second": _with('"created":1', replacing=CREATED),
    "last second": _with('"created":4102444799', replacing=CREATED),
    "tombstone": b'{"id":"ch_1","object":"charge","deleted":true}',
    "key twice where nobody reads": _with('"extra":1,"extra":2'),
}

REJECTED = {
    "nothing": b"",
    "a scalar": b"1",
    "null": b"null",
    "a list": b"[]",
    "not UTF-8": _with('"description":"?"').replace(b"?", b"\xff"),
    "overlong UTF-8": _with('"description":"?"').replace(b"?", b"\xc0\x80"),
    "UTF-8 of a surrogate": _with('"description":"?"').replace(b"?", b"\xed\xa0\x80"),
    "byte order mark": b"\xef\xbb\xbf" + _with('"extra":1'),
    "UTF-16": _with('"extra":1').decode().encode("utf-16"),
    "half a pair": _with(r'"description":"\ud800"'),
    "half a pair where nobody reads": _with(r'"extra":"\udc00x"'),
    "half a pair in metadata": _with(r'"metadata":{"a":"\ud800"}'),
    "half a pair in a key": _with(r'"\ud800":1'),
    "half a pair in a metadata key": _with(r'"metadata":{"\ud800":1}'),
    "NaN": _with('"extra":NaN'),
    "Infinity": _with('"extra":-Infinity'),
    "NaN in metadata": _with('"metadata":{"a":NaN}'),
    "raw tab in a text": _with('"description":"a\tb"'),
    "raw newline in a text": _with('"description":"a\nb"'),
    "unknown escape": _with(r'"extra":"\x"'),
    "short escape": _with(r'"extra":"\u12"'),
    "leading zero": _with('"extra":01'),
    "bare point": _with('"extra":1.'),
    "bare exponent": _with('"extra":1e'),
    "comment": _with('"extra":1/* */'),
    "trailing comma": _with('"extra":1,'),
    "two objects": _with('"extra":1') * 2,
    "cut off": _with('"extra":1')[:-1],
    "text as amount": _with('"amount":"12"', replacing=AMOUNT),
    "fraction as amount": _with('"amount":1.5', replacing=AMOUNT),
    "whole fraction as amount": _with('"amount":1.0', replacing=AMOUNT),
    "exponent as amount": _with('"amount":1e2', replacing=AMOUNT),
    "boolean as amount": _with('"amount":true', replacing=AMOUNT),
    "object as amount": _with('"amount":{}', replacing=AMOUNT),
    "amount too large": _with('"amount":9223372036854775808', replacing=AMOUNT),
    "amount too small": _with('"amount":-9223372036854775809', replacing=AMOUNT),
    "5,000 digits as amount": _with('"amount":' + "9" * 5000, replacing=AMOUNT),
    "number as flag": _with('"paid":1'),
    "text as flag": _with('"paid":"true"'),
    "number as text": _with('"description":1'),
    "object as text": _with('"description":{}'),
    "text as object": _with('"outcome":""'),
    "list as object": _with('"outcome":[]'),
    "deep wrong type": _with('"payment_method_details":{"card":{"checks":{"cvc_check":0}}}'),
    "text as deleted": _with('"deleted":"true"'),
    "nested very deep": _with(_nested(100_000)),
    "nested deep in metadata": _with('"metadata":' + "[" * 100_000 + "]" * 100_000),
    "too large": _with('"description":"' + "x" * MAX_RECORD_BYTES + '"'),
    "no id": b'{"object":"charge","created":1767225600}',
    "null id": _with('"id":null', replacing=ID),
    "empty id": _with('"id":""', replacing=ID),
    "number as id": _with('"id":1', replacing=ID),
    "list as id": _with('"id":["ch_1"]', replacing=ID),
    "id too long": _with('"id":"' + "c" * 256 + '"', replacing=ID),
    "space in id": _with('"id":"ch 1"', replacing=ID),
    "newline in id": _with(r'"id":"ch\n1"', replacing=ID),
    "newline behind id": _with(r'"id":"ch_1\n"', replacing=ID),
    "NUL in id": _with(r'"id":"ch\u0000"', replacing=ID),
    "accent in id": _with('"id":"ché"', replacing=ID),
    "escape code in id": _with(r'"id":"\u001b[31m"', replacing=ID),
    "another object": _with('"object":"refund"', replacing='"object":"charge"'),
    "no object": _with('"extra":1', replacing='"object":"charge"'),
    "null object": _with('"object":null', replacing='"object":"charge"'),
    "no created": _with('"extra":1', replacing=CREATED),
    "null created": _with('"created":null', replacing=CREATED),
    "created at zero": _with('"created":0', replacing=CREATED),
    "created before time": _with('"created":-1', replacing=CREATED),
    "created in milliseconds": _with('"created":1767225600000', replacing=CREATED),
    "created in 2100": _with('"created":4102444800', replacing=CREATED),
    "created with a fraction": _with('"created":1767225600.5', replacing=CREATED),
    "created as text": _with('"created":"2026-01-01"', replacing=CREATED),
    "tombstone of another object": b'{"id":"ch_1","object":"customer","deleted":true}',
    "tombstone without id": b'{"object":"charge","deleted":true}',
}


@pytest.fixture(scope="module")
def screen() -> Screen:
    """The screen for charges."""
    return Screen(CHARGES)


@dataclass(frozen=True, slots=True)
class Reader:
    """The real engine, reading one line at a time."""

    engine: DuckDBEngine
    folder: Path

    def lines(self, line: bytes) -> int:
        """How many lines the engine finds in a file of this one."""
        path = self.folder / "line.jsonl"
        path.write_bytes(b'{"data":' + line + META)
        self.engine.collect_ids(CHARGES, [path], observed=False)
        return self.engine.load_bronze(CHARGES, [path]).lines


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """One engine for all tests of this module."""
    folder = tmp_path_factory.mktemp("reader")
    engine = DuckDBEngine([CHARGES], folders=[folder], scratch=folder)
    yield Reader(engine, folder)
    engine.close()


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_odd_but_whole_is_taken(screen: Screen, reader: Reader, name: str) -> None:
    """The line is one line with every token as received, and the engine reads it."""
    line = screen.line(ACCEPTED[name])
    assert b"\n" not in line
    assert b"".join(line.split()) == b"".join(ACCEPTED[name].split())
    assert reader.lines(line) == 1


@pytest.mark.parametrize("name", REJECTED)
def test_what_is_poison_is_told(screen: Screen, name: str) -> None:
    """Both checks refuse it with a reason that shows nothing of the content."""
    for check in (screen.line, screen.strict_line):
        with pytest.raises(Rejected) as caught:
            check(REJECTED[name])
        assert 5 < len(str(caught.value)) < 200
        assert "1767225600" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(ACCEPTED.keys() - {"key twice where nobody reads"}))
def test_the_strict_check_takes_the_same(screen: Screen, name: str) -> None:
    """Looking for repeated keys changes nothing else: not for long numbers, not for deep nesting."""
    assert screen.strict_line(ACCEPTED[name]) == screen.line(ACCEPTED[name])


@pytest.mark.parametrize(
    "members",
    [
        '"amount":6',
        r'"\u0061mount":6',
        '"extra":1,"extra":1',
        '"outcome":{"type":"a","type":"b"}',
        '"metadata":{"a":1,"a":2}',
    ],
)
def test_a_key_that_occurs_twice_is_refused_by_the_strict_check(screen: Screen, members: str) -> None:
    """At any depth, and however it is written."""
    with pytest.raises(Rejected, match="twice"):
        screen.strict_line(_with(members))


def _outcome(check: Callable[[bytes], bytes], record: bytes) -> str:
    try:
        check(record)
    except Rejected as reason:
        return str(reason)
    return "line"


def test_no_depth_is_a_crash(screen: Screen) -> None:
    """Around the depth where reading stops there is either a line or a reason."""
    for depth in range(900, 1100):
        for check in (screen.line, screen.strict_line):
            assert _outcome(check, _with(_nested(depth))) in {"line", "nested too deeply"}


def test_every_entity_has_its_own_schema_name() -> None:
    """The name follows from the declared columns."""
    assert len({schema_name(spec) for spec in ENTITIES.values()}) == len(ENTITIES)


@pytest.mark.parametrize("spec", ENTITIES.values(), ids=lambda spec: spec.name)
def test_each_entity_takes_its_least_record(spec: Any) -> None:
    """An id, the right `object` and a plausible `created` are enough; a missing one of them is not."""
    record = {"id": "x_1", "object": spec.object, "created": 1_767_225_600}
    Screen(spec).line(json.dumps(record).encode())
    for field in record:
        less = {key: value for key, value in record.items() if key != field}
        with pytest.raises(Rejected):
            Screen(spec).line(json.dumps(less).encode())


_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8), st.just(2**63)
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.sampled_from([*CHARGES.columns, "deleted", "extra", "Id"]), _VALUES, max_size=5),
    st.tuples(st.integers(0, 400), st.integers(0, 255)),
)
def test_whatever_passes_the_strict_check_can_be_read(
    screen: Screen,
    reader: Reader,
    members: dict[str, object],
    damage: tuple[int, int],
) -> None:
    """A record that one engine error would make unreadable for ever must not pass, even with a byte changed."""
    base: dict[str, object] = {"id": "ch_1", "object": "charge", "created": 1_767_225_600}
    whole = json.dumps({**base, **members}, ensure_ascii=False).encode("utf-8", "surrogatepass")
    damaged = bytearray(whole)
    damaged[damage[0] % len(damaged)] = damage[1]
    for record in (whole, bytes(damaged)):
        try:
            line = screen.strict_line(record)
        except Rejected:
            continue
        assert reader.lines(line) == 1
