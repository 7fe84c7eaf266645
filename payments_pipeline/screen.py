"""Decides whether a received record may become bronze: whole, typed as declared, readable by any SQL engine."""

from __future__ import annotations

import hashlib
import json
import keyword
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from payments_pipeline.entities import EntitySpec, Reference, SchemaNode, duckdb_type, entity_of_id

MAX_RECORD_BYTES = 16 * 2**20
"""The largest record that bronze takes; a larger one goes to quarantine."""

LAST_SECOND = 4_102_444_800
"""2100-01-01: a time that is not before it is in milliseconds, or nonsense."""
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^[!-~]+\Z")]
_Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_LEAVES: Mapping[str, Any] = {
    "VARCHAR": str | None,
    "BIGINT": _Integer | None,
    "BOOLEAN": bool | None,
    "DOUBLE": float | None,
    "JSON": msgspec.Raw,
}


class Rejected(ValueError):
    """The record cannot be bronze; the message says why, without its content."""


@dataclass(frozen=True, slots=True)
class Ids:
    """The ids of the records that passed a screen, and (entity, id) of every object that they refer to."""

    own: set[str] = field(default_factory=set)
    wanted: set[tuple[str, str]] = field(default_factory=set)

    def __or__(self, other: Ids) -> Ids:
        return Ids(self.own | other.own, self.wanted | other.wanted)


class Screen:
    """Checks records of one entity against its declared columns; nothing is ever coerced.

    `schema` names those columns: parts checked under another schema are checked again before they are read.
    """

    def __init__(self, spec: EntitySpec) -> None:
        self.schema = schema_name(spec)
        self._object = spec.object
        self._references = [(each, _attributes(each)) for each in spec.references]
        declared = dict(spec.columns)
        declared.pop("id")
        kind = _struct(spec.name, declared, id=_Text, deleted=bool)
        self._decoder = msgspec.json.Decoder(kind)

    def line(self, record: bytes, ids: Ids | None = None) -> bytes:
        """The record as one line of JSON, every token as received; `Rejected` if it may not be stored.

        What it is and refers to is added to `ids`.
        """
        if len(record) > MAX_RECORD_BYTES:
            raise Rejected(f"larger than {MAX_RECORD_BYTES} bytes")
        try:
            record.decode("utf-8")
            found = self._decoder.decode(record)
            compact = msgspec.json.format(record, indent=-1)
        except UnicodeDecodeError as error:
            raise Rejected("not UTF-8") from error
        except msgspec.ValidationError as error:
            raise Rejected(str(error)) from error
        except msgspec.DecodeError as error:
            raise Rejected("not standard JSON (NaN, half a surrogate pair, or cut off)") from error
        except RecursionError as error:
            raise Rejected("nested too deeply") from error
        self._check(found)
        if ids is not None:
            self._collect(found, ids)
        return compact

    def strict_line(self, record: bytes) -> bytes:
        """Like `line`, and a key that occurs twice in one object is refused too (slower)."""
        compact = self.line(record)
        try:
            json.loads(compact, object_pairs_hook=_distinct, parse_int=str, parse_float=str)
        except RecursionError as error:
            raise Rejected("nested too deeply") from error
        return compact

    def _check(self, found: Any) -> None:
        if found.object != self._object:
            raise Rejected(f"`object` is not {self._object!r}")
        if found.deleted:
            return
        if found.created is None or not 0 < found.created < LAST_SECOND:
            raise Rejected("`created` is not a plausible Unix second")

    def _collect(self, found: Any, ids: Ids) -> None:
        ids.own.add(found.id)
        for reference, attributes in self._references:
            for object_id in _values(found, attributes):
                target = reference.target or entity_of_id(object_id)
                if target is not None:
                    ids.wanted.add((target, object_id))


def schema_name(spec: EntitySpec) -> str:
    """A short name that changes whenever the entity's declared columns do."""
    return hashlib.sha256(duckdb_type(spec.columns).encode()).hexdigest()[:12]


def _struct(name: str, schema: Mapping[str, SchemaNode], **required: Any) -> type[msgspec.Struct]:
    """A msgspec type of the schema's fields, all optional; `deleted` is optional and False."""
    fields: list[Any] = []
    renamed: dict[str, str] = {}
    for column, node in schema.items():
        attribute = _attribute(column)
        renamed[attribute] = column
        fields.append((attribute, _type(f"{name}_{column}", node), _default(node)))
    for column, kind in required.items():
        fields.insert(0, (column, kind) if column == "id" else (column, kind, False))
    fields.sort(key=len)
    return msgspec.defstruct(name, fields, rename=renamed)


def _attribute(column: str) -> str:
    return f"{column}_" if keyword.iskeyword(column) else column


def _attributes(reference: Reference) -> tuple[str, ...]:
    """The steps from a record's struct to the ids at the reference's path; an empty step goes through a list."""
    return tuple(_attribute(step) for step in reference.path.replace("[]", ".").split("."))


def _values(node: Any, steps: tuple[str, ...]) -> Iterator[str]:
    for number, step in enumerate(steps):
        if node is None:
            return
        if not step:
            for element in node:
                yield from _values(element, steps[number + 1 :])
            return
        node = getattr(node, step)
    if node is not None:
        yield node


def _type(name: str, node: SchemaNode) -> Any:
    if isinstance(node, str):
        return _LEAVES[node]
    if isinstance(node, list):
        return list[_type(name, node[0])] | None  # type: ignore[misc]  # a type made at run time
    return _struct(name, node) | None


def _default(node: SchemaNode) -> Any:
    return msgspec.Raw(b"null") if node == "JSON" else None


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Rejected("a key occurs twice in one object")
    return found
