from __future__ import annotations

import json
import time
import unicodedata
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments_pipeline.screen import Rejected
from payments_pipeline.webhooks.event import id_digest, read_line, received, too_deep
from payments_pipeline.webhooks.seen import Seen
from tests.webhooks.events import NOON, body, event

_MARKS = [
    "..",
    "../../etc/passwd",
    "/",
    "\\",
    ".",
    "~",
    "%2e%2e",
    "%2F",
    "a b",
    "'; drop table x;--",
    '"',
    "$(id)",
    "CON",
]


def hostile_ids() -> Iterator[str]:
    """Ids that are paths, SQL, control characters or each other's twins."""
    for number in range(32):
        yield f"evt_{chr(number)}"
    for mark in _MARKS:
        yield from (mark, f"evt_{mark}", f"{mark}/evt", f"evt_1{mark}", f"{mark}{mark}", f"evt_{mark}.jsonl")
    for text in ("é", "ﬁ", "Å", "e\u0301", "\u202egnp", "\u2028", "\ud83d\ude00", "\x7f", "\x80", "\xa0"):
        yield from (text, f"evt_{text}", unicodedata.normalize("NFD", f"evt_{text}"), f"{text}evt")
    for length in (0, 255, 256, 300, 10_000):
        yield "e" * length
    yield from (
        "evt_1",
        "EVT_1",
        "Evt_1",
        "evt_1.",
        "evt_1 ",
        " evt_1",
        "evt_1\n",
        "evt-1",
        "evt.1",
        "evt__1",
    )
    yield from (f"evt_{number}" for number in range(60))


HOSTILE = sorted(set(hostile_ids()))


def test_w11_anything_stripe_may_call_an_event_is_kept() -> None:
    """Unknown types, other API versions, thin events and unknown fields are no errors."""
    shapes: list[dict[str, Any]] = [
        {"type": "something.new"},
        {"api_version": "1999-01-01"},
        {"api_version": None},
        {"object": "v2.core.event", "created": "2026-11-21T12:00:00Z", "data": None},
        {"data": []},
        {"extra": {"deep": [1, 2.5, True, None, "ü\\u2028"]}},
    ]
    for fields in shapes:
        kept = read_line(received(body(1, **fields), NOON, "webhook").line)
        assert json.loads(kept.event) == {**event(1), **fields}


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_every_token_is_kept_as_it_was_delivered(value: object) -> None:
    """Only white space between tokens goes: the values and the order of the keys are the same."""
    text = json.dumps({**event(1), "value": value}, indent=3)
    try:
        found = received(text.encode(), NOON, "webhook")
    except Rejected:  # half a surrogate pair
        return
    line = found.line
    assert line.count(b"\n") == 1
    kept = read_line(line)
    assert json.loads(kept.event, object_pairs_hook=list, parse_float=str) == json.loads(
        text, object_pairs_hook=list, parse_float=str
    )
    assert kept.digests() == (found.id_digest, found.content)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"hello",
        b"null",
        b"[]",
        b"{}",
        b'{"id": "evt_1"}',
        b'{"id": "evt_1", "object": "charge"}',
        b'{"id": 1, "object": "event"}',
        b'{"id": null, "object": "event"}',
        b'{"id": "evt_1", "object": "event"',
        b'{"id": "evt_1", "object": "event"} {}',
        b'{"id": "evt_1", "object": "event", "n": NaN}',
        b'{"id": "evt_1", "object": "event", "n": Infinity}',
        b'{"id": "evt_1", "object": "event", "n": 01}',
        b'{"id": "evt_1", "object": "event", "s": "\\ud800"}',
        b'{"id": "evt_1", "object": "event", "s": "\xff"}',
        b'{"id": "evt_1", "object": "event", "s": "a\nb"}',
        b'\xef\xbb\xbf{"id": "evt_1", "object": "event"}',
        b'{"id": "evt_1", "object": "event", "d": ' + b"[" * 101 + b"]" * 101 + b"}",
        b"[" * 500_000,
        b'{"a":' * 100_000,
        b'"' + b'\\"' * 300_000,
        b'{"' + b"[\\" * 300_000,
    ],
    ids=lambda raw: repr(raw[:50]),
)
def test_what_bronze_cannot_hold_is_told_quickly(raw: bytes) -> None:
    """It is rejected with a reason that does not repeat it, in linear time."""
    began = time.process_time()
    with pytest.raises(Rejected) as caught:
        received(raw, NOON, "webhook")
    assert time.process_time() - began < 2
    assert "evt_1" not in str(caught.value)


def test_depth_is_counted_outside_strings() -> None:
    """A hundred levels are kept, one more is not, and brackets in texts do not count."""
    assert not too_deep(b"[" * 100 + b"]" * 100)
    assert too_deep(b"[" * 101 + b"]" * 101)
    assert not too_deep(json.dumps(["[" * 200, '\\"[{' * 200, *[[]] * 200]).encode())


def test_hostile_ids_are_refused_or_kept_apart() -> None:
    """Of 200 and more ids each is rejected, or kept as it is under a digest of its own; none ever becomes a path."""
    assert len(HOSTILE) >= 200
    digests: dict[bytes, str] = {}
    for text in HOSTILE:
        try:
            found = received(json.dumps({**event(1), "id": text}).encode(), NOON, "webhook")
        except Rejected:
            assert not text or len(text) > 255 or not text.isascii() or not text.isprintable() or " " in text
            continue
        assert digests.setdefault(found.id_digest, text) == text
        assert json.loads(read_line(found.line).event)["id"] == text
    assert len(digests) > 100


def test_a_changed_line_is_noticed() -> None:
    """No bit of an event can change without its line's checksum telling."""
    line = received(body(1), NOON, "webhook").line
    start, end = line.index(b":") + 1, line.index(b',"meta"')
    for position in range(start, end):
        changed = bytearray(line)
        changed[position] ^= 1
        with pytest.raises(ValueError, match=r"line|checksum"):
            read_line(bytes(changed))


@given(st.lists(st.integers(0, 50)), st.lists(st.integers(0, 50)))
def test_the_index_is_a_set(first: list[int], second: list[int]) -> None:
    """Packed and opened again, it knows exactly what was noted, each with its first content."""
    seen, truth = Seen(), dict[bytes, bytes]()
    for numbers in (first, second):
        entries = [(id_digest(str(number)), position.to_bytes(8)) for position, number in enumerate(numbers)]
        seen.note(entries)
        for key, content in entries:
            truth.setdefault(key, content)
        seen = Seen(seen.packed())
    assert {key: seen.find(key) for key in map(id_digest, map(str, range(52)))} == {
        key: truth.get(key) for key in map(id_digest, map(str, range(52)))
    }
    assert len(seen) == len(truth)
