"""Keeps a lake sound: proves that every object is what was recorded, and removes what nothing names."""

from __future__ import annotations

import math
import os
import re
import secrets
import socket
from collections.abc import Collection, Iterator
from datetime import timedelta

from payments_pipeline import layout
from payments_pipeline.bronze import file_sha256
from payments_pipeline.entities import ENTITIES
from payments_pipeline.errors import CorruptObject, ObjectMissing, StorageError
from payments_pipeline.flow import BronzePart, Partition
from payments_pipeline.lake import Lake
from payments_pipeline.retention import Retention, awaiting_audit, forget
from payments_pipeline.state.coverage import read_coverage
from payments_pipeline.state.documents import load
from payments_pipeline.state.head import fence, known_runs, read_head
from payments_pipeline.state.lease import Holder, Lease, LeaseRecord
from payments_pipeline.state.manifest import Manifest, read_manifests
from payments_pipeline.storage import Storage
from payments_pipeline.storage.parallel import each
from payments_pipeline.webhooks.books import journal_damage, recorded

_SHOWN = 20


def verify_lake(lake: Lake) -> int:
    """How many objects were found as recorded; `CorruptObject` naming every one that is not.

    Covers each run's bronze and quarantine, received webhooks, every published partition, and the state files' own
    checksums, the lease's too.
    """
    load(lake.storage, layout.LEASE, LeaseRecord)
    read_coverage(lake.storage, ENTITIES)
    damaged: list[str] = []

    def look(entry: tuple[str, str]) -> None:
        key, expected = entry
        try:
            if file_sha256(lake.storage.localize(key)) != expected:
                damaged.append(f"{key} has changed")
        except ObjectMissing:
            damaged.append(f"{key} is missing")

    entries = [*_recorded(lake)]
    each(look, entries)
    received, bad = journal_damage(lake.storage)
    count, damaged = len(entries) + received, sorted(damaged) + bad
    if damaged:
        more = f"; and {len(damaged) - _SHOWN} more" if len(damaged) > _SHOWN else ""
        raise CorruptObject(
            f"{len(damaged)} of {count} objects in {lake.storage.url} are not as recorded: "
            f"{'; '.join(damaged[:_SHOWN])}{more}. Silver and gold come back with 'payments-pipeline rebuild'; "
            "bronze must be restored from a backup or fetched again."
        )
    return count


def collect_garbage(
    lake: Lake, *, min_age_seconds: float, dry_run: bool, retention: Retention | None = None
) -> list[str]:
    """Remove objects that no manifest and no list of partitions names, if they are old enough; their keys.

    Takes the lease, so that no run is writing meanwhile; a `dry_run` writes nothing and needs none. First the manifests
    forget what `retention` lets go; a killed `gc` leaves that to the next. Bronze that a manifest names is never
    touched, nor is bronze of a run that has no manifest: every run writes its manifest first, so the state was lost.
    """
    storage, retention = lake.storage, retention or Retention()
    oldest = lake.clock().timestamp() - min_age_seconds
    if dry_run:
        return _unneeded(lake, oldest, retention, dry_run=True)
    holder = Holder(f"gc-{secrets.token_hex(3)}", socket.gethostname(), os.getpid())
    with Lease(storage, holder, lake.clock) as lease:
        fence(storage, lease)
        removed = _unneeded(lake, oldest, retention, dry_run=False)
        for key in removed:
            fence(storage, lease)  # a run that took over may name it by now
            storage.delete(key)
        storage.sweep(oldest)
    return removed


def _unneeded(lake: Lake, oldest: float, retention: Retention, *, dry_run: bool) -> list[str]:
    """The keys, not written since the Unix second `oldest`, that nothing names once `retention` has been applied."""
    storage = lake.storage
    if read_head(storage).publishing is not None:
        raise StorageError(
            "a run is publishing, or was interrupted while publishing; the next run finishes it, gc comes after. Nothing "
            "was removed."
        )
    forgotten = forget(lake, retention, dry_run=dry_run)
    named = {key for key, _ in _recorded(lake)} | set(_awaiting_audit(storage))
    named -= forgotten
    runs, oldest_rejected = set(known_runs(storage)), _oldest_rejected(lake, retention)
    return [
        info.key
        for prefix in (layout.STAGING, layout.BRONZE, layout.QUARANTINE, "silver/", "gold/", layout.LINKS)
        for info in storage.list(prefix)
        if info.key not in named and info.modified <= oldest and not _is_orphan(info.key, runs)
        # Receivers write without a lease, and runs tidy up after them.
        if layout.webhook_book(info.key) is None
        # No manifest names what a build has rejected, and yet it is kept like all quarantine.
        if not layout.is_from_build(info.key) or info.modified <= oldest_rejected
    ]


def _oldest_rejected(lake: Lake, retention: Retention) -> float:
    """The Unix second before which quarantine is let go; minus infinity if it is kept for good."""
    if retention.quarantine is None:
        return -math.inf
    return lake.clock().timestamp() - timedelta(days=retention.quarantine).total_seconds()


def _recorded(lake: Lake) -> Iterator[tuple[str, str]]:
    """(key, sha256) of everything that manifests and lists of partitions name."""
    for manifest in read_manifests(lake.storage, known_runs(lake.storage)).values():
        for part in _parts(manifest):
            yield part.key, part.sha256
    yield from recorded(lake.storage)
    for document in lake.latest().values():
        for partition in document.partitions.values():
            yield partition.key, partition.sha256


def _parts(manifest: Manifest) -> Iterator[BronzePart | Partition]:
    yield from manifest.extract.parts
    yield from manifest.extract.quarantine
    yield from manifest.extract.webhooks


def _is_orphan(key: str, runs: Collection[str]) -> bool:
    """Whether bronze or quarantine belongs to a run that no manifest is left of."""
    found = re.search(r"/run_id=([^/]+)/", key)
    return key.startswith((layout.BRONZE, layout.QUARANTINE)) and found is not None and found[1] not in runs


def _awaiting_audit(storage: Storage) -> Iterator[str]:
    """Staged keys of runs that may still be published."""
    for run in awaiting_audit(storage):
        assert run.transform is not None, "only what was built waits for its audit"
        yield from (entry.staged_key for entry in run.transform.staged)
