"""Storages by URL: a new one is a module here and a line in `SCHEMES`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from payments_pipeline.errors import UsageError
from payments_pipeline.storage.base import ABSENT, ObjectInfo, Storage, Traffic
from payments_pipeline.storage.local import LocalStorage
from payments_pipeline.storage.memory import MemoryStorage

__all__ = [
    "ABSENT",
    "SCHEMES",
    "LocalStorage",
    "MemoryStorage",
    "ObjectInfo",
    "Storage",
    "Traffic",
    "open_storage",
]

SCHEMES: Mapping[str, Callable[[str], Storage]] = {
    "file": lambda rest: LocalStorage(Path(rest)),
    "memory": MemoryStorage,
}


def open_storage(url: str) -> Storage:
    """The storage behind `url`: a folder's path, or `scheme://…` for one of `SCHEMES`.

    Nothing is created or contacted yet. `UsageError` for an unknown scheme.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return LocalStorage(Path(url))
    if scheme not in SCHEMES:
        raise UsageError(
            f"lake {url!r} has the unknown scheme {scheme!r}; known: a folder's path, "
            + ", ".join(f"{name}://" for name in SCHEMES)
        )
    return SCHEMES[scheme](rest)
