"""Keeps events where they cannot be lost, each once, however many receivers there are.

Events are kept in *parts*, the parts in numbered *books*. A part is created under the next number of the open
book, and only one receiver can: whoever comes second reads what the first has kept, takes out of its own what is
there already, and tries the next number. So every receiver knows all earlier events before it adds any, without a
lock, on any storage. An empty part closes its book; what follows goes into the next one, which the log
(`_state/webhooks.json`) names. A run moves the events of closed books into a bronze part of its own (see `roll`),
and only then removes the books.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from hashlib import sha256
from typing import Literal

from payments_pipeline import layout
from payments_pipeline.bronze import quarantine_line
from payments_pipeline.errors import ObjectExists, ObjectMissing
from payments_pipeline.flow import Clock
from payments_pipeline.storage import Storage
from payments_pipeline.webhooks.books import Log, begun_log, opened_after, read_index, read_part, unrolled
from payments_pipeline.webhooks.event import Received
from payments_pipeline.webhooks.seen import Seen

Outcome = Literal["stored", "duplicate", "conflict"]
"""What became of an event: kept, there already, or there already with another content."""


class Journal:
    """One receiver's place in the journal, and its knowledge of every event that was ever kept.

    For one thread at a time. Making one reads the index and whatever no run has rolled yet.
    """

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage = storage
        self._clock = clock
        self._log: Log
        self._version: str
        self._number: int
        self.seen: Seen
        self._is_settled: bool
        self._is_ended: bool
        self._restart()

    def keep(self, events: Sequence[Received]) -> list[Outcome]:
        """Keep what is new, all or nothing, durably when the call returns; what became of each event.

        `StorageError`: nothing may be acknowledged. Some or all of it may have been kept all the same; then it
        is a duplicate when it comes again.
        """
        while True:
            if self._is_ended or self._log.dt < self._today():
                self._close()
            fresh, outcomes = self._divided(events)
            if not fresh and self._is_settled:
                return outcomes
            if not fresh:
                self._close()
            elif self._create(b"".join(event.line for event in fresh)):
                self.seen.note((event.id_digest, event.content) for event in fresh)
                return outcomes

    def set_aside(self, body: bytes, reason: str) -> None:
        """Keep a delivery that is not to be bronze, as it came, with the reason."""
        line = quarantine_line(body, b'{"source":"webhook"}', reason)
        key = layout.webhook_quarantine(self._log.dt, self._log.book, sha256(body).hexdigest()[:32])
        self._storage.put(key, line)

    def close_book(self) -> int:
        """Close the open book unless it is empty; the number of the last book that will not change any more."""
        if self._number > 1:
            self._close()
        return self._log.book - 1

    def _divided(self, events: Sequence[Received]) -> tuple[list[Received], list[Outcome]]:
        """The events that are new, and the outcome of each."""
        fresh: dict[bytes, Received] = {}
        outcomes: list[Outcome] = []
        for event in events:
            first = fresh.get(event.id_digest)
            known = first.content if first else self.seen.find(event.id_digest)
            if known is None:
                fresh[event.id_digest] = event
                outcomes.append("stored")
            else:
                outcomes.append("duplicate" if known == event.content else "conflict")
        return list(fresh.values()), outcomes

    def _create(self, data: bytes) -> bool:
        """Whether `data` is now the next part; if not, more is known than before, and the caller decides again."""
        try:
            with self._storage.create(self._key()) as stream:
                stream.write(data)
        except ObjectExists:
            self._learn()
            return False
        version = self._storage.read_versioned(layout.WEBHOOK_LOG)[1]
        if version != self._version and self._is_rolled():
            self._restart()  # the book was removed meanwhile: what was just created counts for nothing
            return False
        self._number += 1
        self._is_settled = True
        self._is_ended = not data
        return True

    def _is_rolled(self) -> bool:
        log, version = begun_log(self._storage, self._today())
        if log.rolled >= self._log.book:
            return True
        self._version = version
        return False

    def _close(self) -> None:
        """Close the open book and go to the next.

        One that has an end gets another: whoever made the first may have been killed before it was durable, or
        before the next book was open. What is written behind an end would be nobody's.
        """
        book = self._log.book
        while self._log.book == book:
            if self._create(b""):
                self._advance()

    def _learn(self) -> None:
        """Read the part that stands where this receiver wanted to write.

        Whoever made it may have been killed before it was durable. Creating the next part of the book makes it
        so; until then nothing in it may be acknowledged, and the book may not be left.
        """
        try:
            part = read_part(self._storage, self._key())
        except ObjectMissing:  # its book was rolled between the two looks
            self._restart()
            return
        self._is_settled = False
        self._number += 1
        self.seen.note(kept.digests() for kept in part.kept)
        if part.is_end:
            self._is_ended = True
            if begun_log(self._storage, self._today())[0].book > self._log.book:
                self._advance()
            else:
                self._close()

    def _advance(self) -> None:
        """Go to the book after the one that was closed, opening it if nobody has."""
        log, version = opened_after(self._storage, self._log.book, self._today())
        if log.rolled < self._log.book and log.book == self._log.book + 1:
            self._log, self._version, self._number = log, version, 1
            self._is_settled, self._is_ended = True, False
        else:
            self._restart()

    def _restart(self) -> None:
        """Read everything there is."""
        while True:
            log, version = begun_log(self._storage, self._today())
            try:
                seen = read_index(self._storage, log)
                books = unrolled(self._storage, log)
                is_ended = False
                for key in (key for keys in books.values() for key in keys):
                    part = read_part(self._storage, key)
                    seen.note(kept.digests() for kept in part.kept)
                    is_ended = part.is_end
            except ObjectMissing:  # a run has rolled a book meanwhile
                continue
            self._log, self._version, self.seen = log, version, seen
            self._number = 1 + len(books.get(log.book, ()))
            self._is_settled = self._number == 1
            self._is_ended = is_ended and not self._is_settled
            return

    def _key(self) -> str:
        return layout.webhook_part(self._log.dt, self._log.book, self._number)

    def _today(self) -> str:
        return f"{self._clock().astimezone(UTC):%Y-%m-%d}"
