"""A lake in a bucket beside a folder that shows it: tests look into the folder and spoil things in it, runs use the bucket."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from payments_pipeline.storage import open_storage
from payments_pipeline.storage.parallel import each
from payments_pipeline.storage.s3 import S3Storage


class Mirror:
    """The lake at `url` and the folder `root`, equal whenever nobody has the lake open."""

    def __init__(self, url: str, root: Path) -> None:
        self.url = url
        self._root = root
        self._tags: dict[str, str] = {}
        self._shown: dict[str, str] = {}

    @contextmanager
    def opened(self) -> Iterator[S3Storage]:
        """The bucket with what was changed in the folder; afterwards the folder shows what the bucket holds."""
        storage = open_storage(self.url)
        assert isinstance(storage, S3Storage)
        try:
            self._push(storage)
            yield storage
        finally:
            self._pull(storage)
            storage.close()

    def _push(self, storage: S3Storage) -> None:
        found = {
            path.relative_to(self._root).as_posix(): path for path in self._root.rglob("*") if path.is_file()
        }
        for key in self._shown.keys() - found.keys():
            storage.delete(key)
        for key, path in found.items():
            if self._shown.get(key) != _digest(path.read_bytes()):
                storage.put(key, path.read_bytes())

    def _pull(self, storage: S3Storage) -> None:
        tags = dict(_tags(storage))
        for key in self._tags.keys() - tags.keys():
            (self._root / key).unlink(missing_ok=True)
            del self._shown[key]
        each(lambda key: self._fetch(storage, key), [key for key in tags if tags[key] != self._tags.get(key)])
        self._tags = tags

    def _fetch(self, storage: S3Storage, key: str) -> None:
        answer = storage._client.get_object(Bucket=storage._bucket, Key=storage._prefix + key)
        data = answer["Body"].read()
        (self._root / key).parent.mkdir(parents=True, exist_ok=True)
        (self._root / key).write_bytes(data)
        self._shown[key] = _digest(data)


def _tags(storage: S3Storage) -> Iterator[tuple[str, str]]:
    pages = storage._client.get_paginator("list_objects_v2").paginate(
        Bucket=storage._bucket, Prefix=storage._prefix
    )
    for page in pages:
        for entry in page.get("Contents", ()):
            yield entry["Key"].removeprefix(storage._prefix), entry["ETag"]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
