"""Pages become append-only parts: every byte kept, every line counted, nothing half written."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from payments_pipeline.bronze import Landed, PartNames, check_part, rescreen, write_pages
from payments_pipeline.entities import ENTITIES
from payments_pipeline.errors import CorruptObject
from payments_pipeline.flow import BronzePart, Page, RunContext
from payments_pipeline.screen import Screen
from payments_pipeline.storage import LocalStorage, MemoryStorage, Storage
from tests.lakes import charge, page
from tests.unit.test_screen import ACCEPTED, REJECTED

CHARGES = ENTITIES["charges"]
RUN = RunContext("run-1", 7, datetime(2026, 1, 2, 23, 59, tzinfo=UTC), 0)


def _land(storage: Storage, pages: list[Page]) -> Landed:
    return write_pages(storage, RUN, CHARGES, pages, PartNames(RUN.epoch))


@pytest.fixture
def storage() -> Iterator[Storage]:
    """A lake in memory."""
    storage = MemoryStorage()
    yield storage
    storage.close()


def test_the_corpus_is_kept_byte_for_byte(storage: Storage) -> None:
    """Every record is in bronze, its tokens as received, or in quarantine, its bytes and a reason."""
    good, poison = list(ACCEPTED.values()), list(REJECTED.values())
    mixed = [record for pair in zip(poison, good, strict=False) for record in pair]
    records = [*mixed, *poison[len(good) :], *good[len(poison) :]]
    assert len(records) == len(good) + len(poison)
    landed = _land(storage, [page(records)])
    [part], [quarantine] = landed.parts, landed.quarantine
    assert (part.rows, quarantine.rows) == (len(good), len(poison))
    lines = storage.read(part.key).split(b"\n")[:-1]
    found = [line.removeprefix(b'{"data":').rpartition(b',"meta":')[0] for line in lines]
    screen = Screen(CHARGES)
    assert found == [screen.line(record) for record in records if record in good]
    kept = [json.loads(line) for line in storage.read(quarantine.key).splitlines()]
    assert [base64.b64decode(entry["record_base64"]) for entry in kept] == [
        record for record in records if record in poison
    ]
    assert all(entry["reason"] and entry["meta"]["run_id"] == "run-1" for entry in kept)


def test_a_part_is_what_it_says(storage: Storage) -> None:
    """Rows, bytes and sha256 are those of the stored object, and so is the key."""
    landed = _land(storage, [page([charge(1), b"{"]), page([charge(2), charge(3)])])
    for part, rows in ((landed.parts[0], 3), (landed.quarantine[0], 1)):
        data = storage.read(part.key)
        assert part.rows == rows == data.count(b"\n")
        assert (part.bytes, part.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert part.schema == Screen(CHARGES).schema
    where = "source=stripe/entity=charges/dt=2026-01-02/run_id=run-1/part-000007-00001.jsonl"
    assert landed.parts[0].key == f"bronze/{where}"
    assert landed.quarantine[0].key == f"quarantine/{where}"


def test_each_line_says_how_it_was_observed(storage: Storage) -> None:
    """The meta part names run, time, source, place in the page, version and request."""
    found = replace(page([charge(1), b"", charge(2)], seen=5, source="retrieve"), deleted_at=77)
    [part] = _land(storage, [found]).parts
    assert [json.loads(line)["meta"] for line in storage.read(part.key).splitlines()] == [
        {
            "run_id": "run-1",
            "observed_at": "2026-01-01T00:00:05.000000Z",
            "source": "retrieve",
            "offset": offset,
            "api_version": "2026-10-28.endive",
            "request_id": "req_1",
            "deleted_at": 77,
        }
        for offset in (0, 2)
    ]


def test_nothing_received_is_nothing_written(storage: Storage) -> None:
    """Empty pages make no part, good pages no quarantine, and poison alone no bronze."""
    assert _land(storage, []) == _land(storage, [page([])]) == Landed()
    assert _land(storage, [page([charge(1)])]).quarantine == ()
    assert _land(storage, [page([b"{"])]).parts == ()


def test_pages_that_break_off_leave_nothing(tmp_path: Path) -> None:
    """When the source fails after some pages, there is neither a part nor a leftover, and the error comes through."""
    storage = LocalStorage(tmp_path)

    class SourceBroke(Exception):
        pass

    def broken() -> Iterator[Page]:
        yield page([charge(1), b"{"])
        raise SourceBroke

    with pytest.raises(SourceBroke):
        write_pages(storage, RUN, CHARGES, broken(), PartNames(RUN.epoch))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_part_names_are_unique_across_continuations() -> None:
    """A run continued under its id has a later epoch, so its parts never meet the earlier ones."""
    first, second = PartNames(1), PartNames(2)
    names = [first(), first(), second(), second()]
    assert names == ["000001-00001", "000001-00002", "000002-00001", "000002-00002"]


def test_a_changed_part_is_not_read(tmp_path: Path) -> None:
    """One flipped bit, anywhere, is `CorruptObject` naming the part."""
    storage = LocalStorage(tmp_path)
    [part] = _land(storage, [page([charge(1)])]).parts
    check_part(storage, part)
    data = storage.read(part.key)
    for position in range(0, len(data), 7):
        storage.put(part.key, data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        with pytest.raises(CorruptObject, match="part-000007-00001"):
            check_part(storage, part)


def _rescreened(storage: Storage, part: BronzePart) -> tuple[list[bytes], list[tuple[bytes, str]]]:
    kept: list[bytes] = []
    bad = list(rescreen(storage, CHARGES, part, kept.append))
    return kept, bad


def test_a_second_look_finds_repeated_keys(storage: Storage) -> None:
    """Good lines pass unchanged; a key that occurs twice, which the quick check lets through, is told."""
    twice = json.dumps(charge(2)).encode()[:-1] + b',"amount":9}'
    [part] = _land(storage, [page([charge(1), twice, charge(3)])]).parts
    assert part.rows == 3
    kept, bad = _rescreened(storage, part)
    lines = storage.read(part.key).splitlines(keepends=True)
    assert kept == [lines[0], lines[2]]
    assert [(json.loads(record)["id"], reason) for record, reason in bad] == [
        ("ch_00000002", "a key occurs twice in one object")
    ]


def test_a_second_look_survives_any_depth(storage: Storage) -> None:
    """What was just not too deep when it was landed may be so when it is read again: told, not a crash."""
    records = [
        json.dumps(charge(depth)).encode()[:-1] + b',"extra":' + b"[" * depth + b"]" * depth + b"}"
        for depth in range(900, 1010)
    ]
    [part] = _land(storage, [page(records)]).parts
    kept, bad = _rescreened(storage, part)
    assert len(kept) + len(bad) == part.rows
    assert {reason for _, reason in bad} <= {"nested too deeply"}
