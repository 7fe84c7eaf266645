from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments_pipeline.stripe.scan import elements, members

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
indents = st.sampled_from([None, 0, 2])


def same(text: bytes, value: object) -> bool:
    """Whether the text says the value; NaN, which JSON has not, is like itself."""
    return json.dumps(json.loads(text)) == json.dumps(value)


@given(st.lists(values, max_size=5), indents)
def test_an_array_falls_into_its_elements(array: list[Any], indent: int | None) -> None:
    """Whatever they hold: quotes, brackets and commas in strings, NaN, half surrogate pairs, nesting."""
    texts = elements(json.dumps(array, indent=indent).encode())
    assert len(texts) == len(array)
    assert all(same(text, value) for text, value in zip(texts, array, strict=True))


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,9}", fullmatch=True), values, max_size=5), indents)
def test_an_object_falls_into_its_members(mapping: dict[str, Any], indent: int | None) -> None:
    """By the plain keys that Stripe's envelopes have."""
    texts = members(json.dumps(mapping, indent=indent).encode())
    assert set(texts) == {key.encode() for key in mapping}
    assert all(same(texts[key.encode()], value) for key, value in mapping.items())


@given(st.lists(values, min_size=1, max_size=5), st.data())
def test_a_text_that_is_cut_off_is_refused(array: list[Any], data: st.DataObject) -> None:
    """At any byte, also right after a closing bracket."""
    text = json.dumps(array).encode()
    with pytest.raises(ValueError, match=r"begin|cut off|string|end"):
        elements(text[: data.draw(st.integers(0, len(text) - 1))])


@pytest.mark.parametrize(
    "text", [b"", b"[", b"]", b"{}", b"[1]]", b"[1] x", b"[][]", b'["]', b'["\\"]', b"[{]"]
)
def test_what_is_not_one_array_is_refused(text: bytes) -> None:
    """Nothing before its first bracket, nothing after its last."""
    with pytest.raises(ValueError, match=r"begin|cut off|string|end"):
        elements(text)


def test_values_are_not_looked_at() -> None:
    """They are for the screen to judge: here only where they begin and end is asked."""
    deep = b"[" * 100_000 + b"]" * 100_000
    odd = [b"NaN", b"9" * 5000, b'"\\ud800"', b'"\xff,]"', deep, b"nonsense"]
    assert elements(b"[" + b" , ".join(odd) + b"]") == odd


def test_the_last_of_equal_keys_counts_and_escaped_keys_are_left_out() -> None:
    """As a strict parser decides for equal keys; Stripe escapes none."""
    assert members(b'{"a":1,"a": [2, 3] ,"\\u0062":4}') == {b"a": b"[2, 3]"}
    assert members(b" {} ") == {}


def test_a_long_string_costs_no_stack() -> None:
    """Ten megabytes with an escape every other byte."""
    text = b'"' + b'\\"' * 5_000_000 + b'"'
    assert elements(b"[" + text + b"]") == [text]
