"""The storage contract as a class: a storage keeps it if a subclass with its `storage` fixture passes."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from payments_pipeline.errors import ObjectExists, ObjectMissing, StorageError, VersionConflict
from payments_pipeline.storage import ABSENT, Storage

RACERS = 8

HOSTILE_KEYS = [
    "",
    "/etc/passwd",
    "..",
    "../outside",
    "a/../b",
    "a/../../outside",
    "./a",
    "a/./b",
    "a//b",
    "a/",
    ".hidden",
    "a/.tmp-1",
    "a\0b",
    "\0",
    "a/\ud800",
    "a\\..\\b",
    "a/" + "n" * 256,
    "n" * 2000,
]
"""Keys that name nothing, lead elsewhere, mean another key's object, or that some storage cannot hold."""

UNUSUAL_KEYS = [
    "a b",
    "a'b\";--",
    "~/a",
    "a=b/c=d/e.jsonl",
    "*?[x]",
    "ünïcode/ключ/鍵.json",
    "e\u0301/x",
    "\u00e9/y",
    "a..b/c..",
    "n" * 200,
]
"""Keys that are odd but fine."""


def _shown(key: str) -> str:
    return f"{ascii(key)[:30]}({len(key)})"


def raced(work: Callable[[int], object]) -> list[object]:
    """What each of several threads, all started at the same moment, got: a result or a `StorageError`."""
    barrier = threading.Barrier(RACERS)

    def racer(number: int) -> object:
        barrier.wait()
        try:
            return work(number)
        except StorageError as error:
            return error

    with ThreadPoolExecutor(RACERS) as pool:
        return list(pool.map(racer, range(RACERS)))


