"""State files: whole and of a known version, or refused with the way out; never half believed."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from payments_pipeline.errors import CorruptObject, StorageError
from payments_pipeline.state.coverage import Coverage
from payments_pipeline.state.documents import Document, load
from payments_pipeline.state.head import Head, RunLine
from payments_pipeline.storage import ABSENT, MemoryStorage, Storage

LINE = RunLine(run_id="run-1", outcome="published", at=datetime(2026, 1, 2, tzinfo=UTC), rows=3)
HEAD = Head(lake_id="lake", account="acct_1", epoch=3, pending=("run-2",), runs=(LINE,))
SEALED = HEAD.sealed()


def _resealed(change: Callable[[dict[str, object]], object], *, version: object = 1) -> bytes:
    """The head with its body changed and its checksum right again."""
    body = json.loads(SEALED)["body"]
    changed = change(body) or body
    canonical = json.dumps(changed, sort_keys=True, separators=(",", ":"))
    sealed = {
        "schema_version": version,
        "sha256": hashlib.sha256(canonical.encode()).hexdigest(),
        "body": changed,
    }
    return json.dumps(sealed).encode()


def _without(key: str) -> bytes:
    return json.dumps({name: value for name, value in json.loads(SEALED).items() if name != key}).encode()


def _replaced(key: str, value: object) -> bytes:
    return json.dumps({**json.loads(SEALED), key: value}).encode()


DAMAGED = {
    "empty": b"",
    "a space": b" ",
    "a newline": b"\n",
    "null": b"null",
    "true": b"true",
    "a number": b"7",
    "a text": b'"sealed"',
    "an empty list": b"[]",
    "an empty object": b"{}",
    "a list of it": b"[" + SEALED + b"]",
    "twice": SEALED * 2,
    "first half": SEALED[: len(SEALED) // 2],
    "last half": SEALED[len(SEALED) // 2 :],
    "one byte short": SEALED.rstrip()[:-1],
    "zeros": b"\0" * len(SEALED),
    "zeros at the end": SEALED[:-20] + b"\0" * 20,
    "binary": hashlib.shake_128(b"seed").digest(400),
    "UTF-16": SEALED.decode().encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + SEALED,
    "packed, cut": gzip.compress(SEALED)[:-9],
    "packed, no end": gzip.compress(SEALED)[:-1],
    "packed, and more": gzip.compress(SEALED) + b"x",
    "packed binary": gzip.compress(b"\xff" * 400),
    "mark of a packed file": b"\x1f\x8b",
    "not UTF-8": SEALED.replace(b"acct_1", b"acct_\xff"),
    "very deep": b"[" * 100_000,
    "very deep body": b'{"schema_version":1,"sha256":"","body":' + b'{"a":' * 100_000,
    "5,000 digits": SEALED.replace(b'"epoch": 3', b'"epoch": ' + b"9" * 5000),
    "no version": _without("schema_version"),
    "no checksum": _without("sha256"),
    "no body": _without("body"),
    "version null": _replaced("schema_version", None),
    "version as text": _replaced("schema_version", "1"),
    "version as fraction": _replaced("schema_version", 1.0),
    "version as flag": _replaced("schema_version", True),
    "version as list": _replaced("schema_version", [1]),
    "version zero": _replaced("schema_version", 0),
    "version negative": _replaced("schema_version", -1),
    "checksum null": _replaced("sha256", None),
    "checksum empty": _replaced("sha256", ""),
    "checksum of something else": _replaced("sha256", hashlib.sha256(b"").hexdigest()),
    "checksum in capitals": _replaced("sha256", json.loads(SEALED)["sha256"].upper()),
    "body null": _replaced("body", None),
    "body a list": _replaced("body", []),
    "body empty": _replaced("body", {}),
    "edited by hand": SEALED.replace(b'"epoch": 3', b'"epoch": 4'),
    "a space in a value": SEALED.replace(b'"run-2"', b'"run-2 "'),
    "resealed: unknown key": _resealed(lambda body: body.update(surprise=1)),
    "resealed: no lake": _resealed(lambda body: body.pop("lake_id") and None),
    "resealed: lake null": _resealed(lambda body: body.update(lake_id=None)),
    "resealed: epoch a word": _resealed(lambda body: body.update(epoch="many")),
    "resealed: pending a number": _resealed(lambda body: body.update(pending=3)),
    "resealed: runs of nothing": _resealed(lambda body: body.update(runs=[{}])),
    "resealed: a list": _resealed(lambda body: [body]),
    "another document": Coverage(entity="charges", intervals=((1, 2),), watermark=2).sealed(),
}


@pytest.fixture
def storage() -> Iterator[Storage]:
    """A lake in memory."""
    storage = MemoryStorage()
    yield storage
    storage.close()


def test_a_document_survives_its_seal(storage: Storage) -> None:
    """What is loaded is what was sealed, with the version to swap it; equal documents have equal bytes."""
    storage.put("_state/lake.json", SEALED)
    found, version = load(storage, "_state/lake.json", Head)
    assert found == HEAD
    assert version == storage.read_versioned("_state/lake.json")[1]
    assert HEAD.model_copy().sealed() == SEALED
    assert Head.unsealed(_resealed(lambda body: None), where="here") == HEAD


def test_no_file_is_no_document(storage: Storage) -> None:
    """A missing file is told from a damaged one."""
    assert load(storage, "_state/lake.json", Head) == (None, ABSENT)


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_named(storage: Storage, name: str) -> None:
    """Each is `CorruptObject`: where, what is safe, what to do."""
    storage.put("_state/lake.json", DAMAGED[name])
    with pytest.raises(CorruptObject, match=r"memory://lake/_state/lake\.json.*bronze is safe.*restore"):
        load(storage, "_state/lake.json", Head)


def test_every_flipped_bit_is_noticed() -> None:
    """No single bit of a state file can change without the file being refused."""
    for position in range(len(SEALED.rstrip())):
        for bit in range(8):
            flipped = bytearray(SEALED)
            flipped[position] ^= 1 << bit
            with pytest.raises(StorageError):
                Head.unsealed(bytes(flipped), where="here")


def test_no_flipped_bit_of_a_packed_document_changes_it() -> None:
    """It is refused, or was one that means nothing (the time in gzip's header)."""
    packed = gzip.compress(SEALED, mtime=0)
    assert Head.unsealed(packed, where="here") == HEAD
    refused = 0
    for position in range(len(packed)):
        flipped = bytearray(packed)
        flipped[position] ^= 1 << position % 8
        try:
            assert Head.unsealed(bytes(flipped), where="here") == HEAD
        except StorageError:
            refused += 1
    assert refused >= len(packed) - 10


def test_a_newer_version_is_not_touched() -> None:
    """A file of a newer version asks for an upgrade, whatever its body; it is not called corrupt."""
    newer = _resealed(lambda body: body.update(surprise=1), version=Document.schema_version + 1)
    with pytest.raises(StorageError, match=r"newer payments-pipeline.*upgrade") as caught:
        Head.unsealed(newer, where="here")
    assert not isinstance(caught.value, CorruptObject)
