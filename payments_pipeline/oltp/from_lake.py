"""The lake as a source: silver says which objects are published, bronze has them as received."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import msgspec
import pyarrow.parquet

from payments_pipeline.bronze import OBSERVED_FORMAT, check_part
from payments_pipeline.entities import ENTITIES
from payments_pipeline.errors import StorageError
from payments_pipeline.flow import BronzePart
from payments_pipeline.lake import Lake
from payments_pipeline.layout import part_epoch
from payments_pipeline.oltp.source import RETRIEVED, Observation, Source
from payments_pipeline.screen import Rejected, Screen
from payments_pipeline.session import open_for_reading
from payments_pipeline.settings import Settings
from payments_pipeline.state.head import read_head, still_shown
from payments_pipeline.state.manifest import all_runs, published_parts, read_manifests, rejecting


class _Meta(msgspec.Struct):
    observed_at: str
    source: str
    offset: int


class _Line(msgspec.Struct):
    data: msgspec.Raw
    meta: _Meta


class _Identity(msgspec.Struct):
    id: str
    deleted: bool = False


class PublishedObjects:
    """What one publication of the lake shows: silver says which objects, bronze has their newest states as received.

    A state that differs from an older one in nothing that silver has a column for is not written to silver again.
    """

    retrieves = False

    def __init__(self, lake: Lake, tables: Iterable[str]) -> None:
        self.tables = tuple(tables)
        self._lake = lake
        self._head = read_head(lake.storage)
        if self._head.published is None:
            raise StorageError(
                f"nothing is published in {lake.storage.url} yet; 'payments-pipeline run-pipeline' publishes. "
                "Nothing was written."
            )
        self._latest = lake.latest()
        self._runs = read_manifests(lake.storage, all_runs(lake.storage))
        self.name = f"lake, as published by {self._head.published}"

    def read(self, table: str) -> Iterator[Observation]:
        shown, deleted, known = self._shown(table)
        missing = set(shown)
        screen = Screen(ENTITIES[table]) if table in rejecting(self._runs.values()) else None
        for part in self._parts(table):
            for position, line in self._lines(part):
                found = msgspec.json.decode(line.data, type=_Identity)
                object_id, seen = found.id, line.meta.observed_at
                if object_id not in shown:
                    continue
                if seen >= shown[object_id]:
                    if screen and seen > shown[object_id] and not _is_taken(screen, bytes(line.data)):
                        continue
                    missing.discard(object_id)
                elif object_id not in deleted:
                    continue  # of what is deleted, the last state before that is wanted too
                if object_id not in deleted:
                    shown[object_id] = seen
                if not found.deleted:
                    known.discard(object_id)
                rank = 0 if line.meta.source == "list" else RETRIEVED
                observed = datetime.strptime(seen, OBSERVED_FORMAT).replace(tzinfo=UTC)
                yield Observation(
                    bytes(line.data), observed, rank + line.meta.offset, f"{part.key}, line {position}"
                )
        if missing := missing | known:
            raise StorageError(
                f"{self._lake.storage.url} shows {len(missing)} {table} whose bronze is gone ({min(missing)}, …). "
                "Nothing was written; fill the tables from the API ('--source api') instead."
            )

    def retrieve(self, table: str, ids: Iterable[str]) -> Iterator[Observation]:
        return iter(())

    def has_changed(self) -> bool:
        return not still_shown(self._lake.storage, self._head)

    def _shown(self, table: str) -> tuple[dict[str, str], set[str], set[str]]:
        """When each object that silver shows was last observed, which are deleted, and what they were is known of which."""
        key = self._lake.models.get(f"silver.{table}").grain[0]
        shown: dict[str, str] = {}
        deleted, known = set[str](), set[str]()
        for partition in self._latest[f"silver.{table}"].partitions.values():
            rows = pyarrow.parquet.read_table(
                self._lake.verified(partition),
                columns=[key, "_observed_at", "is_deleted", "created_at"],
                partitioning=None,
            )
            for object_id, observed, gone, created in zip(
                *(column.to_pylist() for column in rows.columns), strict=True
            ):
                shown[object_id] = sys.intern(observed.strftime(OBSERVED_FORMAT))
                if gone:
                    deleted.add(object_id)
                    if created is not None:
                        known.add(object_id)
        return shown, deleted, known

    def _parts(self, table: str) -> Iterator[BronzePart]:
        """The bronze that was published, the newest first: of what was read again unchanged, one line is told."""
        for part in sorted(published_parts(self._runs), key=lambda part: part_epoch(part.key), reverse=True):
            if part.entity == table:
                check_part(self._lake.storage, part)
                yield part

    def _lines(self, part: BronzePart) -> Iterator[tuple[int, _Line]]:
        decoder = msgspec.json.Decoder(_Line)
        with self._lake.storage.localize(part.key).open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                yield number, decoder.decode(line)


def _is_taken(screen: Screen, record: bytes) -> bool:
    """Whether a build takes the record, or sends it to quarantine."""
    try:
        screen.strict_line(record)
    except Rejected:
        return False
    return True


@contextmanager
def lake_source(settings: Settings, tables: Iterable[str]) -> Iterator[Callable[[], Source]]:
    """The lake that the settings name, each time as it is then published, for as long as the block lasts."""
    with open_for_reading(settings) as lake:
        yield lambda: PublishedObjects(lake, tables)
