"""What goes wrong between the pipeline and a store is repaired, or said; nothing is lost or written twice."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from payments_pipeline.errors import (
    CorruptObject,
    ObjectExists,
    ObjectMissing,
    StorageError,
    VersionConflict,
)
from payments_pipeline.storage import ABSENT, Storage
from tests.s3.proxy import Kind, Proxy, Spoil
from tests.seaweed import BUCKET, Seaweed

BIG = hashlib.shake_128(b"seed").digest(17 * 2**20)
"""More than one part of a multipart upload."""


def _create(storage: Storage, key: str, data: bytes) -> None:
    with storage.create(key) as stream:
        stream.write(data)


def _pending(seaweed: Seaweed, storage: Storage) -> list[str]:
    """The keys of uploads that were begun below the lake and are neither complete nor given up."""
    client, prefix = seaweed.client(), storage.url.removeprefix(f"s3://{BUCKET}/")
    try:
        uploads = client.list_multipart_uploads(Bucket=BUCKET, Prefix=prefix).get("Uploads", [])
        return [upload["Key"].removeprefix(f"{prefix}/") for upload in uploads]
    finally:
        client.close()


def test_c1_a_write_whose_answer_is_lost_is_known_for_ours(
    spoilt: Storage, direct: Storage, proxy: Proxy
) -> None:
    """C1: the repetition is answered 412, because the first was carried out; both kinds of conditional write see it."""
    proxy.spoils = [Spoil("PUT .*/one", "lose"), Spoil("PUT .*/state", "lose", times=2)]
    _create(spoilt, "one", b"mine")
    first = spoilt.swap("state", b"1", expected=ABSENT)
    second = spoilt.swap("state", b"2", expected=first)
    assert spoilt.read_versioned("state") == (b"2", second)
    assert direct.read("one") == b"mine"
    assert [spoil.done for spoil in proxy.spoils] == [1, 2]


def test_c1_a_large_object_whose_last_answer_is_lost_is_known_for_ours(
    spoilt: Storage, direct: Storage, proxy: Proxy, seaweed: Seaweed
) -> None:
    """C1: completing a multipart upload again finds no upload; the object is there and ours."""
    proxy.spoils = [Spoil(r"POST .*/big\?uploadId", "lose")]
    _create(spoilt, "big", BIG)
    assert proxy.spoils[0].done == 1
    assert direct.read("big") == BIG
    assert _pending(seaweed, direct) == []


def test_c1_what_somebody_else_wrote_is_not_taken_for_ours(
    spoilt: Storage, direct: Storage, proxy: Proxy
) -> None:
    """C1: equal bytes of another writer are another's object."""
    direct.put("one", b"same")
    before = direct.swap("state", b"same", expected=ABSENT)
    with pytest.raises(ObjectExists, match="one"):
        _create(spoilt, "one", b"same")
    with pytest.raises(VersionConflict):
        spoilt.swap("state", b"same", expected=ABSENT)
    assert direct.read_versioned("state") == (b"same", before)
    assert any(line.startswith("HEAD") for line in proxy.seen)


def test_c2_a_conflict_is_tried_again(spoilt: Storage, direct: Storage, proxy: Proxy) -> None:
    """C2: 409 means that others were writing at that moment, not that they have won."""
    proxy.spoils = [Spoil("PUT ", "refuse", times=3, status=409, code="ConditionalRequestConflict")]
    spoilt.swap("state", b"1", expected=ABSENT)
    assert proxy.spoils[0].done == 3
    assert direct.read("state") == b"1"


@pytest.mark.parametrize(
    ("status", "code"), [(503, "SlowDown"), (500, "InternalError"), (503, "ServiceUnavailable"), (0, "")]
)
def test_c3_a_passing_fault_is_waited_out(
    spoilt: Storage, direct: Storage, proxy: Proxy, status: int, code: str
) -> None:
    """C3: the store's refusals to work, and cut connections, are tried again."""
    proxy.spoils = [Spoil("", "refuse", times=2, status=status, code=code)]
    spoilt.put("a", b"x")
    proxy.spoils = [Spoil("", "refuse", status=status, code=code)]
    assert spoilt.read("a") == b"x"
    proxy.spoils = [Spoil("", "refuse", status=status, code=code)]
    assert [info.key for info in spoilt.list("")] == ["a"]
    assert direct.read("a") == b"x"


def test_c8_a_store_that_is_away_for_seconds_is_waited_for(
    spoilt: Storage, direct: Storage, proxy: Proxy
) -> None:
    """C8: more failures than boto3 itself bears, of many requests at once."""
    spoilt.put("before", b"x")
    proxy.spoils = [Spoil("", "refuse", times=30)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: spoilt.put(f"a{number}", b"x"), range(8)))
    assert proxy.spoils[0].done == 30
    assert len(list(direct.list("a"))) == 8


@pytest.mark.parametrize("kind", ["truncate", "flip_answer"])
def test_c4_a_spoilt_answer_is_fetched_again(
    spoilt: Storage, direct: Storage, proxy: Proxy, kind: Kind
) -> None:
    """C4: bytes that are cut off or changed are noticed, by every way of reading a whole object."""
    ways = {"a": spoilt.read, "b": lambda key: spoilt.read_versioned(key)[0], "c": _localized(spoilt)}
    for key, read in ways.items():
        direct.put(key, BIG[: 2**20])
        proxy.spoils = [Spoil("GET ", kind, times=2)]
        assert read(key) == BIG[: 2**20]
        assert proxy.spoils[0].done == 2


