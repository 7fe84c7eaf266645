"""Storages by URL: a new one is a module here and a line in `SCHEMES`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from payments_pipeline.errors import UsageError
from payments_pipeline.storage.base import (
    ABSENT,
    ObjectInfo,
    Remote,
    Storage,
    StorageOptions,
    Traffic,
    is_key,
)
from payments_pipeline.storage.local import LocalStorage
from payments_pipeline.storage.memory import MemoryStorage

__all__ = [
    "ABSENT",
    "SCHEMES",
    "LocalStorage",
    "MemoryStorage",
    "ObjectInfo",
    "Remote",
    "Storage",
    "StorageOptions",
    "Traffic",
    "open_storage",
]

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def _local(rest: str, _: StorageOptions) -> Storage:
    """A lake in a folder whose path DuckDB takes as it is: it has no pattern in it, and no `key=value`."""
    storage = LocalStorage(Path(rest))
    if re.search(r"[*?[]|[^/]=", storage.url):
        raise UsageError(
            f"lake {storage.url}: to DuckDB '*', '?' and '[' in a path are a pattern, and a folder like 'key=value' is a "
            "column; name another folder (LOCAL_DATA_DIR or --lake), and move the lake there if there is one. Nothing was read "
            "or written."
        )
    return storage


def _s3(rest: str, options: StorageOptions) -> Storage:
    """A lake in a bucket; boto3 is imported only by who has one."""
    from payments_pipeline.storage.s3 import S3Storage

    bucket, _, prefix = rest.rstrip("/").partition("/")
    if not _BUCKET.fullmatch(bucket) or (prefix and not is_key(prefix)):
        raise UsageError(
            f"lake 's3://{rest}' is no bucket and prefix (s3://bucket/prefix). Nothing was read or written."
        )
    return S3Storage(bucket, prefix, options)


SCHEMES: Mapping[str, Callable[[str, StorageOptions], Storage]] = {
    "file": _local,
    "s3": _s3,
}


def open_storage(url: str, options: StorageOptions | None = None) -> Storage:
    """The storage behind `url`: a folder's path, or `scheme://…` for one of `SCHEMES`.

    No lake is created or contacted yet. `UsageError` for an unknown scheme, or a URL that names no lake.
    """
    scheme, _, rest = (url if "://" in url else f"file://{url}").partition("://")
    if scheme not in SCHEMES:
        raise UsageError(
            f"lake {url!r} has the unknown scheme {scheme!r}; known: a folder's path, "
            + ", ".join(f"{name}://" for name in SCHEMES)
        )
    return SCHEMES[scheme](rest, options or StorageOptions())
