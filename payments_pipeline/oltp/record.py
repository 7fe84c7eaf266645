"""Turns the JSON text of one object into one row of its table, or says why it cannot be one."""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from typing import Annotated, Any, TypeAlias

import msgspec
from sqlalchemy import Boolean, Column, DateTime, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from payments_pipeline.entities import entity
from payments_pipeline.errors import UsageError
from payments_pipeline.oltp.tables import content_columns
from payments_pipeline.screen import MAX_RECORD_BYTES, Rejected

Value: TypeAlias = str | int | bool | datetime | None

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^[!-~]+\Z")]
_Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Second = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799)]  # up to the year 9999
_NULL = msgspec.Raw(b"null")

_HAS_NUL = "holds the character NUL, which PostgreSQL cannot store"
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_LONGEST_NUMBER, _LONGEST_EXPONENT = 1000, 3


class WrongObject(UsageError):
    """The record is an object of another type: whoever reads it has taken one file for another."""


class _Expanded(msgspec.Struct):
    """An object where an id was expected."""

    id: str


@dataclass(frozen=True, slots=True)
class Row:
    """An object's values in the order of `content_columns`; None for `values`: it was seen to be deleted."""

    id: str
    values: tuple[Value, ...] | None


class Reader:
    """Reads objects of one table. Nothing is coerced: a value of another type than its column's is refused.

    `strict` also looks for numbers that PostgreSQL cannot hold, which takes three times as long and is hardly
    ever needed: the server says so itself.
    """

    def __init__(self, table: Table, *, strict: bool = False) -> None:
        self.table = table
        self._strict = strict
        columns = content_columns(table)[1:-1]
        tree: dict[str, Any] = {}
        for column in columns:
            for path in _paths(column):
                _plant(tree, path, column)
        self._object = entity(table.name).object
        self._decoder = msgspec.json.Decoder(_struct(table.name, tree, id=_Id, object=str))
        self._finders = [_finder(column) for column in columns]
        conversions = [_conversion(column) for column in columns]
        self._conversions = [(place, each) for place, each in enumerate(conversions) if each is not None]
        names = [column.name for column in columns]
        self._required = [(names.index(name), name) for name in table.info["required"] if name != "raw"]

    def __call__(self, text: bytes) -> Row:
        """The row; `Rejected` says, without the content, why it cannot be one, `WrongObject` that it is another object."""
        whole = _text_of(text)
        found = self._decoded(text)
        if found.object != self._object:
            raise WrongObject(f"holds an object of type {found.object[:40]!r} instead of {self._object!r}")
        if found.deleted:
            return Row(found.id, None)
        if b"\\u0000" in text and _NUL.search(text):
            raise Rejected(_HAS_NUL)
        if self._strict:
            json.loads(text, parse_int=_checked_number, parse_float=_checked_number)
        values = [find(found) for find in self._finders]
        for place, convert in self._conversions:
            if values[place] is not None:
                values[place] = convert(values[place])
        for position, name in self._required:
            if values[position] is None:
                raise Rejected(f"`{name}` is missing")
        return Row(found.id, (found.id, *values, whole))

    def _decoded(self, text: bytes) -> Any:
        try:
            return self._decoder.decode(text)
        except msgspec.ValidationError as error:
            raise Rejected(str(error)) from error
        except msgspec.DecodeError as error:
            raise Rejected("not standard JSON") from error
        except RecursionError as error:
            raise Rejected("nested too deeply") from error


def _text_of(text: bytes) -> str:
    if len(text) > MAX_RECORD_BYTES:
        raise Rejected(f"larger than {MAX_RECORD_BYTES} bytes")
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Rejected("not UTF-8") from error


def _checked_number(literal: str) -> str:
    _, _, exponent = literal.lower().partition("e")
    if len(literal) > _LONGEST_NUMBER or len(exponent.lstrip("+-0")) > _LONGEST_EXPONENT:
        raise Rejected("holds a number that PostgreSQL cannot store")
    return literal


def _paths(column: Column[Any]) -> list[list[str]]:
    return [path.split(".") for path in column.info["path"].split("|")]


def _plant(tree: dict[str, Any], path: list[str], column: Column[Any]) -> None:
    """Put the column's type at its path into the tree of what is decoded."""
    *way, leaf = path
    for name in way:
        tree = tree.setdefault(name, {})
    tree[leaf] = _leaf(column)


def _leaf(column: Column[Any]) -> Any:
    if isinstance(column.type, JSONB):
        return msgspec.Raw
    if isinstance(column.type, Text):
        return str | _Expanded | None if _expandable(column) else str | None
    if isinstance(column.type, Boolean):
        return bool | None
    return (_Second if isinstance(column.type, DateTime) else _Integer) | None


def _expandable(column: Column[Any]) -> bool:
    return bool(column.foreign_keys or column.info.get("expandable"))


def _struct(name: str, tree: Mapping[str, Any], **required: Any) -> type[msgspec.Struct]:
    """A msgspec type that decodes what the tree names and skips the rest."""
    fields: list[Any] = list(required.items())
    if required:
        fields.append(("deleted", bool, False))
    renamed: dict[str, str] = {}
    for key, node in tree.items():
        word = key.removesuffix("[]")
        attribute = f"{word}_" if keyword.iskeyword(word) else word
        renamed[attribute] = word
        if node is msgspec.Raw:
            fields.append((attribute, node, _NULL))
        elif isinstance(node, dict):
            inner: Any = _struct(f"{name}_{word}", node)
            fields.append((attribute, (list[inner] if key.endswith("[]") else inner) | None, None))
        else:
            fields.append((attribute, node, None))
    return msgspec.defstruct(name, fields, rename=renamed)


def _finder(column: Column[Any]) -> Callable[[Any], Any]:
    """How to find the column's value in what was decoded: at the first of its paths that leads to one."""
    first, *others = (_steps(path) for path in _paths(column))
    if not others and len(first) == 1:
        return attrgetter(first[0][0])

    def find(found: Any) -> Any:
        value = _walk(found, first)
        for steps in others:
            if value is None:
                value = _walk(found, steps)
        return value

    return find


def _steps(path: list[str]) -> list[tuple[str, bool]]:
    """(attribute, whether it is a list) for each name of a path."""
    words = [(word.removesuffix("[]"), word.endswith("[]")) for word in path]
    return [(f"{word}_" if keyword.iskeyword(word) else word, many) for word, many in words]


def _walk(found: Any, steps: list[tuple[str, bool]]) -> Any:
    for attribute, many in steps:
        found = getattr(found, attribute)
        if many and found is not None:
            found = found[0] if found else None
        if found is None:
            return None
    return found


def _conversion(column: Column[Any]) -> Callable[[Any], Value] | None:
    """What makes a row's value of a decoded one; None if it is one already."""
    if isinstance(column.type, JSONB):
        return _json_text
    if isinstance(column.type, DateTime):
        return _moment
    return _id if _expandable(column) else None


def _json_text(raw: msgspec.Raw) -> str | None:
    text = str(raw, "utf-8")
    return None if text == "null" else text


def _moment(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)


def _id(value: str | _Expanded) -> str:
    return value if isinstance(value, str) else value.id
