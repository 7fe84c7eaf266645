"""Names everything that is done to a lake: `<step>:<operation>:<kind of key>:<moment>`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from payments_pipeline.storage import ObjectInfo, Storage
from tests.reliability.disk import Disk

_KINDS = (
    (r"_state/lease\.json", "lease"),
    (r"_state/lake\.json", "head"),
    (r"_state/manifests/run_.*", "manifest"),
    (r"_state/manifests/_latest/.*", "latest"),
    (r"_state/watermarks/.*", "watermark"),
    (r"_state/reports/.*", "report"),
    (r"_state/webhook.*", "webhooks"),
    (r"_state/links/.*", "links"),
    (r"_staging/.*", "staged"),
    (r"bronze/.*", "bronze"),
    (r"quarantine/.*", "quarantine"),
    (r"silver/.*", "silver"),
    (r"gold/.*", "gold"),
    (r"lake\.duckdb", "views"),
)


def kind_of(key: str) -> str:
    """What an object's key says it is."""
    return next(kind for pattern, kind in _KINDS if re.fullmatch(pattern, key))


class NamedStorage:
    """A storage that does what the one inside does, and tells the disk what it is about."""

    def __init__(self, inner: Storage, disk: Disk) -> None:
        self.url = inner.url
        self.traffic = inner.traffic
        self.remote = inner.remote
        self._inner = inner
        self._disk = disk

    @contextmanager
    def _named(self, operation: str, key: str, *, moments: bool = True) -> Iterator[None]:
        before = self._disk.operation(f"{self._disk.step}:{operation}:{kind_of(key)}")
        try:
            if moments:
                self._disk.point("before")
            yield
            if moments:
                self._disk.point("after")
                self._disk.note("deleted" if operation == "delete" else "stored", f"{self.url}/{key}")
        finally:
            self._disk.operation(before)

    def read(self, key: str) -> bytes:
        with self._named("read", key, moments=False):
            return self._inner.read(key)

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        with self._named("read", key, moments=False):
            return self._inner.read_versioned(key)

    def swap(self, key: str, data: bytes, *, expected: str) -> str:
        with self._named("swap", key):
            return self._inner.swap(key, data, expected=expected)

    def put(self, key: str, data: bytes) -> None:
        with self._named("put", key):
            self._inner.put(key, data)

    @contextmanager
    def create(self, key: str) -> Iterator[BinaryIO]:
        with self._named("create", key), self._inner.create(key) as stream:
            yield stream

    def adopt(self, path: Path, key: str) -> None:
        with self._named("adopt", key):
            self._inner.adopt(path, key)

    def promote(self, source: str, target: str) -> None:
        with self._named("promote", target):
            self._inner.promote(source, target)

    def delete(self, key: str) -> None:
        with self._named("delete", key):
            self._inner.delete(key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        yield from self._inner.list(prefix)

    def sweep(self, before: float) -> int:
        self._disk.point("sweep:before")
        swept = self._inner.sweep(before)
        self._disk.point("sweep:after")
        return swept

    def localize(self, key: str) -> Path:
        return self._inner.localize(key)

    def scratch(self) -> Path:
        return self._inner.scratch()

    def close(self) -> None:
        self._inner.close()
