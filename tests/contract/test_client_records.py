"""Odd records on their way from the API to bronze: none is lost, none spoils another, none is changed."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
import msgspec
import pytest

from payments_pipeline.bronze import Landed, PartNames, write_pages
from payments_pipeline.entities import ENTITIES
from payments_pipeline.flow import RunContext, Window
from payments_pipeline.storage.memory import MemoryStorage
from payments_pipeline.stripe.client import API_VERSION
from tests.unit.stripe.wire import Script, client_of, listing, problem

CHARGES = ENTITIES["charges"]
WINDOW = Window(1_600_000_000, 1_800_000_000)
GOOD = b'{"id":"ch_1","object":"charge","created":1700000000,"rate":1.10,"big":%b}' % (b"7" * 30)
POISON = {
    "NaN": b'{"id":"ch_2","object":"charge","created":1700000000,"amount":NaN}',
    "infinity": b'{"id":"ch_2","object":"charge","created":1700000000,"x":-Infinity}',
    "a lone surrogate": b'{"id":"ch_2","object":"charge","created":1700000000,"description":"\\ud800"}',
    "not UTF-8": b'{"id":"ch_2","object":"charge","created":1700000000,"description":"\xff"}',
    "5,000 digits": b'{"id":"ch_2","object":"charge","created":1700000000,"amount":' + b"9" * 5000 + b"}",
    "deep nesting": b'{"id":"ch_2","object":"charge","created":1700000000,"x":'
    + b"[" * 99_999
    + b"]" * 99_999
    + b"}",
    "too large": b'{"id":"ch_2","object":"charge","created":1700000000,"x":"' + b"x" * 17_000_000 + b'"}',
    "a fraction": b'{"id":"ch_2","object":"charge","created":1700000000,"amount":1.5}',
    "a text": b'{"id":"ch_2","object":"charge","created":1700000000,"amount":"12"}',
    "milliseconds": b'{"id":"ch_2","object":"charge","created":1700000000000}',
    "no id": b'{"object":"charge","created":1700000000}',
    "another object": b'{"id":"ch_2","object":"refund","created":1700000000}',
    "no object": b"7",
}


@dataclass(frozen=True, slots=True)
class Result:
    """What became of some answers: the lines of bronze and of quarantine."""

    landed: Landed
    lines: list[bytes]
    rejects: list[bytes]

    def rejected(self) -> list[bytes]:
        """The records in quarantine, byte for byte."""
        return [base64.b64decode(msgspec.json.decode(line)["record_base64"]) for line in self.rejects]


def land(*answers: httpx.Response) -> Result:
    """Read a window that is answered so into an empty lake."""
    storage = MemoryStorage()
    run = RunContext("run", 1, datetime(2026, 11, 21, tzinfo=UTC), WINDOW.end)
    with client_of(Script(answers)) as client:
        landed = write_pages(storage, run, CHARGES, client.pages(CHARGES, WINDOW), PartNames(1))
    lines = [line for part in landed.parts for line in storage.read(part.key).splitlines()]
    rejects = [line for part in landed.quarantine for line in storage.read(part.key).splitlines()]
    return Result(landed, lines, rejects)


@pytest.mark.parametrize("record", POISON.values(), ids=POISON)
def test_a_poison_record_goes_to_quarantine_and_its_page_to_bronze(record: bytes) -> None:
    """The record keeps its bytes, its neighbours theirs, and the page is asked for once."""
    result = land(listing(GOOD, record, GOOD), problem(500))
    assert result.rejected() == [record]
    assert [line.startswith(b'{"data":' + GOOD) for line in result.lines] == [True, True]
    reject = msgspec.json.decode(result.rejects[0])
    assert reject["reason"]
    assert (reject["meta"]["offset"], reject["meta"]["request_id"]) == (1, "req_1")


def test_poison_of_every_kind_on_one_page() -> None:
    """And at its end, where the listing has to continue from."""
    result = land(listing(*POISON.values(), has_more=True), listing(GOOD))
    assert result.rejected() == list(POISON.values())
    assert len(result.lines) == 1


def test_ten_megabytes_are_a_record_like_any_other() -> None:
    """Up to the limit that is set."""
    record = b'{"id":"ch_2","object":"charge","created":1700000000,"x":"' + b"x" * 10_000_000 + b'"}'
    result = land(listing(record))
    assert result.rejects == []
    assert result.lines[0].startswith(b'{"data":' + record)


def test_each_line_says_where_its_record_came_from() -> None:
    """When and how it was observed, by which call and in which place on the page."""
    result = land(listing(GOOD, GOOD, has_more=True), listing(GOOD.replace(b"ch_1", b"ch_0")))
    metas = [msgspec.json.decode(line)["meta"] for line in result.lines]
    assert [meta.pop("offset") for meta in metas] == [0, 1, 0]
    observed = [meta.pop("observed_at") for meta in metas]
    assert observed[0] == observed[1] == "2026-11-21T12:00:00.000000Z" < observed[2]
    assert metas[0] == {
        "run_id": "run",
        "source": "list",
        "api_version": API_VERSION,
        "request_id": "req_1",
    }


@pytest.mark.parametrize(
    "object_id", ["", "a b", "x" * 256, "\x00", "ü", "a\nb", ".", "..", "a/b", "../customers/cus_1"]
)
def test_what_cannot_be_an_id_is_absent_without_being_asked_for(object_id: str) -> None:
    """A poison reference must not stop a run, nor lead to another path."""
    script = Script([problem(500)])
    with client_of(script) as client:
        page = client.retrieve(CHARGES, object_id)
    assert page.source == "absent"
    assert script.asked == []


@pytest.mark.parametrize(
    ("object_id", "path"),
    [
        ("ch_1", "/v1/charges/ch_1"),
        ("..a.b", "/v1/charges/%2E%2Ea%2Eb"),
        ("a?b=c#d", "/v1/charges/a%3Fb%3Dc%23d"),
        ("'--", "/v1/charges/%27--"),
    ],
)
def test_an_id_is_one_segment_of_the_path(object_id: str, path: str) -> None:
    """Whatever it holds; an id that the API does not know is absent."""
    script = Script([problem(404, code="resource_missing")])
    with client_of(script) as client:
        page = client.retrieve(CHARGES, object_id, deleted_at=5)
    assert script.asked[0].url.raw_path.decode() == path
    assert (page.source, page.deleted_at) == ("absent", 5)
    assert msgspec.json.decode(page.records[0]) == {"id": object_id, "object": "charge", "deleted": True}


def test_e4_only_an_unknown_id_is_absent() -> None:
    """Not an object behind a 404 that means something else, nor one that may not be read."""
    for status, code in ((404, None), (403, "resource_missing")):
        with (
            client_of(Script([problem(status, code=code)])) as client,
            pytest.raises(Exception, match=str(status)),
        ):
            client.retrieve(CHARGES, "ch_1")
