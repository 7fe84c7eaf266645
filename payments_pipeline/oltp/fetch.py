"""Writes every object of an account to JSON files, one array for each list, ready to be ingested."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from payments_pipeline.entities import ENTITIES, referenced_ids
from payments_pipeline.errors import SourceRefused, StorageError
from payments_pipeline.flow import Clock, Page, Reporter, Window
from payments_pipeline.oltp import LISTS
from payments_pipeline.oltp.files import FETCHED_AT
from payments_pipeline.oltp.pending import Pending
from payments_pipeline.storage import LocalStorage
from payments_pipeline.stripe.client import StripeClient
from payments_pipeline.stripe.envelope import identity

_METHODS_OF = "payment_methods of"
_BATCH = 500
_ABANDONED = timedelta(minutes=1)
_UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)


@dataclass(frozen=True, slots=True)
class Export:
    """How to fetch: the client, how many threads share it, its clock, and who hears of the progress."""

    client: StripeClient
    workers: int
    clock: Clock
    reporter: Reporter


def fetch(export: Export, folder: Path) -> Mapping[str, int]:
    """Write `<list>.json` for each of `LISTS` to `folder`; how many objects each holds.

    A file is a JSON array with one object a line, every value as received, each id once. Lists are read to their
    end, payment methods once more customer by customer, and what an object refers to is retrieved if no list
    showed it: deleted customers, detached payment methods, prices made for one subscription. Nested lists are
    whole; references stay ids.

    The files are replaced, each at once, when all are complete; until then, and whenever this raises, the old
    ones stay. `fetched_at.json` says when the reading of each began. Memory does not grow with the account.
    """
    storage = LocalStorage(folder)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # customers' data as received
        storage.sweep((export.clock() - _ABANDONED).timestamp())
        with _Reading(export, storage.scratch()) as reading:
            reading.read()
        for name in LISTS:
            storage.adopt(storage.scratch() / f"{name}.json", f"{name}.json")
        storage.put(FETCHED_AT, json.dumps(reading.began, indent=2).encode() + b"\n")
    except OSError as error:
        raise StorageError(
            f"cannot write to {folder}: {error.strerror or error}. Every file there is whole, old or new; make room, "
            "or choose another folder with --out."
        ) from error
    finally:
        storage.close()
        with suppress(OSError):  # another fetch is at work, or nothing was begun
            (folder / "_staging").rmdir()
    export.reporter.event("fetch_complete", folder=str(folder), records=sum(reading.counts.values()))
    return reading.counts


class _Reading:
    """An account being read: a file for each list, and a note of what was written and what is still to be asked for."""

    def __init__(self, export: Export, scratch: Path) -> None:
        self.began: dict[str, str] = {}
        self.counts = dict.fromkeys(LISTS, 0)
        self._fetching = export
        self._lock = threading.Lock()
        with ExitStack() as opened:
            self._pending = opened.enter_context(Pending(scratch / "pending"))
            self._files = {
                name: opened.enter_context((scratch / f"{name}.json").open("wb")) for name in LISTS
            }
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def read(self) -> None:
        """Read every list, then what is missing, until nothing is; the files are whole then."""
        client = self._fetching.client
        window = Window(0, client.source_info().now + 1)
        for name in LISTS:
            self.began[name] = self._fetching.clock().isoformat()
            self._files[name].write(b"[")
        with ThreadPoolExecutor(self._fetching.workers, thread_name_prefix="fetch") as pool:
            try:
                _finish(pool.map(lambda name: self._write(client.pages(ENTITIES[name], window)), LISTS))
                while wanted := self._pending.take(_BATCH):
                    _finish(pool.map(lambda each: self._write(self._missing(each, window)), wanted))
            except BaseException:
                client.cancel()
                pool.shutdown(cancel_futures=True)
                raise
        for name in LISTS:
            self._files[name].write(b"\n]\n" if self.counts[name] else b"]\n")

    def _missing(self, wanted: tuple[str, str], window: Window) -> Iterator[Page]:
        """One object by id, or the payment methods of one customer; nothing if there is no such object."""
        name, object_id = wanted
        client = self._fetching.client
        if name != _METHODS_OF:
            page = client.retrieve(ENTITIES[name], object_id)
            return iter(() if page.source == "absent" else (page,))
        methods = replace(ENTITIES["payment_methods"], listings=({"customer": object_id},))
        return _unless_gone(client.pages(methods, window))

    def _write(self, pages: Iterator[Page]) -> None:
        for page in pages:
            spec = ENTITIES[page.entity]
            records = [(_line(text), *_known(page.entity, text)) for text in page.records]
            with self._lock:
                for line, object_id, others in records:
                    if object_id is None or self._pending.see(spec.name, object_id):
                        self._files[spec.name].write((b",\n" if self.counts[spec.name] else b"\n") + line)
                        self.counts[spec.name] += 1
                        self._pending.want(others)
            self._fetching.reporter.progress(spec.name, len(records))


def _known(name: str, text: bytes) -> tuple[str | None, list[tuple[str, str]]]:
    """The object's id, and what is to be looked for because of it."""
    found = identity(text)
    try:
        record = msgspec.json.decode(text)
    except _UNREADABLE:
        record = {}
    others = [(other, each) for other, each in referenced_ids(ENTITIES[name], record) if other in LISTS]
    if found is not None and name == "customers" and not record.get("deleted"):
        others.append((_METHODS_OF, found[0]))
    return found[0] if found else None, others


def _line(text: bytes) -> bytes:
    """The object on one line, every token as received; what is no JSON stays none, for whoever reads the file to say so."""
    try:
        return msgspec.json.format(text, indent=-1)
    except _UNREADABLE:
        return b" ".join(text.split())


def _unless_gone(pages: Iterator[Page]) -> Iterator[Page]:
    """The pages; none if the customer whose list they are was deleted meanwhile."""
    try:
        yield from pages
    except SourceRefused as error:
        if error.code != "resource_missing":
            raise


def _finish(results: Iterable[None]) -> None:
    """Wait for all of them; raise what the first that failed raised."""
    for _ in results:
        pass
