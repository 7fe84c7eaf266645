"""A lake in this process's memory: for tests and experiments; nothing survives the process."""

from __future__ import annotations

import hashlib
import io
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from payments_pipeline.errors import ObjectExists, ObjectMissing, VersionConflict
from payments_pipeline.storage.base import ABSENT, ObjectInfo, Remote, Traffic, check_key


class MemoryStorage:
    """Objects in a dictionary, with the guarantees of `Storage` except durability."""

    def __init__(self, name: str = "lake") -> None:
        self.url = f"memory://{name}"
        self.traffic = Traffic()
        self.remote: Remote | None = None
        self._objects: dict[str, tuple[bytes, float]] = {}
        self._lock = threading.RLock()
        self._scratch: Path | None = None

    def read(self, key: str) -> bytes:
        check_key(key)
        with self._lock:
            if key not in self._objects:
                raise ObjectMissing(f"{self.url}/{key} is not there.")
            data = self._objects[key][0]
        self.traffic.add(read=len(data))
        return data

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        check_key(key)
        with self._lock:
            if key not in self._objects:
                return b"", ABSENT
            data = self.read(key)
        return data, hashlib.sha256(data).hexdigest()

    def swap(self, key: str, data: bytes, *, expected: str) -> str:
        with self._lock:
            if self.read_versioned(key)[1] != expected:
                raise VersionConflict(f"{self.url}/{key} was changed by somebody else; nothing was written.")
            self.put(key, data)
        return hashlib.sha256(data).hexdigest()

    def put(self, key: str, data: bytes) -> None:
        check_key(key)
        with self._lock:
            self._objects[key] = (data, time.time())
        self.traffic.add(written=len(data))

    @contextmanager
    def create(self, key: str) -> Iterator[BinaryIO]:
        check_key(key)
        stream = io.BytesIO()
        yield stream
        with self._lock:
            if key in self._objects:
                raise ObjectExists(f"{self.url}/{key} exists, and it is never overwritten.")
            self.put(key, stream.getvalue())

    def adopt(self, path: Path, key: str) -> None:
        self.put(key, path.read_bytes())
        path.unlink()

    def promote(self, source: str, target: str) -> None:
        with self._lock:
            self.put(target, self.read(source))
            self.delete(source)

    def delete(self, key: str) -> None:
        check_key(key)
        with self._lock:
            self._objects.pop(key, None)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        with self._lock:
            found = sorted((key, *entry) for key, entry in self._objects.items() if key.startswith(prefix))
        return iter([ObjectInfo(key, len(data), modified) for key, data, modified in found])

    def sweep(self, before: float) -> int:
        return 0

    def localize(self, key: str) -> Path:
        with self._lock:
            data = self.read(key)
            path = self.scratch() / hashlib.sha256(data).hexdigest() / key
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        return path

    def scratch(self) -> Path:
        if self._scratch is None:
            self._scratch = Path(tempfile.mkdtemp(prefix="payments-pipeline-"))
        return self._scratch

    def close(self) -> None:
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None
