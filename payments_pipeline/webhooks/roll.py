"""What a run does with received events: it makes bronze parts of the journal, and notices of change of the events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import msgspec

from payments_pipeline import layout
from payments_pipeline.bronze import quarantine_line
from payments_pipeline.errors import LeaseError
from payments_pipeline.flow import BronzePart, RunContext
from payments_pipeline.lake import Lake
from payments_pipeline.screen import LAST_SECOND
from payments_pipeline.state.head import fence
from payments_pipeline.state.lease import Lease
from payments_pipeline.storage import Storage
from payments_pipeline.webhooks.books import (
    ENTITY,
    Log,
    begun_log,
    book_of,
    change_log,
    ingest_date,
    read_log,
    read_part,
    rolled_parts,
    unrolled,
)
from payments_pipeline.webhooks.event import Id, read_line
from payments_pipeline.webhooks.journal import Journal


@dataclass(frozen=True, slots=True)
class Notices:
    """Received events that no run has dealt with: their bronze parts, and a scratch file of what they name.

    The file has the shape of bronze of `events`, and nothing in it that those columns cannot hold.
    """

    parts: tuple[BronzePart, ...] = ()
    files: tuple[Path, ...] = ()


def take_notices(lake: Lake, run: RunContext, lease: Lease) -> Notices:
    """Roll the journal and read what waits. Objects that the run reads afterwards are newer than any of these events."""
    parts = roll(lake, run, lease)
    if not parts:
        return Notices()
    path = lake.storage.scratch() / f"notices-{run.epoch:06d}.jsonl"
    with path.open("wb") as stream:
        for part in parts:
            stream.writelines(_notices(lake.storage, part))
    return Notices(parts, (path,))


def roll(lake: Lake, run: RunContext, lease: Lease) -> tuple[BronzePart, ...]:
    """Make one bronze part of each book, and remove the books; every part whose events no run has dealt with.

    Receivers go on meanwhile. What a killed roll leaves, parts that count for nothing or books that were rolled, the
    next one removes.
    """
    storage, today = lake.storage, f"{lake.clock():%Y-%m-%d}"
    if read_log(storage)[0] is None and not any(True for _ in storage.list(layout.WEBHOOKS)):
        return ()
    log, _ = begun_log(storage, today)
    if unrolled(storage, log):
        for key in [key for key in rolled_parts(storage) if book_of(key) > log.rolled]:
            storage.delete(key)  # of a roll that was killed: its books are still there
        journal = Journal(storage, lake.clock)
        last = journal.close_book()
        parts = tuple(_rolled(lake, run, log, last))
        index = journal.seen.packed()
        storage.put(layout.webhook_index(last), index)
        fence(storage, lease)
        log = _committed(storage, log, last, parts, sha256(index).hexdigest())
        lake.reporter.event("webhooks_rolled", events=sum(part.rows for part in parts), parts=len(parts))
    _clean(storage, log)
    return log.waiting


def settle(storage: Storage, dealt_with: Sequence[BronzePart]) -> None:
    """The events of these parts wait no more."""
    while dealt_with:
        log, version = read_log(storage)
        if log is None:
            return
        waiting = tuple(part for part in log.waiting if part not in dealt_with)
        if waiting == log.waiting or change_log(
            storage, log.model_copy(update={"waiting": waiting}), version
        ):
            return


def _rolled(lake: Lake, run: RunContext, log: Log, last: int) -> Iterator[BronzePart]:
    """A bronze part for each closed book up to `last`; lines that cannot be read go to quarantine."""
    for book, keys in unrolled(lake.storage, log).items():
        place = layout.webhook_book(keys[0])
        if book <= last and place is not None:
            part = _one_part(lake, run, keys, place)
            if part is not None:
                yield part


def _one_part(lake: Lake, run: RunContext, keys: Sequence[str], place: tuple[str, int]) -> BronzePart | None:
    """All lines of a book, streamed into one object; None if there are none."""
    dt, book = place
    key = layout.bronze_part(ENTITY, ingest_date(dt), run.run_id, f"{run.epoch:06d}-{book:08d}")
    digest, rows, size = sha256(), 0, 0
    with ExitStack() as stack:
        stream = None
        for each in keys:
            part = read_part(lake.storage, each)
            for line, reason in part.bad:
                _quarantine(lake, place, line, reason)
            data = b"".join(part.lines)
            if data:
                stream = stream or stack.enter_context(lake.storage.create(key))
                stream.write(data)
                digest.update(data)
                rows, size = rows + len(part.lines), size + len(data)
    return BronzePart(ENTITY, key, rows, size, digest.hexdigest(), "") if rows else None


def _quarantine(lake: Lake, place: tuple[str, int], line: bytes, reason: str) -> None:
    key = layout.webhook_quarantine(*place, sha256(line).hexdigest()[:32])
    lake.storage.put(key, quarantine_line(line, b"{}", reason))
    lake.reporter.event("records_quarantined", entity=ENTITY, records=1, key=key)


def _committed(storage: Storage, before: Log, last: int, parts: Sequence[BronzePart], index: str) -> Log:
    """The log that names the parts in place of the books; `LeaseError` if another run has rolled meanwhile."""
    while True:
        log, version = read_log(storage)
        if log is None or (log.rolled, log.waiting) != (before.rolled, before.waiting):
            raise LeaseError(
                f"another run has taken over {storage.url} and rolled the webhook journal; this one changed nothing "
                "there. Run again."
            )
        rolled = log.model_copy(
            update={
                "rolled": last,
                "waiting": (*log.waiting, *parts),
                "index": index,
                "events": log.events + sum(part.rows for part in parts),
            }
        )
        if change_log(storage, rolled, version):
            return rolled


def _clean(storage: Storage, log: Log) -> None:
    """Remove the books that were rolled, and indexes that were replaced."""
    for info in storage.list(layout.WEBHOOKS):
        place = layout.webhook_book(info.key)
        if place is not None and place[1] <= log.rolled:
            storage.delete(info.key)
    for info in storage.list(layout.WEBHOOK_INDEX):
        if info.key != layout.webhook_index(log.rolled):
            storage.delete(info.key)


class _Named(msgspec.Struct):
    id: Id
    object: str


class _Data(msgspec.Struct):
    object: _Named


class _Notice(msgspec.Struct):
    id: str
    type: str
    created: Annotated[int, msgspec.Meta(gt=0, lt=LAST_SECOND)]
    data: _Data


class _Account(msgspec.Struct):
    account: str | None = None


def _notices(storage: Storage, part: BronzePart) -> Iterator[bytes]:
    """What the part's events name, one line each.

    An event without an object of the account (a thin one, one of a connected account), without a plausible id or
    time, or whose line is damaged gives none: the feed is read all the same.
    """
    with storage.localize(part.key).open("rb") as stream:
        for line in stream:
            try:
                event = read_line(line).event
                notice = msgspec.json.decode(event, type=_Notice)
                if msgspec.json.decode(event, type=_Account).account is None:
                    yield b'{"data":%b,"meta":{}}\n' % msgspec.json.encode(notice)
            except ValueError:
                continue
