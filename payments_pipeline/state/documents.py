"""State files: JSON with a schema version and a checksum of its own, so that damage is noticed, never trusted."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from typing import ClassVar, Self, TypeVar

import msgspec
import pydantic

from payments_pipeline.errors import CorruptObject, LeaseError, StorageError, VersionConflict
from payments_pipeline.storage import ABSENT, Storage

_D = TypeVar("_D", bound="Document")
_GZIP = b"\x1f\x8b"
_PLAIN_BELOW = 4096


class Document(pydantic.BaseModel):
    """Base of everything kept under `_state/`; immutable, unknown keys refused."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")
    schema_version: ClassVar[int] = 1
    remedy: ClassVar[str] = (
        "restore the file, or remove it and run again: it is made again from the manifests"
    )

    def sealed(self) -> bytes:
        """The file's bytes: version, checksum and body; equal documents give equal bytes."""
        body = _canonical(self.model_dump(mode="json"))
        checksum = hashlib.sha256(body).hexdigest().encode()
        sealed = b'{"body":%b,"schema_version":%d,"sha256":"%b"}' % (body, self.schema_version, checksum)
        return msgspec.json.format(sealed, indent=2) + b"\n"

    @classmethod
    def unsealed(cls, data: bytes, *, where: str) -> Self:
        """The document in `data`, packed or not; `CorruptObject` if damaged, `StorageError` if written by a newer version."""
        try:
            sealed = json.loads(unpacked(data).decode())
            version, checksum, body = sealed["schema_version"], sealed["sha256"], sealed["body"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise cls._corrupt(where, "it is not a whole state file") from error
        if type(version) is not int or version < 1:
            raise cls._corrupt(where, "its schema version is no version")
        if version > cls.schema_version:
            raise StorageError(
                f"{where} was written by a newer payments-pipeline (schema {version}, this one knows "
                f"{cls.schema_version}). Nothing was changed; upgrade payments-pipeline."
            )
        if checksum != hashlib.sha256(_canonical(body)).hexdigest():
            raise cls._corrupt(where, "its checksum does not match its content")
        try:
            return cls.model_validate(body)
        except pydantic.ValidationError as error:
            raise cls._corrupt(where, f"its content is not a {cls.__name__}") from error

    @classmethod
    def _corrupt(cls, where: str, why: str) -> CorruptObject:
        return CorruptObject(f"{where} is corrupt: {why}. It was not used, bronze is safe; {cls.remedy}.")


def load(storage: Storage, key: str, kind: type[_D]) -> tuple[_D | None, str]:
    """The document at `key` and its version for `Storage.swap`; `(None, ABSENT)` if there is none."""
    data, version = storage.read_versioned(key)
    if version == ABSENT:
        return None, ABSENT
    return kind.unsealed(data, where=f"{storage.url}/{key}"), version


def replace(storage: Storage, key: str, document: Document, *, expected: str) -> None:
    """Write the document if the object still is `expected`; `LeaseError` if another run has written it meanwhile.

    Where a lake is elsewhere, what is long is sent packed: what lies in a folder can be read by eye.
    """
    data = document.sealed()
    if storage.remote is not None and len(data) >= _PLAIN_BELOW:
        data = gzip.compress(data, mtime=0)
    try:
        storage.swap(key, data, expected=expected)
    except VersionConflict as error:
        raise LeaseError(
            f"another run has taken over {storage.url} and written {key}; this one wrote nothing there. Run again."
        ) from error


def unpacked(data: bytes) -> bytes:
    """The bytes of a sealed document, whether they were sent packed or not; `ValueError` if they are damaged."""
    if not data.startswith(_GZIP):
        return data
    try:
        return gzip.decompress(data)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError("damaged") from error


def _canonical(body: object) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
