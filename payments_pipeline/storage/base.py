"""The contract every lake storage keeps; `tests/contract/test_storage.py` checks it for each."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

from payments_pipeline.errors import StorageError

ABSENT = ""
"""The version of an object that is not there, for `Storage.swap`."""

_KEY = re.compile(r"(?:[^./\\][^/\\]*)(?:/[^./\\][^/\\]*)*")
_LONGEST_KEY, _LONGEST_NAME = 1024, 255
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def check_key(key: str) -> None:
    """`StorageError` unless every storage can hold `key`, and no other key could mean the same object.

    Names between single slashes: none is empty, begins with a dot or is longer than 255 bytes; no control
    characters and no backslashes; 1,024 bytes in all.
    """
    if not is_key(key):
        raise StorageError(
            f"key {key[:80]!r} cannot be used in a lake, or is too long; nothing was read or written."
        )


def is_key(key: str) -> bool:
    """Whether `check_key` lets it pass."""
    if _CONTROL.search(key) or not _KEY.fullmatch(key):
        return False
    return (
        len(key.encode()) <= _LONGEST_KEY
        and max(len(name.encode()) for name in key.split("/")) <= _LONGEST_NAME
    )


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One stored object: its key, its size in bytes and when it was written (Unix seconds)."""

    key: str
    size: int
    modified: float


@dataclass(frozen=True, slots=True)
class StorageOptions:
    """What a storage cannot learn from its URL; a local folder needs none of it.

    `encryption` is the server-side encryption to ask for, `kms_key_id` its key, if it is not the store's default.
    """

    region: str | None = None
    encryption: Literal["AES256", "aws:kms"] | None = None
    kms_key_id: str | None = None


@dataclass(frozen=True, slots=True)
class Vouched:
    """What a store says of an object: its version, its size and the SHA-256 that the store computed of its bytes."""

    version: str
    size: int
    sha256: str


class Traffic:
    """How many bytes of objects went in and out of a storage since it was opened; threads may count at once."""

    def __init__(self) -> None:
        self.bytes_read = 0
        self.bytes_written = 0
        self._lock = threading.Lock()

    def add(self, *, read: int = 0, written: int = 0) -> None:
        """Count some more."""
        with self._lock:
            self.bytes_read += read
            self.bytes_written += written


class Remote(Protocol):
    """Reads objects in parts, where fetching whole ones costs something. Errors are those of `Storage`."""

    def vouched(self, key: str) -> Vouched | None:
        """What the store vouches for, also on the way to here; None if it does not: only the whole object is proof."""

    def read_range(self, key: str, start: int, stop: int, *, version: str) -> bytes:
        """The bytes from `start` up to `stop` of the version; `VersionConflict` if the object is another by now."""


class Storage(Protocol):
    """Durable objects under `/`-separated keys.

    A write is all or nothing and durable when the call returns; readers see the old bytes or the new ones.
    Every method raises `StorageError` (or one of its children) for what the storage refuses.
    """

    url: str
    traffic: Traffic
    remote: Remote | None
    """None where objects are at hand."""

    def read(self, key: str) -> bytes:
        """The object's bytes; `ObjectMissing` if it is not there."""

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        """The object's bytes and the version to hand to `swap`; `(b"", ABSENT)` if it is not there."""

    def swap(self, key: str, data: bytes, *, expected: str) -> str:
        """Replace the object if it still is `expected`; the new version, or `VersionConflict`."""

    def put(self, key: str, data: bytes) -> None:
        """Write or replace the object."""

    def create(self, key: str) -> AbstractContextManager[BinaryIO]:
        """Stream a new object; it appears when the block ends well, never if it raises.

        `ObjectExists` if the key is taken: nothing is ever overwritten.
        """

    def adopt(self, path: Path, key: str) -> None:
        """Make a local file (in `scratch`) the object `key`; the file is gone afterwards."""

    def promote(self, source: str, target: str) -> None:
        """Replace `target` by the object `source`, which is gone afterwards; `ObjectMissing` if it is not there."""

    def delete(self, key: str) -> None:
        """Remove the object; nothing happens if it is not there."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose key begins with `prefix`, in key order."""

    def sweep(self, before: float) -> int:
        """Remove what killed processes left unfinished before that Unix second; the number of leftovers."""

    def localize(self, key: str) -> Path:
        """A local file with the object's bytes: the object itself on disk, a copy in `scratch` elsewhere."""

    def scratch(self) -> Path:
        """A private local folder for temporary files, emptied by `close`."""

    def close(self) -> None:
        """Remove the scratch folder."""
