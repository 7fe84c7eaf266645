"""A storage that fails, or whose process dies, at a chosen operation."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from payments_pipeline.errors import StorageError
from payments_pipeline.storage import Storage
from payments_pipeline.storage.base import ObjectInfo


class Killed(BaseException):
    """The process is gone: no handler of an ordinary exception sees this, and nothing reaches the storage afterwards."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What happens at the `at`-th write (from 1): the process is killed, before or after it, or the write fails.

    A failing storage recovers at once, unless it is `lasting`.
    """

    at: int
    kind: str = "killed before"
    lasting: bool = False


class Troubled:
    """Delegates to a storage until the trouble comes."""

    def __init__(self, inner: Storage, trouble: Trouble) -> None:
        self.url = inner.url
        self.traffic = inner.traffic
        self.remote = inner.remote
        self.happened = False
        self._inner = inner
        self._trouble = trouble
        self._writes = 0
        self._dead = False
        self._lock = threading.Lock()

    def read(self, key: str) -> bytes:
        self._alive()
        return self._inner.read(key)

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        self._alive()
        return self._inner.read_versioned(key)

    def swap(self, key: str, data: bytes, *, expected: str) -> str:
        with self._write():
            return self._inner.swap(key, data, expected=expected)

    def put(self, key: str, data: bytes) -> None:
        with self._write():
            self._inner.put(key, data)

    @contextmanager
    def create(self, key: str) -> Iterator[BinaryIO]:
        with self._write(), self._inner.create(key) as stream:
            yield stream
            self._alive()

    def adopt(self, path: Path, key: str) -> None:
        with self._write():
            self._inner.adopt(path, key)

    def promote(self, source: str, target: str) -> None:
        with self._write():
            self._inner.promote(source, target)

    def delete(self, key: str) -> None:
        with self._write():
            self._inner.delete(key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        self._alive()
        return self._inner.list(prefix)

    def sweep(self, before: float) -> int:
        self._alive()
        return self._inner.sweep(before)

    def localize(self, key: str) -> Path:
        self._alive()
        return self._inner.localize(key)

    def scratch(self) -> Path:
        return self._inner.scratch()

    def close(self) -> None:
        self._inner.close()

    def _alive(self) -> None:
        if self._dead:
            raise Killed

    @contextmanager
    def _write(self) -> Iterator[None]:
        """One write: nothing is written once the process is dead, and at the chosen one the trouble happens."""
        self._alive()
        with self._lock:
            self._writes += 1
            now = self._writes
        due = now == self._trouble.at or (self._trouble.lasting and now > self._trouble.at)
        if not due:
            yield
            return
        self.happened = True
        if self._trouble.kind == "fails":
            raise StorageError(f"write {now} failed: no space left on device.")
        if self._trouble.kind == "killed after":
            yield
        self._dead = True
        raise Killed
