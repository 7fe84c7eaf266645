"""Lands pages as append-only JSON lines; what cannot be landed goes to quarantine, bytes and reason."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import msgspec

from payments_pipeline import layout
from payments_pipeline.entities import EntitySpec
from payments_pipeline.errors import CorruptObject, ObjectMissing, StorageError
from payments_pipeline.flow import BronzePart, Page, RunContext
from payments_pipeline.screen import Ids, Rejected, Screen
from payments_pipeline.storage import Storage

OBSERVED_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"
"""How `meta.observed_at` is written: fixed width, so that its text order is its time order."""


@dataclass(frozen=True, slots=True)
class Landed:
    """Where the records of some pages lie: the bronze parts, and those in quarantine; and what the parts hold."""

    parts: tuple[BronzePart, ...] = ()
    quarantine: tuple[BronzePart, ...] = ()
    ids: Ids = field(default_factory=Ids)

    def __add__(self, other: Landed) -> Landed:
        return Landed(self.parts + other.parts, self.quarantine + other.quarantine, self.ids | other.ids)


class PartNames:
    """Names for a run's parts: unique within the run, also when a killed run is continued under its id."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch
        self._next = 0
        self._lock = threading.Lock()

    def __call__(self) -> str:
        with self._lock:
            self._next += 1
            return f"{self._epoch:06d}-{self._next:05d}"


def write_pages(
    storage: Storage, run: RunContext, spec: EntitySpec, pages: Iterable[Page], names: PartNames
) -> Landed:
    """Land every record of `pages`: one bronze part, and one quarantine part if any record was rejected.

    A part appears whole when the pages end, or not at all if reading them raises. Holds one page in memory.
    """
    screen, ids = Screen(spec), Ids()
    name = names()
    lines = _Sink(storage, layout.bronze_part(spec.name, run.ingest_date, run.run_id, name))
    rejects = _Sink(storage, layout.quarantine_part(spec.name, run.ingest_date, run.run_id, name))
    with ExitStack() as stack:
        for page in pages:
            good, bad = _lines(screen, page, _origin(run, page), ids)
            lines.write(stack, good)
            rejects.write(stack, bad)
    return Landed(lines.parts(spec.name, screen.schema), rejects.parts(spec.name, screen.schema), ids)


def _lines(screen: Screen, page: Page, origin: bytes, ids: Ids) -> tuple[list[bytes], list[bytes]]:
    """A page's lines of bronze and of quarantine."""
    good, bad = [], []
    for offset, record in enumerate(page.records):
        meta = b'%b,"offset":%d}' % (origin, offset)
        try:
            line = screen.line(record, ids)
        except Rejected as reason:
            bad.append(quarantine_line(record, meta, str(reason)))
        else:
            good.append(b'{"data":%b,"meta":%b}\n' % (line, meta))
    return good, bad


def quarantine_line(record: bytes, meta: bytes, reason: str) -> bytes:
    """One line that keeps a rejected record's bytes (base64), where it came from and why it was rejected."""
    entry = {"reason": reason, "record_base64": base64.b64encode(record).decode(), "meta": msgspec.Raw(meta)}
    return msgspec.json.encode(entry) + b"\n"


def check_part(storage: Storage, part: BronzePart) -> None:
    """`CorruptObject` unless the part's bytes are those that were committed."""
    found = file_sha256(storage.localize(part.key))
    if found != part.sha256:
        raise CorruptObject(
            f"{storage.url}/{part.key} is not the object that was committed (sha256 {found[:12]}…, expected "
            f"{part.sha256[:12]}…). Nothing was built from it; restore it from a backup, or fetch its days again."
        )


def rescreen(
    storage: Storage, spec: EntitySpec, part: BronzePart, keep: Callable[[bytes], object]
) -> Iterator[tuple[bytes, str]]:
    """Check a part's lines again, strictly: pass the good ones to `keep`, yield (line, reason) for the others."""
    screen = Screen(spec)
    with storage.localize(part.key).open("rb") as stream:
        for line in stream:
            record = line
            try:
                record = bytes(msgspec.json.decode(line, type=_Line).data)
                screen.strict_line(record)
            except Rejected as reason:
                yield record, str(reason)
            except RecursionError:
                yield record, "nested too deeply"
            else:
                keep(line)


def clean_copies(
    storage: Storage, spec: EntitySpec, parts: Iterable[BronzePart]
) -> Iterator[tuple[BronzePart, Path, list[tuple[bytes, str]]]]:
    """Each part, a scratch copy without the lines that fail the strict check, and those (line, reason)."""
    for number, part in enumerate(parts):
        path = storage.scratch() / f"{spec.name}-{number:05d}.jsonl"
        with path.open("wb") as stream:
            bad = list(rescreen(storage, spec, part, stream.write))
        yield part, path, bad


def taken_files(
    storage: Storage, spec: EntitySpec, parts: Iterable[BronzePart], *, rejected: bool
) -> list[Path]:
    """Files of what a build takes of the parts: their own, or copies without the bad lines if it has `rejected` some."""
    if rejected:
        return [path for _, path, _ in clean_copies(storage, spec, parts)]
    return [storage.localize(part.key) for part in parts]


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file; `StorageError` if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise ObjectMissing(f"{path} is not there.") from error
    except OSError as error:
        raise StorageError(
            f"{path} cannot be read: {error.strerror or error}. Nothing was changed; run again when it can."
        ) from error


class _Line(msgspec.Struct):
    data: msgspec.Raw


class _Sink:
    """An object that is created with its first line, and measured as it is written."""

    def __init__(self, storage: Storage, key: str) -> None:
        self._storage = storage
        self._key = key
        self._stream: BinaryIO | None = None
        self._rows = self._bytes = 0
        self._sha256 = hashlib.sha256()

    def write(self, stack: ExitStack, lines: list[bytes]) -> None:
        if not lines:
            return
        if self._stream is None:
            self._stream = stack.enter_context(self._storage.create(self._key))
        data = b"".join(lines)
        self._stream.write(data)
        self._sha256.update(data)
        self._rows += len(lines)
        self._bytes += len(data)

    def parts(self, entity: str, schema: str) -> tuple[BronzePart, ...]:
        if self._stream is None:
            return ()
        return (BronzePart(entity, self._key, self._rows, self._bytes, self._sha256.hexdigest(), schema),)


def _origin(run: RunContext, page: Page) -> bytes:
    """What the `meta` of all records of a page have in common, as JSON that is still open."""
    common = msgspec.json.encode(
        {
            "run_id": run.run_id,
            "observed_at": _text(page.observed_at),
            "source": page.source,
            "api_version": page.api_version,
            "request_id": page.request_id,
            **({} if page.deleted_at is None else {"deleted_at": page.deleted_at}),
        }
    )
    return common[:-1]


def _text(moment: datetime) -> str:
    return moment.strftime(OBSERVED_FORMAT)
