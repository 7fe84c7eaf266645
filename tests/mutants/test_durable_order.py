from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from payments_pipeline.storage import LocalStorage


class Log:
    """What was synced, renamed and linked, in order, as (what, inode)."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, int]] = []

    def note(self, what: str, target: int | str | os.PathLike[str]) -> None:
        """Remember it."""
        self.entries.append((what, os.stat(target).st_ino))  # noqa: PTH116 - also takes a descriptor


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    """The log of every fsync, rename and link of this process."""
    made = Log()
    fsync, rename, link = os.fsync, Path.replace, os.link

    def synced(handle: int) -> None:
        fsync(handle)
        made.note("sync", handle)

    def renamed(self: Path, target: Path) -> Path:
        made.note("name", self)
        return rename(self, target)

    def linked(source: Path, target: Path) -> None:
        made.note("name", source)
        link(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    monkeypatch.setattr(os, "link", linked)
    return made


def _ways(storage: LocalStorage) -> Iterator[tuple[str, Path]]:
    """Every way to write an object, one by one: its name, and where the object lies when it is done."""
    storage.put("_state/put.json", b"1")
    yield "put", storage.root / "_state/put.json"
    with storage.create("bronze/created.jsonl") as stream:
        stream.write(b"1")
    yield "create", storage.root / "bronze/created.jsonl"
    draft = storage.scratch() / "draft"
    draft.write_bytes(b"1")
    storage.adopt(draft, "_staging/adopted.parquet")
    yield "adopt", storage.root / "_staging/adopted.parquet"
    storage.promote("_staging/adopted.parquet", "gold/promoted.parquet")
    yield "promote", storage.root / "gold/promoted.parquet"


def test_bytes_are_synced_before_they_get_a_name_and_the_name_before_the_call_returns(
    tmp_path: Path, log: Log
) -> None:
    """A9: after a power cut an object is whole or absent, and what was written before it is there."""
    storage = LocalStorage(tmp_path / "lake")
    start = 0
    for way, path in _ways(storage):
        entries, start = log.entries[start:], len(log.entries)
        file, folder = path.stat().st_ino, path.parent.stat().st_ino
        named = entries.index(("name", file))
        assert ("sync", file) in entries[:named] or way == "promote", way
        assert ("sync", folder) in entries[named:], way
    storage.close()
