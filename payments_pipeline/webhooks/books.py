"""What the journal of received events is made of: its log, its books and parts, its index, and how they are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from pathlib import PurePosixPath
from typing import ClassVar

from payments_pipeline import layout
from payments_pipeline.errors import CorruptObject, ObjectMissing, VersionConflict
from payments_pipeline.flow import BronzePart
from payments_pipeline.state.documents import Document, load
from payments_pipeline.state.manifest import all_runs, read_manifests
from payments_pipeline.storage import Storage
from payments_pipeline.webhooks.event import Kept, read_line
from payments_pipeline.webhooks.seen import Seen

ENTITY = "webhook_events"


class Log(Document):
    """Where the journal stands: the open `book` and its date; all books up to `rolled` are in bronze parts of runs.

    `waiting` are those parts whose events no run has dealt with yet. `index` is the sha256 of the index of the
    `events` in rolled books.
    """

    remedy: ClassVar[str] = "remove it and run again: it is made again from the journal and the manifests"

    book: int
    dt: str
    rolled: int = 0
    waiting: tuple[BronzePart, ...] = ()
    index: str | None = None
    events: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """A part, read: its lines, what they hold, and the lines that cannot be read. One without bytes closes its book."""

    lines: tuple[bytes, ...]
    kept: tuple[Kept, ...]
    bad: tuple[tuple[bytes, str], ...]
    is_end: bool


def read_log(storage: Storage) -> tuple[Log | None, str]:
    """The log and its version for `Storage.swap`; `(None, ABSENT)` if there is none."""
    return load(storage, layout.WEBHOOK_LOG, Log)


def begun_log(storage: Storage, today: str) -> tuple[Log, str]:
    """The log and its version; one that is not there is begun, or made again from what the lake holds."""
    while True:
        log, version = read_log(storage)
        if log is not None:
            return log, version
        _swapped(storage, _remade(storage, today), version)


def opened_after(storage: Storage, book: int, today: str) -> tuple[Log, str]:
    """The log once the book after the closed one `book` is open."""
    while True:
        log, version = begun_log(storage, today)
        if log.book > book:
            return log, version
        _swapped(storage, log.model_copy(update={"book": book + 1, "dt": max(today, log.dt)}), version)


def change_log(storage: Storage, log: Log, version: str) -> bool:
    """Put `log` in place of the version; False, and nothing is changed, if it is that no more."""
    return _swapped(storage, log, version)


def read_part(storage: Storage, key: str) -> Part:
    """The part at `key`; `ObjectMissing` if it is not there."""
    data = storage.read(key)
    lines, kept, bad = [], [], []
    for line in data.splitlines(keepends=True) if data else ():
        try:
            kept.append(read_line(line))
        except ValueError as reason:
            bad.append((line, str(reason)))
        else:
            lines.append(line)
    return Part(tuple(lines), tuple(kept), tuple(bad), is_end=not data)


def unrolled(storage: Storage, log: Log) -> Mapping[int, list[str]]:
    """The parts of each book that is in the journal alone, in their order; `CorruptObject` if one is missing."""
    books: dict[int, list[str]] = {}
    for info in storage.list(layout.WEBHOOKS):
        place = layout.webhook_book(info.key)
        if place is not None and place[1] > log.rolled:
            books.setdefault(place[1], []).append(info.key)
    for keys in books.values():
        numbers = [int(PurePosixPath(key).stem.removeprefix("part-")) for key in keys]
        if numbers != list(range(1, len(numbers) + 1)):
            raise CorruptObject(
                f"{storage.url}/{PurePosixPath(keys[0]).parent} has lost a part: its numbers leave a gap. "
                "Acknowledged events are missing; restore it from a backup, or remove that folder and have "
                "'payments-pipeline catch-up' and the next run read what Stripe still knows."
            )
    return dict(sorted(books.items()))


def rolled_parts(storage: Storage) -> Iterator[str]:
    """Keys of the parts that runs have made of books."""
    return (info.key for info in storage.list(layout.WEBHOOKS) if layout.webhook_book(info.key) is None)


def book_of(key: str) -> int:
    """The book that a run's part was made of."""
    return int(PurePosixPath(key).stem.rpartition("-")[2])


