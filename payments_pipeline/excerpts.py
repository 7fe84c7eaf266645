"""Local files with those columns of a published Parquet file that are asked for, where the rest costs something to fetch."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from payments_pipeline.errors import StorageError
from payments_pipeline.flow import Partition
from payments_pipeline.lake import VerifiedFiles, not_as_written
from payments_pipeline.storage import Remote, Storage
from payments_pipeline.transform.engine import Engine
from payments_pipeline.transform.lazy import LazyDataset
from payments_pipeline.transform.models import ModelSpec

_FOOTER_BYTES = 2**14
_ENDING = 8
"""Length of a Parquet file's footer (4 bytes, little-endian), and its mark."""
_GAP = 2**16
"""Ranges that are closer than this are fetched as one."""


@dataclass(slots=True)
class _Excerpt:
    """A file with holes where nothing was fetched, and which columns have none."""

    path: Path
    version: str
    metadata: pq.FileMetaData
    columns: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Excerpts:
    """Fetches columns of files that the store vouches to be the recorded ones; others it fetches and verifies whole.

    So it does with files smaller than `whole_below` bytes. Excerpts are gone when the `with` block ends; whole files
    stay in the storage's scratch folder.
    """

    def __init__(self, storage: Storage, remote: Remote, verified: VerifiedFiles, whole_below: int) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="excerpts-", dir=storage.scratch()))
        self._storage = storage
        self._remote = remote
        self._verified = verified
        self._whole_below = whole_below
        self._excerpts: dict[tuple[str, str], _Excerpt | None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def show(
        self, engine: Engine, model: ModelSpec, partitions: Mapping[str, Partition], *, pruned: bool
    ) -> None:
        """Let SQL see a model's partitions, at least one; `pruned` if its present `partition_by` tells a row's partition."""
        like = self(partitions[max(partitions)])
        partition_by = model.partition_by if pruned else None
        engine.show_lazily(model, LazyDataset(_lightest_first(like), partitions, partition_by, self), like)

    def __call__(self, partition: Partition, columns: frozenset[str] = frozenset()) -> Path:
        """A local file in which these columns can be read; `CorruptObject` if the object is not what was written."""
        excerpt = self._excerpt(partition)
        if excerpt is None:
            return self._verified(partition)
        with excerpt.lock:
            missing = columns - excerpt.columns
            ranges = _joined(_ranges(excerpt.metadata, missing))
            if sum(stop - start for start, stop in ranges) > partition.bytes / 2:
                return self._verified(partition)
            for start, stop in ranges:
                self._copy(partition, excerpt.path, start, stop, version=excerpt.version)
            excerpt.columns |= missing
        return excerpt.path

    def _excerpt(self, partition: Partition) -> _Excerpt | None:
        """The file as far as it is here, at least its footer; None if it must be fetched whole."""
        known = (partition.key, partition.sha256)
        if known not in self._excerpts:
            small = partition.bytes < self._whole_below
            self._excerpts[known] = None if small else self._begun(partition)
        return self._excerpts[known]

    def _begun(self, partition: Partition) -> _Excerpt | None:
        found = self._remote.vouched(partition.key)
        if found is None:
            return None
        if (found.size, found.sha256) != (partition.bytes, partition.sha256):
            raise not_as_written(self._storage, partition)
        path, version, size = self._folder / f"{uuid4().hex}.parquet", found.version, found.size
        start = max(0, size - _FOOTER_BYTES)
        tail = self._copy(partition, path, start, size, version=version)
        footer = int.from_bytes(tail[-_ENDING : -_ENDING + 4], "little") + _ENDING
        if footer > len(tail):
            self._copy(partition, path, size - footer, start, version=version)
        return _Excerpt(path, version, pq.read_metadata(path))

    def _copy(self, partition: Partition, path: Path, start: int, stop: int, *, version: str) -> bytes:
        """Fetch a range to where it lies in the file."""
        data = self._remote.read_range(partition.key, start, stop, version=version)
        try:
            with path.open("r+b" if path.exists() else "xb") as stream:
                stream.seek(start)
                stream.write(data)
        except OSError as error:
            raise StorageError(
                f"the local copy of {self._storage.url}/{partition.key} cannot be written: {error.strerror or error}. "
                "What is published is untouched; free space, or set TMPDIR to a folder with more."
            ) from error
        return data


def _lightest_first(path: Path) -> pa.Schema:
    """The columns of a file, those with the fewest bytes first: DuckDB reads the first one to count rows."""
    metadata, schema = pq.read_metadata(path), pq.read_schema(path)
    sizes = {name: sum(stop - start for start, stop in _ranges(metadata, {name})) for name in schema.names}
    return pa.schema(sorted(schema, key=lambda column: sizes[column.name]))


def _ranges(metadata: pq.FileMetaData, columns: Collection[str]) -> Iterator[tuple[int, int]]:
    """Where the chunks of these columns lie, nested ones with all that is in them."""
    for group in range(metadata.num_row_groups):
        for place in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(place)
            if chunk.path_in_schema.partition(".")[0] in columns:
                start = chunk.dictionary_page_offset or chunk.data_page_offset
                start = min(start, chunk.data_page_offset)
                yield start, start + chunk.total_compressed_size


def _joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The ranges in order, those that nearly touch as one."""
    found: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if found and start - found[-1][1] <= _GAP:
            found[-1] = (found[-1][0], max(found[-1][1], stop))
        else:
            found.append((start, stop))
    return found