def _localized(storage: Storage) -> Callable[[str], bytes]:
    return lambda key: storage.localize(key).read_bytes()


def test_c4_an_answer_that_is_always_spoilt_is_not_used(
    spoilt: Storage, direct: Storage, proxy: Proxy
) -> None:
    """C4: after a few attempts it is an error that says so, never wrong bytes."""
    direct.put("a", b"right")
    proxy.spoils = [Spoil("GET ", "flip_answer", times=99)]
    with pytest.raises(StorageError, match=r"incomplete or changed|not the object"):
        spoilt.read("a")
    proxy.spoils = [Spoil("GET ", "truncate", times=99)]
    with pytest.raises(StorageError, match="incomplete or changed"):
        spoilt.localize("a")


def test_c5_an_upload_that_changes_on_its_way_is_sent_again(
    spoilt: Storage, direct: Storage, proxy: Proxy
) -> None:
    """C5: the store compares with the SHA-256 that was sent, and refuses."""
    proxy.spoils = [
        Spoil("PUT .*/(small|big)", "flip_request", times=2),
        Spoil("partNumber=2", "flip_request"),
    ]
    spoilt.put("small", b"right")
    _create(spoilt, "big", BIG)
    assert direct.read("small") == b"right"
    assert direct.read("big") == BIG
    assert [spoil.done for spoil in proxy.spoils] == [2, 1]


def test_c6_c7_an_upload_that_fails_is_given_up_or_swept(
    spoilt: Storage, direct: Storage, proxy: Proxy, seaweed: Seaweed
) -> None:
    """C6, C7: a large object that cannot be completed leaves nothing; if giving it up fails too, `sweep` finds it."""
    refusal = Spoil("partNumber=2", "refuse", times=99, status=400, code="InvalidRequest")
    proxy.spoils = [refusal]
    with pytest.raises(StorageError, match="InvalidRequest"):
        _create(spoilt, "big", BIG)
    assert _pending(seaweed, direct) == []
    proxy.spoils = [refusal, Spoil("DELETE ", "refuse", times=99, status=400, code="InvalidRequest")]
    with pytest.raises(StorageError, match="InvalidRequest"):
        _create(spoilt, "big", BIG)
    proxy.spoils = []
    assert _pending(seaweed, direct) == ["big"]
    assert direct.sweep(time.time() - 3600) == 0
    assert direct.sweep(time.time() + 3600) == 1
    assert _pending(seaweed, direct) == []
    assert list(direct.list("")) == []


def test_c7_a_large_object_that_loses_its_race_leaves_nothing(direct: Storage, seaweed: Seaweed) -> None:
    """C7: a multipart upload whose key is taken is given up; the object that was there stays."""
    direct.put("big", b"first")
    with pytest.raises(ObjectExists):
        _create(direct, "big", BIG)
    assert direct.read("big") == b"first"
    assert _pending(seaweed, direct) == []


def test_c15_large_objects_are_objects_like_others(direct: Storage, tmp_path: Path) -> None:
    """C15: an object in parts, whose ETag is no MD5, is read, swapped, adopted and promoted like a small one."""
    _create(direct, "big", BIG)
    data, version = direct.read_versioned("big")
    assert data == BIG
    second = direct.swap("big", BIG[::-1], expected=version)
    with pytest.raises(VersionConflict):
        direct.swap("big", BIG, expected=version)
    assert direct.read_versioned("big") == (BIG[::-1], second)
    draft = tmp_path / "draft"
    draft.write_bytes(BIG)
    direct.adopt(draft, "staged")
    direct.promote("staged", "big")
    assert direct.localize("big").read_bytes() == BIG
    assert [(info.key, info.size) for info in direct.list("")] == [("big", len(BIG))]


def test_c17_an_error_inside_a_200_is_an_error(spoilt: Storage, direct: Storage, proxy: Proxy) -> None:
    """C17: completing an upload, or copying, may answer 200 and say in the body that it failed; it is tried again."""
    proxy.spoils = [
        Spoil(r"POST .*/big\?uploadId", "error_in_200"),
        Spoil("PUT .*/final", "error_in_200"),
    ]
    _create(spoilt, "big", BIG)
    spoilt.promote("big", "final")
    assert [spoil.done for spoil in proxy.spoils] == [1, 1]
    assert direct.read("final") == BIG


def test_a_promote_whose_answer_is_lost_is_done_once(spoilt: Storage, direct: Storage, proxy: Proxy) -> None:
    """C1: copying and deleting are repeated without harm."""
    direct.put("staged", b"x")
    proxy.spoils = [Spoil("PUT .*/final", "lose"), Spoil("DELETE ", "lose")]
    spoilt.promote("staged", "final")
    assert [(info.key, info.size) for info in direct.list("")] == [("final", 1)]
    with pytest.raises(ObjectMissing, match="staged"):
        spoilt.promote("staged", "final")


def test_an_object_changed_by_hand_is_noticed(direct: Storage, seaweed: Seaweed) -> None:
    """Bytes that do not fit the recorded sha256 are `CorruptObject`, however well they arrived."""
    client = seaweed.client()
    key = f"{direct.url.removeprefix(f's3://{BUCKET}/')}/a"
    wrong = {"sha256": hashlib.sha256(b"right").hexdigest()}
    client.put_object(Bucket=BUCKET, Key=key, Body=b"wrong", Metadata=wrong)
    client.close()
    with pytest.raises(CorruptObject, match="/a"):
        direct.read("a")
    with pytest.raises(CorruptObject, match="/a"):
        direct.localize("a")