def read_index(storage: Storage, log: Log) -> Seen:
    """Every event in rolled books; read from their parts if the index is lost or damaged.

    `ObjectMissing` if a run has rolled more meanwhile.
    """
    if log.index is None:
        return Seen()
    try:
        data = storage.read(layout.webhook_index(log.rolled))
    except ObjectMissing:
        data = b""
    if sha256(data).hexdigest() == log.index:
        return Seen(data)
    if read_log(storage)[0] != log:
        raise ObjectMissing("the journal has changed while it was read")
    seen = Seen()
    for key in rolled_parts(storage):
        seen.note(kept.digests() for kept in read_part(storage, key).kept)
    return seen


def recorded(storage: Storage) -> Iterator[tuple[str, str]]:
    """(key, sha256) of what the log names: the parts that wait, and the index."""
    log = read_log(storage)[0]
    if log is not None:
        yield from ((part.key, part.sha256) for part in log.waiting)
        if log.index:
            yield layout.webhook_index(log.rolled), log.index


def journal_damage(storage: Storage) -> tuple[int, list[str]]:
    """How many parts the journal has, and what is wrong with it: every line carries a checksum of its own."""
    log = read_log(storage)[0]
    if log is None:
        return 0, []
    try:
        keys = [key for keys in unrolled(storage, log).values() for key in keys]
        bad = [f"{key}: {reason}" for key in keys for _, reason in read_part(storage, key).bad]
    except CorruptObject as error:
        return 0, [str(error)]
    except ObjectMissing:  # a run rolls the journal just now
        return 0, []
    return len(keys), bad


@dataclass(frozen=True, slots=True)
class Standing:
    """Received events: how many in all, how many of them no run has dealt with, when the last of those came (UTC)."""

    events: int
    waiting: int
    last: str | None


def standing(storage: Storage) -> Standing | None:
    """How the journal stands; None if nothing was ever received."""
    log = read_log(storage)[0]
    if log is None:
        return None
    count, last = 0, None
    for key in (key for keys in unrolled(storage, log).values() for key in keys):
        with suppress(ObjectMissing):  # rolled just now
            part = read_part(storage, key)
            count += len(part.kept)
            last = part.kept[-1].received_at if part.kept else last
    return Standing(log.events + count, sum(part.rows for part in log.waiting) + count, last)


def _remade(storage: Storage, today: str) -> Log:
    """The log that journal and manifests imply; that of an empty journal if there is nothing."""
    named = {
        part.key
        for run in read_manifests(storage, all_runs(storage)).values()
        for part in run.extract.webhooks
    }
    parts = sorted(rolled_parts(storage))
    rolled = max(map(book_of, parts), default=0)
    books = [place for info in storage.list(layout.WEBHOOKS) if (place := layout.webhook_book(info.key))]
    last = max((book for _, book in books), default=0)
    return Log(
        book=max(rolled, last) + 1,
        dt=max([today, *(dt for dt, _ in books)]),
        rolled=rolled,
        waiting=tuple(part_of(storage, key) for key in parts if key not in named),
        index="" if parts else None,
        events=sum(part_of(storage, key).rows for key in parts),
    )


def part_of(storage: Storage, key: str) -> BronzePart:
    """A part's description, measured."""
    data = storage.read(key)
    return BronzePart(ENTITY, key, data.count(b"\n"), len(data), sha256(data).hexdigest(), "")


def ingest_date(dt: str) -> date:
    """The date of a partition."""
    return date.fromisoformat(dt)


def _swapped(storage: Storage, log: Log, version: str) -> bool:
    try:
        storage.swap(layout.WEBHOOK_LOG, log.sealed(), expected=version)
    except VersionConflict:
        return False
    return True
