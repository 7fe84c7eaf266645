"""What was delivered: an event that bronze can hold as one line of JSON, or bytes for the quarantine."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Annotated, Literal

import msgspec

from payments_pipeline.bronze import OBSERVED_FORMAT
from payments_pipeline.screen import Rejected

MAX_DEPTH = 100
ID_BYTES, CONTENT_BYTES = 16, 8
_Origin = Literal["webhook", "catch-up"]
_STRING = re.compile(rb'"(?:[^"\\]|\\.?)*+(?:"|\Z)', re.DOTALL)  # never fails once begun, so it is linear
_BRACKET = re.compile(rb"[\[\]{}]")


Id = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^[!-~]+\Z")]
"""What can be the id of anything: 1 to 255 visible ASCII characters."""


class _Event(msgspec.Struct):
    id: Id
    object: Literal["event", "v2.core.event"]
    data: msgspec.Raw = msgspec.Raw(b"null")


_decoder = msgspec.json.Decoder(_Event)


@dataclass(frozen=True, slots=True)
class Received:
    """One event to be kept: its line of bronze, and fixed-size digests of its id and of its `data`.

    Events are the same if their ids are; if then their `data` differs, one of them is not what Stripe sent.
    """

    id_digest: bytes
    content: bytes
    line: bytes


def received(body: bytes, at: datetime, origin: _Origin) -> Received:
    """The event in `body`, every token as delivered; `Rejected` if bronze cannot hold it.

    Any type, API version and kind of event will do, as long as it is standard JSON of at most 100 levels with an
    id of 1 to 255 visible ASCII characters. White space between tokens is taken out: it would break the line.
    """
    if too_deep(body):
        raise Rejected(f"nested more than {MAX_DEPTH} levels deep")
    try:
        body.decode("utf-8")
        line = msgspec.json.format(body, indent=-1)
        event = _decoder.decode(line)
    except UnicodeDecodeError as error:
        raise Rejected("not UTF-8") from error
    except msgspec.ValidationError as error:
        raise Rejected(str(error)) from error
    except msgspec.DecodeError as error:
        raise Rejected("not standard JSON (NaN, half a surrogate pair, or cut off)") from error
    meta = b'{"received_at":"%b","source":"%b","sha256":"%b"}' % (
        at.strftime(OBSERVED_FORMAT).encode(),
        origin.encode(),
        hashlib.sha256(line).hexdigest().encode(),
    )
    return Received(
        id_digest(event.id), _digest(event.data, CONTENT_BYTES), b'{"data":%b,"meta":%b}\n' % (line, meta)
    )


def id_digest(event_id: str) -> bytes:
    """16 bytes that stand for an event's id: no two ids that anybody can make share them."""
    return _digest(event_id.encode(), ID_BYTES)


def too_deep(body: bytes) -> bool:
    """Whether brackets outside strings are nested more than 100 deep; most bodies have no more than that at all."""
    if body.count(b"{") + body.count(b"[") <= MAX_DEPTH:
        return False
    brackets = _BRACKET.findall(_STRING.sub(b"", body))
    return max(accumulate(1 if each in b"{[" else -1 for each in brackets), default=0) > MAX_DEPTH


class _Meta(msgspec.Struct):
    received_at: str
    source: str
    sha256: str


class _Line(msgspec.Struct):
    data: msgspec.Raw
    meta: _Meta


_lines = msgspec.json.Decoder(_Line)


@dataclass(frozen=True, slots=True)
class Kept:
    """One line of bronze read again: the event's JSON, how and when (UTC, as text) it came."""

    event: bytes
    received_at: str
    origin: str

    def digests(self) -> tuple[bytes, bytes]:
        """The digests of `Received`, made again."""
        found = _decoder.decode(self.event)
        return id_digest(found.id), _digest(found.data, CONTENT_BYTES)


def read_line(line: bytes) -> Kept:
    """A line as it was kept; `ValueError` if it is not one, or its checksum does not match."""
    try:
        found = _lines.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError("not a line of webhook_events") from error
    if hashlib.sha256(found.data).hexdigest() != found.meta.sha256:
        raise ValueError("an event whose checksum does not match")
    return Kept(bytes(found.data), found.meta.received_at, found.meta.source)


def _digest(text: bytes | msgspec.Raw, size: int) -> bytes:
    return hashlib.blake2b(text, digest_size=size).digest()
