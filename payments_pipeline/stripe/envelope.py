"""Takes an answer's body apart without changing a byte of the records in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec


class _ListBody(msgspec.Struct):
    data: list[msgspec.Raw]
    has_more: bool


class _Identity(msgspec.Struct):
    id: str
    created: int | None = None


@dataclass(frozen=True, slots=True)
class Records:
    """The JSON texts of a list's records, in order, and whether there are more in this direction."""

    texts: tuple[bytes, ...]
    has_more: bool


class Malformed(ValueError):
    """The body is not a whole Stripe list or object."""


_list_decoder = msgspec.json.Decoder(_ListBody)
_identity_decoder = msgspec.json.Decoder(_Identity)


def split(body: bytes) -> Records:
    """The records of a list body; `Malformed` if it is not a whole list.

    A body that only a lenient parser accepts (it holds NaN, or half a surrogate pair) is split all the same,
    so that one bad record costs neither the page nor itself.
    """
    try:
        decoded = _list_decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return _split_leniently(body)
    return Records(tuple(bytes(raw) for raw in decoded.data), decoded.has_more)


def single(body: bytes) -> Records:
    """The one record that the whole body is; `Malformed` if it is not a whole object."""
    try:
        whole = isinstance(json.loads(body.decode("utf-8", "surrogateescape")), dict)
    except (ValueError, RecursionError) as error:
        raise Malformed("the answer's JSON is cut off") from error
    if not whole:
        raise Malformed("the answer is not a JSON object")
    return Records((body,), has_more=False)


def identity(record: bytes) -> tuple[str, int | None] | None:
    """The record's `(id, created)`; None if it has no usable id."""
    try:
        found = _identity_decoder.decode(record)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
    return (found.id, found.created) if found.id else None


def _split_leniently(body: bytes) -> Records:
    text = body.decode("utf-8", "surrogateescape")
    try:
        outline = json.loads(text)
        has_more = outline["has_more"]
        texts = tuple(_elements(text, text.index("[", text.index('"data"')) + 1))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Malformed("the answer's JSON is cut off, or is not a list") from error
    if not isinstance(has_more, bool) or len(texts) != len(outline["data"]):
        raise Malformed("the answer is not a whole list")
    return Records(texts, has_more)


def _elements(text: str, start: int) -> Iterator[bytes]:
    """The text of each element of the JSON array whose first element begins at or after `start`."""
    decoder = json.JSONDecoder()
    position = start
    while True:
        while text[position] in " \t\r\n,":
            position += 1
        if text[position] == "]":
            return
        _, end = decoder.raw_decode(text, position)
        yield text[position:end].encode("utf-8", "surrogateescape")
        position = end
