from __future__ import annotations

import pytest

from payments_pipeline.stripe.envelope import Malformed, completed, identity, is_partial, single, split
from tests.unit.stripe.wire import list_body

GOOD = b'{"id":"ch_1","object":"charge","created":1700000000}'
POISON = {
    "NaN": b'{"id":"ch_2","object":"charge","amount":NaN,"created":1700000001}',
    "a lone surrogate": b'{"id":"ch_2","object":"charge","created":1700000001,"description":"\\ud800"}',
    "not UTF-8": b'{"id":"ch_2","object":"charge","created":1700000001,"description":"\xff\xfe"}',
    "a number of 5,000 digits": b'{"id":"ch_2","amount":' + b"9" * 5000 + b',"created":1700000001}',
    "deep nesting": b'{"id":"ch_2","created":1700000001,"n":' + b"[" * 99_999 + b"]" * 99_999 + b"}",
    "ten megabytes": b'{"id":"ch_2","created":1700000001,"description":"' + b"x" * 10_000_000 + b'"}',
    "a control character": b'{"id":"ch_2","created":1700000001,"description":"\x00"}',
    "an unknown escape": b'{"id":"ch_2","created":1700000001,"description":"\\q"}',
}
each_poison = pytest.mark.parametrize("record", POISON.values(), ids=POISON)


@each_poison
def test_a_poison_record_costs_neither_its_page_nor_itself(record: bytes) -> None:
    """Every record of the page comes out byte for byte, in order."""
    records = split(list_body(GOOD, record, GOOD, has_more=True))
    assert records.texts == (GOOD, record, GOOD)
    assert records.has_more


@each_poison
def test_a_poison_record_still_says_who_it_is(record: bytes) -> None:
    """So that a listing can continue after it."""
    assert identity(record) == ("ch_2", 1_700_000_001)


@each_poison
def test_a_single_poison_record_is_taken_whole(record: bytes) -> None:
    """Retrieving it is no reason to retry."""
    assert single(record).texts == (record,)


def test_all_kinds_of_poison_on_one_page() -> None:
    """Each would break another parser."""
    assert split(list_body(*POISON.values())).texts == tuple(POISON.values())


@pytest.mark.parametrize("poison", [b"", *POISON.values()], ids=["none", *POISON])
def test_a_list_that_is_cut_off_is_no_list(poison: bytes) -> None:
    """Also right after a closing brace, where what is left looks like whole records."""
    body = list_body(GOOD, poison or GOOD, GOOD, has_more=True)
    ends = [at + 1 for at in range(len(body) - 1) if body[at : at + 1] in {b"}", b"]", b","}]
    for end in [0, 1, *ends[:5], *ends[-5:], len(body) - 1]:
        with pytest.raises(Malformed):
            split(body[:end])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"object":"list","data":[]}',
        b'{"data":[],"has_more":false}',
        b'{"object":"charge","data":[],"has_more":false}',
        b'{"object":"list","data":{},"has_more":false}',
        b'{"object":"list","data":[],"has_more":"false"}',
        b'{"object":"list","data":[],"has_more":null}',
        list_body() + b"}",
        list_body() + list_body(),
    ],
)
def test_what_is_not_a_list_is_not_an_empty_one(body: bytes) -> None:
    """Nothing is ever taken for the end of a list but a list that says so."""
    with pytest.raises(Malformed):
        split(body)


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"x"', b'{"id":', GOOD[:-1], GOOD + GOOD])
def test_what_is_not_one_object_is_refused(body: bytes) -> None:
    """A cut-off body and a body of another kind alike."""
    with pytest.raises(Malformed):
        single(body)


def test_white_space_between_records_belongs_to_none() -> None:
    """Stripe indents its answers."""
    assert split(
        b'{\n  "object": "list",\n  "data": [\n    {"id": "a"},\n    {"n": NaN}\n  ],\n "has_more": false}'
    ).texts == (
        b'{"id": "a"}',
        b'{"n": NaN}',
    )


@pytest.mark.parametrize(
    ("record", "found"),
    [
        (GOOD, ("ch_1", 1_700_000_000)),
        (b'{"id":"ch_1"}', ("ch_1", None)),
        (b'{"id":"ch_1","created":null}', ("ch_1", None)),
        (b'{"id":"ch_1","created":"1700000000"}', ("ch_1", None)),
        (b'{"id":"ch_1","created":1.5}', ("ch_1", None)),
        (b'{"id":"ch_1","created":-5,"x":NaN}', ("ch_1", None)),
        (b'{"id":"ch_1","created":%b}' % (b"9" * 5000), ("ch_1", None)),
        (b'{"id":""}', None),
        (b'{"id":7}', None),
        (b'{"id":"\\ud800"}', None),
        (b'{"created":1}', None),
        (b"7", None),
        (b"[NaN]", None),
    ],
)
def test_identity(record: bytes, found: tuple[str, int | None] | None) -> None:
    """An id that is a text, and a `created` that is a whole number; nothing is coerced."""
    assert identity(record) == found


def test_a_nested_list_is_completed_and_nothing_else_is_touched() -> None:
    """Numbers keep their digits, and values that no strict parser takes stay for the screen to judge."""
    record = (
        b'{"id":"in_1","rate":1.10,"big":%b,"lines":{"object":"list","data":[1],"has_more":true,"url":"/x"}}'
        % (b"7" * 40)
    )
    assert is_partial(record, "lines")
    whole = completed(record, "lines", [b"1", b'{"a": 2.50}'])
    assert whole == (
        b'{"id":"in_1","rate":1.10,"big":%b,"lines":{"object":"list","data":[1,{"a": 2.50}],"has_more":false,"url":"/x"}}'
        % (b"7" * 40)
    )
    assert not is_partial(whole, "lines")


@pytest.mark.parametrize(
    "record",
    [
        b"{}",
        b"[]",
        b'{"lines":null}',
        b'{"lines":7}',
        b'{"lines":{"data":[]}}',
        b'{"lines":{"has_more":"yes"}}',
        b'{"lines":{"has_more":true},"x":NaN}',
    ],
)
def test_a_record_without_a_usable_nested_list_is_not_partial(record: bytes) -> None:
    """What is odd about it is for the screen to say."""
    assert not is_partial(record, "lines")
