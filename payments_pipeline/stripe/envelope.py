"""Takes an answer's body apart without changing a byte of the records in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import msgspec

from payments_pipeline.stripe.scan import elements, members

_UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)
"""What the strict parser raises for a text that is no JSON, or holds a value that it refuses."""


class _ListBody(msgspec.Struct):
    object: Literal["list"]
    data: list[msgspec.Raw]
    has_more: bool


class _Identity(msgspec.Struct):
    id: str
    created: int | None = None


class _Nested(msgspec.Struct):
    has_more: bool = False


@dataclass(frozen=True, slots=True)
class Records:
    """The JSON texts of a list's records, in order, and whether there are more in this direction."""

    texts: tuple[bytes, ...]
    has_more: bool


class Malformed(ValueError):
    """The body is not a whole Stripe list or object."""


_list_decoder = msgspec.json.Decoder(_ListBody)
_identity_decoder = msgspec.json.Decoder(_Identity)
_members_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def split(body: bytes) -> Records:
    """The records of a list body; `Malformed` if it is not a whole list.

    A body that a strict parser refuses because of one of its records is split all the same, so that a bad
    record costs neither the page nor itself.
    """
    try:
        decoded = _list_decoder.decode(body)
    except _UNREADABLE:
        return _split_by_brackets(body)
    return Records(tuple(bytes(raw) for raw in decoded.data), decoded.has_more)


def single(body: bytes) -> Records:
    """The one record that the whole body is; `Malformed` if it is not a whole object."""
    try:
        _members_decoder.decode(body)
    except _UNREADABLE:
        try:
            members(body)
        except ValueError as error:
            raise Malformed("the answer's JSON is cut off, or is not an object") from error
    return Records((body,), has_more=False)


def identity(record: bytes) -> tuple[str, int | None] | None:
    """The record's `(id, created)`; None if it has no usable id, `created` None if that is no whole number."""
    try:
        found = _identity_decoder.decode(record)
    except _UNREADABLE:
        return _identity_by_brackets(record)
    return (found.id, found.created) if found.id else None


def is_partial(record: bytes, field: str) -> bool:
    """Whether the record's nested list `field` shows only its beginning."""
    try:
        nested = _members_decoder.decode(record).get(field)
        return nested is not None and msgspec.json.decode(nested, type=_Nested | None) == _Nested(True)
    except _UNREADABLE:
        return False


def completed(record: bytes, field: str, items: Iterable[bytes]) -> bytes:
    """The record with `items`, each once, as the whole of its nested list `field`; every other value is as received."""
    values = _members_decoder.decode(record)
    nested = _members_decoder.decode(values[field])
    once = {identity(item) or item: item for item in items}
    nested["data"] = msgspec.Raw(b"[" + b",".join(once.values()) + b"]")
    nested["has_more"] = msgspec.Raw(b"false")
    values[field] = msgspec.Raw(msgspec.json.encode(nested))
    return msgspec.json.encode(values)


def _split_by_brackets(body: bytes) -> Records:
    try:
        envelope = members(body)
        if envelope[b"object"] != b'"list"':
            raise ValueError("another object")
        has_more = {b"true": True, b"false": False}[envelope[b"has_more"]]
        return Records(tuple(elements(envelope[b"data"])), has_more)
    except (ValueError, KeyError) as error:
        raise Malformed("the answer's JSON is cut off, or is not a list") from error


def _identity_by_brackets(record: bytes) -> tuple[str, int | None] | None:
    try:
        values = members(record)
        found = msgspec.json.decode(values[b"id"], type=str)
    except (ValueError, KeyError):
        return None
    created = values.get(b"created", b"")
    return (found, int(created) if created.isdigit() and len(created) <= 18 else None) if found else None
