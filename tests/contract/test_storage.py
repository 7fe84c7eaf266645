"""Every storage keeps the contract; a local folder keeps a few promises more."""

from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from payments_pipeline.errors import ObjectExists, StorageError, UsageError
from payments_pipeline.storage import ABSENT, LocalStorage, MemoryStorage, Storage, open_storage
from tests.contract.storage import StorageContract


class TestLocalStorage(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[Storage]:
        """A lake in a folder that does not exist yet."""
        storage = LocalStorage(tmp_path / 'lake\'s "folder"; %20')
        yield storage
        storage.close()


class TestMemoryStorage(StorageContract):
    @pytest.fixture
    def storage(self) -> Iterator[Storage]:
        """A lake in memory."""
        storage = MemoryStorage()
        yield storage
        storage.close()


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[LocalStorage]:
    """A local lake."""
    storage = LocalStorage(tmp_path / "lake")
    yield storage
    storage.close()


@contextmanager
def _no_file_handles() -> Iterator[None]:
    """Let every attempt to open one more file fail."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def _largest_file(size: int) -> Iterator[None]:
    """Let every write beyond `size` bytes of a file fail (the interpreter ignores SIGXFSZ)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _creates(root: Path, number: int, results: multiprocessing.Queue[int]) -> None:
    try:
        with LocalStorage(root).create("race") as stream:
            stream.write(b"%d" % number)
    except ObjectExists:
        return
    results.put(number)


def _counts(root: Path, turns: int) -> None:
    storage, done = LocalStorage(root), 0
    while done < turns:
        data, version = storage.read_versioned("counter")
        try:
            storage.swap("counter", b"%d" % (int(data or b"0") + 1), expected=version)
        except StorageError:
            continue
        done += 1


def test_one_process_creates(lake: LocalStorage) -> None:
    """Of processes that create the same object exactly one succeeds."""
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[int] = context.Queue()
    racers = [context.Process(target=_creates, args=(lake.root, number, results)) for number in range(8)]
    for racer in racers:
        racer.start()
    winner = results.get(timeout=60)
    for racer in racers:
        racer.join()
        assert racer.exitcode == 0
    assert results.empty()
    assert lake.read("race") == b"%d" % winner


def test_no_process_loses_a_swap(lake: LocalStorage) -> None:
    """A counter raised by several processes counts every one of them."""
    context = multiprocessing.get_context("fork")
    racers = [context.Process(target=_counts, args=(lake.root, 20)) for _ in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
        assert racer.exitcode == 0
    assert lake.read("counter") == b"80"


def test_a_write_that_the_disk_refuses_changes_nothing(lake: LocalStorage) -> None:
    """A `StorageError` with the way out; the old bytes stay, and no debris."""
    data = b"x" * 2**21
    lake.put("old", b"old")
    version = lake.read_versioned("old")[1]

    def create() -> None:
        with lake.create("new") as stream:
            stream.write(data)

    for operation in (
        lambda: lake.put("old", data),
        lambda: lake.swap("old", data, expected=version),
        create,
    ):
        with pytest.raises(StorageError, match="free space"), _largest_file(2**20):
            operation()
    assert [(info.key, info.size) for info in lake.list("")] == [("old", 3)]
    assert list(lake.root.rglob(".tmp-*")) == []


def test_a_listing_is_whole_or_an_error(lake: LocalStorage) -> None:
    """A folder that cannot be read makes the listing fail: an empty one would let `gc` remove everything."""
    lake.put("_state/manifests/run_1.json", b"x")
    with pytest.raises(StorageError, match="cannot list"), _no_file_handles():
        list(lake.list("_state/manifests/run_"))


def test_every_failure_is_explained(lake: LocalStorage) -> None:
    """Without file handles each operation is a `StorageError` that says what failed where."""
    lake.put("a", b"x")
    with _no_file_handles():
        for operation in (
            lambda: lake.read("a"),
            lambda: lake.put("a", b"y"),
            lambda: lake.swap("a", b"y", expected=ABSENT),
            lambda: lake.create("b").__enter__(),
            lambda: lake.delete("a"),
        ):
            with pytest.raises(StorageError, match=os.strerror(errno.EMFILE)):
                operation()


def test_a_file_is_no_lake(tmp_path: Path) -> None:
    """The error says what to name instead."""
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(StorageError, match=r"file/a: Not a directory.*name a folder"):
        LocalStorage(tmp_path / "file").read("a")


def test_links_out_of_the_lake_are_not_followed(lake: LocalStorage, tmp_path: Path) -> None:
    """A planted link, to a file or a folder, is refused by every operation, and what it points to stays."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    lake.put("a", b"x")
    (lake.root / "file").symlink_to(outside / "secret")
    (lake.root / "folder").symlink_to(outside)
    (lake.root / "loop").symlink_to(lake.root / "loop")
    for key in ("file", "folder/secret", "folder/new", "loop", "loop/x"):
        for operation in (
            lake.read,
            lambda key: lake.put(key, b"y"),
            lake.delete,
            lake.localize,
            lambda key: lake.promote("a", key),
            lambda key: lake.create(key).__enter__(),
        ):
            with pytest.raises(StorageError):
                operation(key)
    assert [path.read_bytes() for path in outside.iterdir()] == [b"secret"]
    assert lake.read("a") == b"x"


def test_a_file_in_the_way_is_an_explained_error(lake: LocalStorage) -> None:
    """An object where a folder would be needed, or the other way round, is a `StorageError`."""
    lake.put("a", b"x")
    for operation in (lambda: lake.put("a/b", b"x"), lambda: lake.read("a/b"), lambda: lake.localize("a/b")):
        with pytest.raises(StorageError, match="a/b"):
            operation()
    lake.put("f/g", b"x")
    for operation in (lambda: lake.put("f", b"x"), lambda: lake.delete("f"), lambda: lake.localize("f")):
        with pytest.raises(StorageError, match="f"):
            operation()
    assert [info.key for info in lake.list("")] == ["a", "f/g"]


def test_sweep_removes_only_old_leftovers(lake: LocalStorage) -> None:
    """What killed processes left is removed once it is old enough; a living scratch folder is not."""
    lake.put("a/b", b"x")
    scratch = lake.scratch()
    neighbour = LocalStorage(lake.root)
    neighbours = neighbour.scratch()
    dead = scratch.parent / ".tmp-dead"
    dead.mkdir()
    (dead / "half.parquet").write_bytes(b"x")
    (lake.root / "a" / ".tmp-dead").write_bytes(b"half")
    assert lake.sweep(time.time() - 60) == 0
    assert lake.sweep(time.time() + 60) == 2
    assert not dead.exists()
    assert scratch.exists()
    assert neighbours.exists()
    neighbour.close()
    assert [info.key for info in lake.list("")] == ["a/b"]


def test_what_holds_personal_data_is_private(lake: LocalStorage) -> None:
    """Bronze, quarantine, silver and what is staged are their owner's only; gold is read by whoever the umask lets."""
    private = {"bronze", "quarantine", "silver", "_staging"}
    for name in (*private, "gold"):
        lake.put(f"{name}/a/b", b"x")
    lake.promote("_staging/a/b", "gold/a/c")
    lake.scratch()
    modes = {path.name: path.stat().st_mode & 0o777 for path in lake.root.iterdir()}
    assert {name for name, mode in modes.items() if mode == 0o700} == private
    assert modes["gold"] == (lake.root / "gold/a").stat().st_mode & 0o777 != 0o700
    assert (lake.root / "gold/a/c").stat().st_mode == (lake.root / "gold/a/b").stat().st_mode


def test_what_an_older_version_left_open_is_closed(lake: LocalStorage) -> None:
    """The next write makes a folder private that everybody could read; one that only a group was let into stays so."""
    for name, mode in (("silver", 0o755), ("bronze", 0o750)):
        (lake.root / name).mkdir(parents=True)
        (lake.root / name).chmod(mode)
        lake.put(f"{name}/a/b", b"x")
    assert (lake.root / "silver").stat().st_mode & 0o777 == 0o700
    assert (lake.root / "bronze").stat().st_mode & 0o777 == 0o750


def test_emptied_folders_disappear(lake: LocalStorage) -> None:
    """Deleting or promoting the last object of a folder removes the folder, and never the lake."""
    lake.put("a/b/c", b"x")
    lake.promote("a/b/c", "d/e")
    assert sorted(path.name for path in lake.root.iterdir()) == ["d"]
    lake.delete("d/e")
    assert list(lake.root.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "kind"),
    [("some/folder", LocalStorage), ("file:///tmp/x", LocalStorage)],
)
def test_a_url_chooses_the_storage(url: str, kind: type[Storage], tmp_path: Path) -> None:
    """A path is a folder, a scheme its storage; opening touches nothing."""
    assert isinstance(open_storage(url), kind)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_scheme_is_refused() -> None:
    """The message names the schemes that are known."""
    with pytest.raises(UsageError, match=r"'gopher'.*file://, s3://"):
        open_storage("gopher://lake")


@pytest.mark.parametrize("name", ["a?b", "a*b", "a[b]c", "currency=zzz", "dt="])
def test_a_path_that_duckdb_would_read_otherwise_is_refused(name: str, tmp_path: Path) -> None:
    """A pattern could find another lake's files, and `key=value` would cover a column; also where a parent is called so."""
    for url in (f"{tmp_path}/{name}/lake", f"file://{tmp_path}/{name}"):
        with pytest.raises(UsageError, match="Nothing was read or written"):
            open_storage(url)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["it's odd", 'a "b"', "100%20", "straße", "{a,b}", "=a"])
def test_other_paths_are_taken_as_they_are(name: str, tmp_path: Path) -> None:
    """Quotes, spaces, percent signs and letters of any alphabet."""
    open_storage(f"{tmp_path}/{name}").put("a", b"x")
    assert (tmp_path / name / "a").read_bytes() == b"x"
