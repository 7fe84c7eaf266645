"""A lake in a local folder: atomic, durable, append-only where asked."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

from payments_pipeline.errors import ObjectExists, ObjectMissing, StorageError, VersionConflict
from payments_pipeline.storage.base import ABSENT, ObjectInfo, Remote, Traffic, check_key

_TEMPORARY = ".tmp-"
_PRIVATE = {"bronze", "quarantine", "silver", "_staging"}
_OTHERS = 0o007
_ATTEMPTS = 100
_LOCK_SECONDS, _LOCK_PAUSE = 5.0, 0.002

_T = TypeVar("_T")


class LocalStorage:
    """Objects are files below `root`.

    Every write goes to a temporary file, is synced, renamed (or linked, when the key must be new), and the folder
    is synced: after a power cut an object is there whole or not at all. The folders of bronze, quarantine, silver
    and staging are their owner's only, because they hold customers' data.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.url = str(self.root)
        self.traffic = Traffic()
        self.remote: Remote | None = None
        self._counted: set[tuple[str, int]] = set()
        self._scratch: Path | None = None
        self._in_use: int | None = None
        self._durable: set[Path] = set()

    def read(self, key: str) -> bytes:
        path = self._path(key)
        with _explained("read", path):
            data = path.read_bytes()
        self.traffic.add(read=len(data))
        return data

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        try:
            data = self.read(key)
        except ObjectMissing:
            return b"", ABSENT
        return data, _version(data)

    def swap(self, key: str, data: bytes, *, expected: str) -> str:
        with self._locked():
            found = self.read_versioned(key)[1]
            if found != expected:
                raise VersionConflict(f"{self._path(key)} was changed by somebody else; nothing was written.")
            self.put(key, data)
        return _version(data)

    def put(self, key: str, data: bytes) -> None:
        path = self._path(key)
        with _explained("write", path), self._temporary(path) as (temporary, stream):
            stream.write(data)
            _sync(stream)
            temporary.replace(path)
            _sync_folder_if_there(path.parent)
        self.traffic.add(written=len(data))

    @contextmanager
    def create(self, key: str) -> Iterator[BinaryIO]:
        path = self._path(key)
        with _explained("write", path), self._temporary(path) as (temporary, stream):
            yield stream
            _sync(stream)
            os.link(temporary, path)
            _sync_folder_if_there(path.parent)
            self.traffic.add(written=stream.tell())

    def adopt(self, path: Path, key: str) -> None:
        target = self._path(key)
        with _explained("write", target):
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
                size = os.fstat(stream.fileno()).st_size
            self._move(path, target)
        self.traffic.add(written=size)

    def promote(self, source: str, target: str) -> None:
        origin, path = self._path(source), self._path(target)
        with _explained("publish", path):
            if not origin.exists():
                raise ObjectMissing(f"{origin} is not there to be published as {path}.")
            self._move(origin, path)
            self._prune(origin.parent)

    def delete(self, key: str) -> None:
        path = self._path(key)
        with _explained("delete", path):
            try:
                path.unlink()
            except FileNotFoundError:
                return
            _sync_folder_if_there(path.parent)
            self._prune(path.parent)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        folder = prefix.rpartition("/")[0]
        base = self._path(folder) if folder else self.root
        with _explained("list", base):
            keys = sorted(_files(base, self.root))
            for key in keys:
                if key.startswith(prefix):
                    with suppress(FileNotFoundError):  # deleted since the folder was read
                        stat = (self.root / key).lstat()
                        yield ObjectInfo(key, stat.st_size, stat.st_mtime)

    def sweep(self, before: float) -> int:
        removed = 0
        with _explained("sweep", self.root):
            for path in sorted(self.root.rglob(f"{_TEMPORARY}*")):
                if path.exists() and path.stat().st_mtime < before and not _is_in_use(path):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                    removed += 1
        return removed

    def localize(self, key: str) -> Path:
        path = self._path(key)
        if not path.is_file():
            raise ObjectMissing(f"{path} is not there.")
        self._count(key, path)
        return path

    def scratch(self) -> Path:
        if self._scratch is None:
            parent = self.root / "_staging"
            with _explained("write", parent):
                made = self._in_folder(parent, lambda: tempfile.mkdtemp(prefix=_TEMPORARY, dir=parent))
                self._scratch = Path(made)
                self._in_use = os.open(self._scratch, os.O_RDONLY)
                fcntl.flock(self._in_use, fcntl.LOCK_SH)
        return self._scratch

    def close(self) -> None:
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None
            if self._in_use is not None:
                os.close(self._in_use)
                self._in_use = None

    def _count(self, key: str, path: Path) -> None:
        """Count a file that others read as read once, all of it; again only when it was replaced."""
        with suppress(FileNotFoundError):  # deleted meanwhile: whoever reads it will say so
            stat = path.stat()
            if (key, stat.st_mtime_ns) not in self._counted:
                self._counted.add((key, stat.st_mtime_ns))
                self.traffic.add(read=stat.st_size)

    def _path(self, key: str) -> Path:
        """The file of `key`; one that is a link, or lies behind a link, is refused."""
        check_key(key)
        path = str(self.root)
        for step in key.split("/"):
            path = f"{path}/{step}"
            if os.path.islink(path):  # noqa: PTH114, tens of thousands of times in a run
                raise StorageError(
                    f"{self.root / key} leads through a link; links inside a lake are not followed."
                )
        return Path(path)

    @contextmanager
    def _temporary(self, path: Path) -> Iterator[tuple[Path, BinaryIO]]:
        temporary = path.parent / f"{_TEMPORARY}{secrets.token_hex(8)}"
        try:
            with self._opened(temporary) as stream:
                yield temporary, stream
        finally:
            temporary.unlink(missing_ok=True)

    def _opened(self, path: Path) -> BinaryIO:
        return self._in_folder(path.parent, lambda: path.open("xb"))

    def _move(self, source: Path, target: Path) -> None:
        self._in_folder(target.parent, lambda: source.replace(target))
        _sync_folder_if_there(target.parent)

    def _in_folder(self, folder: Path, act: Callable[[], _T]) -> _T:
        """Make `folder`, then act in it; again if a delete elsewhere just removed the folder, still empty.

        `mkdir` says that a folder exists when it was removed before a second look.
        """
        for _ in range(_ATTEMPTS):
            with suppress(FileNotFoundError, FileExistsError):
                self._folder(folder)
                return act()
        self._folder(folder)
        return act()

    def _folder(self, folder: Path) -> None:
        """Create `folder`; it survives a power cut then.

        One that is there already is synced once all the same: whoever made it may be about to, or was killed.
        """
        if folder in self._durable and folder.is_dir():
            return
        if folder != self.root:
            self._folder(folder.parent)
        private = folder.parent == self.root and folder.name in _PRIVATE
        folder.mkdir(mode=0o700 if private else 0o777, parents=folder == self.root, exist_ok=True)
        if private and folder.stat().st_mode & _OTHERS:  # an older version made it
            with suppress(PermissionError):  # only its owner may close it
                folder.chmod(0o700)
        _sync_folder(folder.parent)
        self._durable.add(folder)

    def _prune(self, folder: Path) -> None:
        """Remove folders that became empty, up to the lake itself; one that others are using stays."""
        with suppress(OSError):
            while folder != self.root:
                self._durable.discard(folder)
                folder.rmdir()
                folder = folder.parent

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Serialise compare-and-swap between processes on this machine; one that is paused inside stops nobody for long."""
        path = self.root / "_state" / ".lock"
        with _explained("lock", path):
            self._folder(path.parent)
            with path.open("ab") as stream:
                _lock(stream)
                yield


def _version(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sync(stream: BinaryIO) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder_if_there(folder: Path) -> None:
    """Sync a folder, unless a delete elsewhere already emptied and removed it, with what was just put into it."""
    with suppress(FileNotFoundError):
        _sync_folder(folder)


def _lock(stream: BinaryIO) -> None:
    until = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise StorageError(
                    f"{stream.name} is held by another process, which may be paused. Nothing was changed; "
                    "let it go on or end it, then run again."
                ) from None
            time.sleep(_LOCK_PAUSE)
        else:
            return


def _is_in_use(path: Path) -> bool:
    """Whether a living process holds this scratch folder; temporary files belong to nobody for long."""
    if not path.is_dir():
        return False
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _files(base: Path, root: Path) -> Iterator[str]:
    for folder, folders, names in os.walk(base, onerror=_raise_unless_gone):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith("."):
                yield (Path(folder) / name).relative_to(root).as_posix()


def _raise_unless_gone(error: OSError) -> None:
    """A folder that cannot be read must not look like an empty one: `gc` would believe it."""
    if not isinstance(error, FileNotFoundError):
        raise error


@contextmanager
def _explained(action: str, path: Path) -> Iterator[None]:
    """Turn an `OSError` into a `StorageError` that says what, where and what to do."""
    try:
        yield
    except FileNotFoundError as error:
        if action != "write":
            raise ObjectMissing(f"cannot {action} {path}: it is not there.") from error
        raise StorageError(
            f"cannot write {path}: its folder cannot be made there; choose another lake."
        ) from error
    except FileExistsError as error:
        raise ObjectExists(f"cannot {action} {path}: it exists, and it is never overwritten.") from error
    except OSError as error:
        remedy = "make the folder writable (or free space)"
        if error.errno in {errno.EMFILE, errno.ENFILE}:
            remedy = "raise the limit on open files (ulimit -n)"
        elif isinstance(error, NotADirectoryError):
            remedy = "name a folder for the lake (LOCAL_DATA_DIR or --lake)"
        raise StorageError(
            f"cannot {action} {path}: {error.strerror or error}. What was published before is untouched; "
            f"{remedy} and run again."
        ) from error
