"""A model's published files as a `pyarrow.dataset` that fetches nothing before a statement scans it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs

from payments_pipeline.errors import PipelineError, StorageError
from payments_pipeline.flow import EPOCH_DT, Partition
from payments_pipeline.storage.parallel import each

Fetch = Callable[[Partition, frozenset[str]], Path]
"""A local file that is the partition as far as these columns go, and proven to be."""

_FORMAT = ds.ParquetFileFormat()
_FILES_AHEAD, _BATCHES_AHEAD = 2, 2
"""How much Arrow may read before DuckDB asks for it; what it holds does not count for DuckDB's memory limit."""


class LazyDataset(ds.FileSystemDataset):  # type: ignore[misc]  # pyarrow ships no types
    """Partitions by `dt`, of which a scan fetches only those that its filter can meet, with the columns it names.

    DuckDB hands over both when it begins to scan. `partition_by` is the column that tells a row's partition, if every
    row is sure to lie in it. What goes wrong while fetching reaches DuckDB as text: `explain` raises it as it was.
    """

    def __init__(
        self,
        schema: pa.Schema,
        partitions: Mapping[str, Partition],
        partition_by: str | None,
        fetch: Fetch,
    ) -> None:
        disk = pyarrow.fs.LocalFileSystem()
        fragments = [
            _FORMAT.make_fragment(part.key, disk, partition_expression=_rows_of(schema, partition_by, dt))
            for dt, part in sorted(partitions.items())
        ]
        super().__init__(fragments, schema, _FORMAT, disk)
        self._partitions = {part.key: part for part in partitions.values()}
        self._fetch = fetch
        self._failure: Exception | None = None
        self._is_stopped = False

    def scanner(
        self,
        columns: Sequence[str] | None = None,
        filter: Any = None,  # noqa: A002 - its name in pyarrow
        **_: object,
    ) -> Any:
        """Called by DuckDB, in any of its threads: what a scan reads is on this machine when it returns."""
        try:
            files = self._fetched(filter, _needed(self.schema, columns, filter))
        except (PipelineError, OSError) as error:
            self._failure = error
            raise
        disk = pyarrow.fs.LocalFileSystem()
        fragments = [_FORMAT.make_fragment(str(file), disk) for file in files]
        local = ds.FileSystemDataset(fragments, self.schema, _FORMAT, disk)
        return local.scanner(
            columns=columns,
            filter=filter,
            fragment_readahead=_FILES_AHEAD,
            batch_readahead=_BATCHES_AHEAD,
        )

    def explain(self) -> None:
        """Raise what went wrong while fetching, if anything did."""
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def stop(self) -> None:
        """Fetch no more files."""
        self._is_stopped = True

    def _fetched(self, condition: Any, columns: frozenset[str]) -> list[Path]:
        wanted = [self._partitions[fragment.path] for fragment in self.get_fragments(condition)]
        found: dict[str, Path] = {}

        def fetch(partition: Partition) -> None:
            if self._is_stopped:
                raise StorageError("the query was interrupted; nothing was changed.")
            found[partition.key] = self._fetch(partition, columns)

        each(fetch, wanted)
        return [found[partition.key] for partition in wanted]


def _rows_of(schema: pa.Schema, partition_by: str | None, dt: str) -> Any:
    """What is true of every row of the partition `dt`; rows without a time lie in that of the epoch."""
    if partition_by is None or dt == EPOCH_DT:
        return None
    column, kind = pc.field(partition_by), schema.field(partition_by).type
    try:
        day = date.fromisoformat(dt)
        following = datetime.combine(day, time()) + timedelta(days=1)
    except (ValueError, OverflowError):  # DuckDB knows years that Python does not
        return None
    if pa.types.is_date32(kind):
        return column == pa.scalar(day, kind)
    if pa.types.is_timestamp(kind) and kind.tz is None:
        start = datetime.combine(day, time())
        return (column >= pa.scalar(start, kind)) & (column < pa.scalar(following, kind))
    return None


def _needed(schema: pa.Schema, columns: Sequence[str] | None, condition: Any) -> frozenset[str]:
    """The columns that a scan reads: what it returns, and what its filter cannot do without."""
    if columns is None:
        return frozenset(schema.names)
    others = [] if condition is None else [name for name in schema.names if name not in columns]
    return frozenset(columns) | {name for name in others if _refers_to(condition, schema, name)}


def _refers_to(condition: Any, schema: pa.Schema, name: str) -> bool:
    """Whether the condition means nothing without that column: an expression does not tell what it names."""
    without = schema.remove(schema.get_field_index(name))
    try:
        without.empty_table().filter(condition)
    except (pa.ArrowInvalid, pa.ArrowKeyError):
        return True
    return False
