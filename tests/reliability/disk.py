"""Stands between `LocalStorage` and the disk: names every call, writes it down, and can make it go wrong.

Only a child process of the tests installs it. It replaces the functions of `os`, `io` and `fcntl` that touch files
below one lake, so that whatever the pipeline does to its lake is seen, whoever does it; DuckDB's own writes go to
scratch files and are seen when they are adopted.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

CALLS = ("open", "write", "fsync", "replace", "link", "mkdir", "unlink", "rmdir", "scandir", "flock")
"""What can be counted and fail, in the words of the log."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens at the `nth` passing of a point: `kill`, `stop` (until SIGCONT) or the name of an errno.

    `point` is a crash point's name, or `*` to count every call to the disk. A `sticky` fault stays from then on.
    """

    point: str
    do: str
    nth: int = 1
    sticky: bool = False


class Disk:
    """The faults of one process, and its log: one JSON line per call, the bytes of synced files beside it."""

    def __init__(self, root: Path, fault: Fault | None, log: Path | None) -> None:
        self.root = str(root)
        self.step = "open"
        self._fault = fault
        self._log = log
        self._seen: Counter[str] = Counter()
        self._lock = threading.RLock()
        self._operation = threading.local()
        if log is not None:
            (log / "blobs").mkdir(parents=True, exist_ok=True)

    def operation(self, name: str | None) -> str | None:
        """Name what this thread does from now on; what it did before."""
        before: str | None = getattr(self._operation, "name", None)
        self._operation.name = name
        return before

    def point(self, moment: str) -> None:
        """The operation under way reaches a moment at which a process may die."""
        name = f"{getattr(self._operation, 'name', None) or f'{self.step}:direct'}:{moment}"
        with self._lock:
            self._seen[name] += 1
            due = self._is_due(name)
            self._write({"point": name, "nth": self._seen[name]})
        if due:
            self._act()

    def call(self, name: str, paths: tuple[str, ...]) -> None:
        """A call to the disk is about to happen; raises the fault's `OSError` if it is its turn."""
        with self._lock:
            self._seen["*"] += 1
            due = self._is_due("*")
            if due:
                self._write({"fault": name, "paths": paths})
        if due:
            self._act()

    def note(self, name: str, *paths: str, blob: str | None = None) -> None:
        """A call to the disk has succeeded."""
        with self._lock:
            operation = getattr(self._operation, "name", None)
            self._write(
                {"call": name, "paths": paths, "blob": blob, "op": operation or f"{self.step}:direct"}
            )

    def blob(self, path: str) -> str | None:
        """Keep the file's bytes; the name under which they are kept."""
        if self._log is None:
            return None
        data = Path(path).read_bytes()
        name = hashlib.sha256(data).hexdigest()
        (self._log / "blobs" / name).write_bytes(data)
        return name

    def holds(self, path: object) -> str | None:
        """The absolute path of something in the lake, None for anything else."""
        if not isinstance(path, str | os.PathLike):
            return None
        text = os.path.abspath(os.fspath(path))  # noqa: PTH100 - must not follow links
        return text if text == self.root or text.startswith(f"{self.root}/") else None

    def summary(self) -> dict[str, int]:
        """How often each point was passed, and every call under `*`."""
        return dict(self._seen)

    def _is_due(self, name: str) -> bool:
        fault = self._fault
        if fault is None or fault.point != name:
            return False
        return self._seen[name] == fault.nth or (fault.sticky and self._seen[name] > fault.nth)

    def _act(self) -> None:
        assert self._fault is not None
        if self._fault.do == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self._fault.do == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            number = getattr(errno, self._fault.do)
            raise OSError(number, os.strerror(number))

    def _write(self, entry: dict[str, object]) -> None:
        if self._log is not None:
            with (self._log / "log.jsonl").open("a") as stream:
                stream.write(json.dumps(entry) + "\n")


class _Stream:
    """A file being written: its writes are calls to the disk."""

    def __init__(self, disk: Disk, stream: Any, path: str) -> None:
        self._disk, self._stream, self._path = disk, stream, path

    def write(self, data: bytes) -> int:
        self._disk.call("write", (self._path,))
        written: int = self._stream.write(data)
        self._disk.point("written")
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


def install(disk: Disk) -> None:
    """Put `disk` between this process and the lake, for as long as the process lives."""
    _install_open(disk)
    _install_fsync(disk)
    for name in ("replace", "link", "mkdir", "unlink", "rmdir", "scandir"):
        setattr(os, name, _watched(disk, name, getattr(os, name)))
    lock = fcntl.flock

    def flock(handle: Any, operation: int) -> None:
        if isinstance(handle, int) or disk.holds(handle.name):
            disk.call("flock", ())
        lock(handle, operation)

    fcntl.flock = flock


def _install_open(disk: Disk) -> None:
    real = io.open

    def opened(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        path = disk.holds(file)
        if path is None:
            return real(file, mode, *arguments, **options)
        disk.call("open", (path,))
        stream = real(file, mode, *arguments, **options)
        if not set(mode) & set("wxa"):
            return stream
        disk.note("create", path)
        return _Stream(disk, stream, path)

    io.open = opened


def _install_fsync(disk: Disk) -> None:
    real = os.fsync

    def fsync(fd: Any) -> None:
        path = disk.holds(os.readlink(f"/proc/self/fd/{fd}"))  # noqa: PTH115 - bytes of a link, not a path
        if path is None:
            real(fd)
            return
        disk.call("fsync", (path,))
        if os.path.isdir(path):  # noqa: PTH112 - Path would come back here
            disk.point("placed")
            real(fd)
            disk.note("fsync-folder", path)
        else:
            real(fd)
            disk.note("fsync", path, blob=disk.blob(path))
            disk.point("synced")

    os.fsync = fsync


def _watched(disk: Disk, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        paths = tuple(path for path in map(disk.holds, arguments[:2]) if path)
        if not paths:
            return real(*arguments, **options)
        disk.call(name, paths)
        result = real(*arguments, **options)
        if name != "scandir":
            disk.note(name, *paths)
        return result

    return call
