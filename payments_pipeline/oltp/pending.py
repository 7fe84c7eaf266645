"""Remembers which objects were seen and which are still to be asked for, on disk: an account may have millions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

_WANTED, _ASKED, _SEEN = 0, 1, 2


class Pending:
    """A temporary file of (list, id); the caller lets one thread at a time use it."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute("pragma journal_mode = off")
        self._database.execute("pragma synchronous = off")
        self._database.execute(
            "create table objects (list text, id text, state integer, primary key (list, id)) without rowid"
        )
        self._database.execute("create index waiting on objects (list, id) where state = 0")
        # Never committed: what outgrows the cache is spilled to the file, and nobody reads it afterwards.
        self._database.execute("begin")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def see(self, name: str, object_id: str) -> bool:
        """Note an object as seen; False if it was before."""
        found = self._database.execute(
            "insert into objects values (?, ?, ?) on conflict do update set state = excluded.state "
            "where state <> excluded.state returning true",
            (name, object_id, _SEEN),
        )
        return found.fetchone() is not None

    def want(self, objects: Iterable[tuple[str, str]]) -> None:
        """Note objects as to be asked for, unless they were seen or asked for already."""
        self._database.executemany(
            "insert into objects values (?, ?, ?) on conflict do nothing",
            ((name, object_id, _WANTED) for name, object_id in objects),
        )

    def take(self, most: int) -> list[tuple[str, str]]:
        """Some of the objects to be asked for, each once; empty when there are none."""
        found = self._database.execute(
            "update objects set state = ? where (list, id) in "
            "(select list, id from objects where state = 0 limit ?) returning list, id",
            (_ASKED, most),
        )
        return found.fetchall()
