"""JSON files as a source: each holds one array of objects, read object by object, however large it is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import msgspec

from payments_pipeline.errors import StorageError, UsageError
from payments_pipeline.oltp.source import Observation
from payments_pipeline.oltp.tables import TABLES
from payments_pipeline.screen import MAX_RECORD_BYTES

FETCHED_AT = "fetched_at.json"
"""Beside the files: file stem to the time (ISO 8601) at which reading its list from the API began."""

OPTIONAL = frozenset({"invoice_payments"})
"""Tables whose file may be missing: Stripe had no such objects before 2025."""

_CHUNK = 2**20
_LONG_LINE = 2**16  # beyond it, looking for its end costs more than counting brackets
_SPACE = re.compile(rb"[ \t\r\n]*")
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["\[\]{}]', re.DOTALL)


class JsonFiles:
    """One file per table, each holding one JSON array."""

    name = "json"
    retrieves = False

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files
        self.tables = tuple(name for name in TABLES if name in files)

    @classmethod
    def of_folder(cls, folder: Path) -> JsonFiles:
        """`<folder>/<table>.json` for every table; `UsageError` names those that are missing."""
        files = {name: folder / f"{name}.json" for name in TABLES}
        missing = [path.name for name, path in files.items() if name not in OPTIONAL and not path.is_file()]
        if missing:
            raise UsageError(
                f"{folder} lacks {', '.join(missing)}; 'payments-pipeline oltp fetch' writes them. Nothing was written."
            )
        return cls({name: path for name, path in files.items() if path.is_file()})

    def read(self, table: str) -> Iterator[Observation]:
        path = self._files[table]
        observed = fetched_at(path)
        for position, (line, text) in enumerate(read_objects(path)):
            yield Observation(text, observed, position, f"{path}, line {line}")

    def retrieve(self, table: str, ids: Iterable[str]) -> Iterator[Observation]:
        return iter(())

    def has_changed(self) -> bool:
        return False


def read_objects(path: Path) -> Iterator[tuple[int, bytes]]:
    """The line on which it begins and the text of each object of the array in `path`.

    `UsageError` if the file is no whole array of objects: what was read until then must not be used. One object
    is in memory at a time; what is inside its braces is not judged here.
    """
    with _opened(path) as stream:
        yield from _Array(path, stream).objects()


def fetched_at(path: Path) -> datetime:
    """When what the file holds was observed: as `fetched_at.json` beside it says, else when it was written."""
    notes = path.with_name(FETCHED_AT)
    try:
        told = json.loads(notes.read_bytes()).get(path.stem) if notes.exists() else None
        moment = datetime.fromisoformat(told) if told is not None else None
        written = path.stat().st_mtime
    except (ValueError, AttributeError, TypeError) as error:
        raise UsageError(
            f"{notes} is not a JSON object of times; correct or remove it. Nothing was written."
        ) from error
    except OSError as error:
        raise _unreadable(path, error) from error
    if moment is None:
        return datetime.fromtimestamp(written, UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class _Array:
    """A window that moves over the file; `_line` is the line of its first unread byte."""

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self._path = path
        self._stream = stream
        self._window = stream.read(_CHUNK).removeprefix(b"\xef\xbb\xbf")
        self._at = 0
        self._line = 1

    def objects(self) -> Iterator[tuple[int, bytes]]:
        self._expect(b"[")
        if self._next() == b"]":
            self._advance(self._at + 1)
        else:
            yield self._line, self._object()
            while self._expect(b",", b"]") == b",":
                if self._next() != b"{":
                    raise self._refusal("something that is no object stands in the array")
                yield self._line, self._object()
        if self._next():
            raise self._refusal("the file goes on after the end of the array")

    def _object(self) -> bytes:
        """The text of the object that begins here, by its line if it fills one, else by its brackets."""
        if self._next() != b"{":
            raise self._refusal("something that is no object stands in the array")
        end = self._line_end() or self._bracket_end()
        text = self._window[self._at : end]
        self._advance(end)
        return text

    def _line_end(self) -> int | None:
        """Where the object ends if it is valid JSON and ends with the line."""
        newline = self._window.find(b"\n", self._at, self._at + _LONG_LINE)
        text = self._window[self._at : newline].rstrip(b" \t\r,") if newline >= 0 else b""
        try:
            msgspec.json.decode(text, type=msgspec.Raw)
        except (msgspec.DecodeError, RecursionError):
            return None
        return self._at + len(text)

    def _bracket_end(self) -> int:
        """Where the bracket that opens here is closed."""
        while True:
            depth = 0
            for token in _TOKEN.finditer(self._window, self._at):
                mark = token.group()[-1:]
                if token.group() == b'"':
                    break  # the string goes on beyond the window
                depth += (mark in b"[{") - (mark in b"]}")
                if depth == 0:
                    return token.end()
            if len(self._window) - self._at > 2 * MAX_RECORD_BYTES:
                raise self._refusal(f"an object is larger than {MAX_RECORD_BYTES} bytes, or is never closed")
            if not self._more():
                raise self._half_written()

    def _expect(self, *marks: bytes) -> bytes:
        found = self._next()
        if not found:
            raise self._half_written()
        if found not in marks:
            raise self._refusal(
                f"{found.decode('latin-1')!r} stands where {(b' or '.join(marks)).decode()} is expected"
            )
        self._advance(self._at + 1)
        return found

    def _next(self) -> bytes:
        """The next byte that is no white space, which becomes the first unread one; nothing at the end of the file."""
        while True:
            space = _SPACE.match(self._window, self._at)
            assert space is not None, "the pattern matches nothing at all, too"
            self._advance(space.end())
            if self._at < len(self._window) or not self._more():
                return self._window[self._at : self._at + 1]

    def _advance(self, to: int) -> None:
        self._line += self._window.count(b"\n", self._at, to)
        self._at = to

    def _more(self) -> bool:
        """Drop what was read and read on, as much again as there is, so that a long object costs linear time."""
        rest = self._window[self._at :]
        chunk = self._stream.read(max(_CHUNK, len(rest)))
        self._window, self._at = rest + chunk, 0
        return bool(chunk)

    def _half_written(self) -> UsageError:
        return self._refusal("the file ends before its array does: it was not written to its end")

    def _refusal(self, what: str) -> UsageError:
        return UsageError(
            f"{self._path}, line {self._line}: {what}. A JSON array of objects is expected. "
            "Nothing of the file was kept; the database is as it was."
        )


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as stream:
            yield stream
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> UsageError | StorageError:
    kind = UsageError if isinstance(error, FileNotFoundError | IsADirectoryError) else StorageError
    return kind(f"{path} cannot be read: {error.strerror or error}. The database is as it was.")