class StorageContract:
    """Everything `payments_pipeline.storage.base.Storage` promises. Subclasses provide the fixture `storage`."""

    rounds = 10
    """How often what only one may win is raced for."""
    many = 1100
    """How many objects the listing test writes; more than one page, where there are pages."""

    def test_what_was_put_is_read(self, storage: Storage) -> None:
        """The bytes come back as they went in, empty ones too."""
        for data in (b"", b"one", b"\0\r\n\xff"):
            storage.put("a/b", data)
            assert storage.read("a/b") == data

    def test_put_replaces(self, storage: Storage) -> None:
        """The last put wins, also when it is shorter."""
        storage.put("a", b"longer than the next")
        storage.put("a", b"short")
        assert storage.read("a") == b"short"

    def test_many_megabytes_survive(self, storage: Storage) -> None:
        """An object of several megabytes is stored whole, streamed or not."""
        data = hashlib.shake_128(b"seed").digest(9 * 2**20)
        storage.put("put", data)
        with storage.create("streamed") as stream:
            for start in range(0, len(data), 2**20):
                stream.write(data[start : start + 2**20])
        assert storage.read("put") == storage.read("streamed") == data
        assert storage.localize("streamed").read_bytes() == data

    def test_a_missing_object_is_named(self, storage: Storage) -> None:
        """Reading, localizing or promoting what is not there is `ObjectMissing`, and says which object."""
        with pytest.raises(ObjectMissing, match="no/such"):
            storage.read("no/such")
        with pytest.raises(ObjectMissing, match="no/such"):
            storage.localize("no/such")
        with pytest.raises(ObjectMissing, match="no/such"):
            storage.promote("no/such", "target")
        assert storage.read_versioned("no/such") == (b"", ABSENT)

    def test_nothing_is_written_by_looking(self, storage: Storage) -> None:
        """Reading and listing an empty storage leaves it empty."""
        storage.read_versioned("a/b")
        storage.delete("a/b")
        assert list(storage.list("")) == list(storage.list("a/")) == []

    @pytest.mark.parametrize("key", UNUSUAL_KEYS, ids=_shown)
    def test_unusual_keys_are_keys(self, storage: Storage, key: str) -> None:
        """Whatever is no path trick is stored under exactly that key."""
        storage.put(key, b"x")
        assert storage.read(key) == b"x"
        assert [info.key for info in storage.list("")] == [key]
        assert storage.localize(key).read_bytes() == b"x"
        storage.delete(key)
        assert list(storage.list("")) == []

    @pytest.mark.parametrize("key", HOSTILE_KEYS, ids=_shown)
    def test_hostile_keys_are_refused(self, storage: Storage, key: str, tmp_path: Path) -> None:
        """A key that could leave the lake or mean another key is refused by every operation, and nothing is written."""
        draft = storage.scratch() / "draft"
        draft.write_bytes(b"x")
        storage.put("there", b"x")
        operations: list[Callable[[], object]] = [
            lambda: storage.read(key),
            lambda: storage.read_versioned(key),
            lambda: storage.put(key, b"x"),
            lambda: storage.swap(key, b"x", expected=ABSENT),
            lambda: storage.create(key).__enter__(),
            lambda: storage.promote("there", key),
            lambda: storage.promote(key, "there"),
            lambda: storage.delete(key),
            lambda: storage.localize(key),
            lambda: storage.adopt(draft, key),
        ]
        for operation in operations:
            with pytest.raises(StorageError):
                operation()
        assert [info.key for info in storage.list("")] == ["there"]

    def test_no_two_keys_share_an_object(self, storage: Storage) -> None:
        """Keys that differ only in case, normalisation or quoting are different objects."""
        keys = ["a/x", "A/x", "a/X", "e\u0301", "\u00e9", "a%2Fx", "a_x", "a x"]
        for key in keys:
            storage.put(key, key.encode())
        assert {key: storage.read(key) for key in keys} == {key: key.encode() for key in keys}

    def test_create_appears_at_the_end(self, storage: Storage) -> None:
        """Nobody sees the object before its block has ended."""
        with storage.create("a/new") as stream:
            stream.write(b"first ")
            assert list(storage.list("")) == []
            assert storage.read_versioned("a/new") == (b"", ABSENT)
            stream.write(b"second")
        assert storage.read("a/new") == b"first second"

    def test_create_never_overwrites(self, storage: Storage) -> None:
        """A taken key is `ObjectExists`; the object keeps its bytes."""
        storage.put("a", b"mine")

        def create() -> None:
            with storage.create("a") as stream:
                stream.write(b"yours")

        with pytest.raises(ObjectExists, match="a"):
            create()
        assert storage.read("a") == b"mine"
        assert [info.key for info in storage.list("")] == ["a"]

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_a_create_that_raises_leaves_nothing(self, storage: Storage, error: type[BaseException]) -> None:
        """What the block raises comes out as it is, and there is no object; the key is still free."""

        def create() -> None:
            with storage.create("a/new") as stream:
                stream.write(b"half")
                raise error("the source broke")

        with pytest.raises(error, match="the source broke"):
            create()
        assert list(storage.list("")) == []
        assert storage.sweep(time.time() + 60) == 0
        with storage.create("a/new") as stream:
            stream.write(b"whole")
        assert storage.read("a/new") == b"whole"

    def test_one_creator_wins(self, storage: Storage) -> None:
        """Of creators at the same moment exactly one succeeds, and its bytes stay."""

        def create(number: int) -> object:
            with storage.create("race") as stream:
                stream.write(str(number).encode() * 1000)
            return number

        for _ in range(self.rounds):
            outcomes = raced(create)
            [winner] = [outcome for outcome in outcomes if isinstance(outcome, int)]
            assert storage.read("race") == str(winner).encode() * 1000
            losers = [outcome for outcome in outcomes if not isinstance(outcome, int)]
            assert {type(loser) for loser in losers} == {ObjectExists}
            storage.delete("race")

    def test_swap_replaces_what_was_read(self, storage: Storage) -> None:
        """A swap succeeds on the version that was read, and hands out the next one."""
        first = storage.swap("s", b"1", expected=ABSENT)
        assert storage.read_versioned("s") == (b"1", first)
        second = storage.swap("s", b"2", expected=first)
        assert storage.read_versioned("s") == (b"2", second)
        assert len({ABSENT, first, second}) == 3

    def test_a_stale_swap_changes_nothing(self, storage: Storage) -> None:
        """Any other version is a `VersionConflict`: an older one, none, or one of an object that is gone."""
        first = storage.swap("s", b"1", expected=ABSENT)
        storage.put("s", b"2")
        for expected in (first, ABSENT, "nonsense"):
            with pytest.raises(VersionConflict):
                storage.swap("s", b"3", expected=expected)
        assert storage.read("s") == b"2"
        with pytest.raises(VersionConflict):
            storage.swap("never", b"3", expected=first)
        assert [info.key for info in storage.list("")] == ["s"]

    def test_one_swap_wins(self, storage: Storage) -> None:
        """Of swaps from the same version exactly one succeeds."""
        version = storage.swap("s", b"start", expected=ABSENT)

        def swap(number: int) -> object:
            return storage.swap("s", b"%d %s" % (number, version.encode()), expected=version)

        for _ in range(self.rounds):
            outcomes = raced(swap)
            winners = [outcome for outcome in outcomes if isinstance(outcome, str)]
            assert len(winners) == 1
            assert {type(outcome) for outcome in outcomes if not isinstance(outcome, str)} == {
                VersionConflict
            }
            assert storage.read_versioned("s")[1] == winners[0]
            version = winners[0]

    def test_no_swap_is_lost(self, storage: Storage) -> None:
        """A counter that many raise by read, swap and try again counts every one of them."""

        def count(_: int) -> object:
            done = 0
            while done < 5:
                data, version = storage.read_versioned("counter")
                try:
                    storage.swap("counter", b"%d" % (int(data or b"0") + 1), expected=version)
                except VersionConflict:
                    continue
                done += 1
            return done

        assert raced(count) == [5] * RACERS
        assert storage.read("counter") == b"%d" % (5 * RACERS)

    def test_adopt_takes_the_file(self, storage: Storage) -> None:
        """The file becomes the object, replacing an older one, and is gone."""
        for data in (b"one", b"two"):
            draft = storage.scratch() / "draft"
            draft.write_bytes(data)
            storage.adopt(draft, "a/b")
            assert (storage.read("a/b"), draft.exists()) == (data, False)

    def test_promote_moves(self, storage: Storage) -> None:
        """The source becomes the target, replacing an older one, and is gone."""
        for data in (b"one", b"two"):
            storage.put("staged/x/y", data)
            storage.promote("staged/x/y", "final/y")
            assert [info.key for info in storage.list("")] == ["final/y"]
            assert storage.read("final/y") == data

    def test_delete_removes_once(self, storage: Storage) -> None:
        """Deleting is final, leaves neighbours alone, and deleting again is nothing."""
        storage.put("a/b", b"x")
        storage.put("a/bc", b"y")
        for _ in range(2):
            storage.delete("a/b")
            assert [info.key for info in storage.list("")] == ["a/bc"]

    def test_deleting_races_with_writing(self, storage: Storage) -> None:
        """Writers and deleters in the same folder never trip over each other."""

        def work(number: int) -> object:
            for turn in range(20):
                data = b"%d" % turn
                match number % 4:
                    case 0:
                        storage.put("deep/er/gone", data)
                    case 1:
                        draft = storage.scratch() / f"{number}"
                        draft.write_bytes(data)
                        storage.adopt(draft, "deep/er/gone")
                    case 2:
                        storage.put(f"staged/{number}", data)
                        storage.promote(f"staged/{number}", "deep/er/gone")
                    case _:
                        storage.delete("deep/er/gone")
            return None

        assert raced(work) == [None] * RACERS

    def test_listing_is_in_key_order(self, storage: Storage) -> None:
        """Keys come in the order of their text, whatever the order of writing, with their sizes."""
        keys = ["b", "a/z", "a-b", "a/b/c", "a0", "B", "a/b.x", "é"]
        for size, key in enumerate(keys):
            storage.put(key, b"x" * size)
        found = list(storage.list(""))
        assert [info.key for info in found] == sorted(keys)
        assert {info.key: info.size for info in found} == {key: size for size, key in enumerate(keys)}

    def test_a_prefix_is_a_text_prefix(self, storage: Storage) -> None:
        """A prefix need not end at a slash, and holds nothing but keys that begin with it."""
        for key in ("runs/run_1.json", "runs/run_2.json", "runs/other", "runs/run_x/y", "runsx", "r"):
            storage.put(key, b"x")
        assert [info.key for info in storage.list("runs/run_")] == [
            "runs/run_1.json",
            "runs/run_2.json",
            "runs/run_x/y",
        ]
        assert [info.key for info in storage.list("runs")][-1] == "runsx"
        assert list(storage.list("nothing/here/")) == list(storage.list("runs/run_3")) == []

    def test_listing_says_when_an_object_was_written(self, storage: Storage) -> None:
        """`modified` is the moment of writing, also of an object that was moved in."""
        before = time.time() - 2
        storage.put("a", b"x")
        with storage.create("b") as stream:
            stream.write(b"x")
        assert all(before <= info.modified <= time.time() + 2 for info in storage.list(""))

    def test_thousands_of_objects_are_listed(self, storage: Storage) -> None:
        """A listing is complete, however many objects there are."""
        keys = [f"many/{number % 7}/{number:05d}" for number in range(self.many)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda key: storage.put(key, b""), keys))
        assert [info.key for info in storage.list("many/")] == sorted(keys)

    def test_listing_survives_deletion(self, storage: Storage) -> None:
        """What is deleted while a listing is read costs nothing but its own line."""
        for number in range(5):
            storage.put(f"d/{number}", b"x")
        seen = []
        for info in storage.list("d/"):
            seen.append(info.key)
            storage.delete(info.key)
            storage.delete("d/3")
        assert set(seen) <= {f"d/{number}" for number in range(5)}
        assert {"d/0", "d/1", "d/2", "d/4"} <= set(seen)
        assert list(storage.list("d/")) == []

    def test_readers_see_old_or_new(self, storage: Storage) -> None:
        """While an object is replaced again and again, no reader ever sees a mixture, or nothing."""
        versions = [bytes([65 + number]) * 300_000 for number in range(4)]
        storage.put("r", versions[0])
        done = threading.Event()

        def read() -> Iterator[bytes]:
            while not done.is_set():
                yield storage.read("r")
                yield storage.localize("r").read_bytes()
                yield storage.read_versioned("r")[0]

        with ThreadPoolExecutor(3) as pool:
            readers = [pool.submit(lambda: set(read()) <= set(versions)) for _ in range(3)]
            for number in range(60):
                storage.put("staged", versions[number % 4])
                if number % 2:
                    storage.promote("staged", "r")
                else:
                    storage.put("r", versions[number % 4])
            done.set()
            assert all(reader.result() for reader in readers)

    def test_traffic_is_counted(self, storage: Storage) -> None:
        """What is written and read is counted, an object that is localized or, where that costs, read twice once."""
        storage.put("a", b"x" * 1000)
        with storage.create("b") as stream:
            stream.write(b"y" * 100)
        draft = storage.scratch() / "draft"
        draft.write_bytes(b"z" * 10)
        storage.adopt(draft, "c")
        assert (storage.traffic.bytes_written, storage.traffic.bytes_read) == (1110, 0)
        storage.read("b")
        read = storage.traffic.bytes_read
        storage.localize("a")
        first = storage.traffic.bytes_read
        storage.localize("a")
        assert (read, first, storage.traffic.bytes_written) == (100, 1100, 1110)

    def test_sweep_touches_no_object(self, storage: Storage) -> None:
        """However late the moment, objects stay."""
        storage.put("a/b", b"x")
        storage.sweep(time.time() + 3600)
        assert storage.read("a/b") == b"x"

    def test_scratch_is_private_and_emptied(self, storage: Storage) -> None:
        """The scratch folder is the same until `close`, no part of the listing, and gone afterwards."""
        folder = storage.scratch()
        (folder / "file").write_bytes(b"x")
        assert storage.scratch() == folder
        assert list(storage.list("")) == []
        assert folder.stat().st_mode & 0o077 == 0
        storage.close()
        assert not folder.exists()
        storage.close()

    def test_localized_files_are_told_apart(self, storage: Storage) -> None:
        """Objects of equal bytes, or of the same last name, are localized side by side."""
        storage.put("a/data.parquet", b"1")
        storage.put("b/data.parquet", b"2")
        storage.put("c/data.parquet", b"1")
        files = [storage.localize(f"{folder}/data.parquet") for folder in "abc"]
        assert [file.read_bytes() for file in files] == [b"1", b"2", b"1"]
