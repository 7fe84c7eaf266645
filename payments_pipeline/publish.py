"""Moves audited partitions into place under a journal, so that a killed publish is finished, never half done."""

from __future__ import annotations

import uuid
from pathlib import Path

from payments_pipeline import layout
from payments_pipeline.bronze import file_sha256
from payments_pipeline.errors import CorruptObject, ObjectMissing
from payments_pipeline.flow import Partition, Snapshot, StagedPartition
from payments_pipeline.lake import Lake
from payments_pipeline.state.documents import replace
from payments_pipeline.state.head import Head, RunLine, commit, fence, read_head
from payments_pipeline.state.lease import Lease
from payments_pipeline.state.manifest import (
    Manifest,
    Publish,
    Transform,
    measured,
    read_manifest,
    write_manifest,
)
from payments_pipeline.state.snapshot import Latest, read_listed, snapshot_of
from payments_pipeline.storage import Storage
from payments_pipeline.storage.parallel import each

VIEWS = "lake.duckdb"
"""File of views over everything published, in a local lake's folder."""


def publish(lake: Lake, lease: Lease, manifest: Manifest) -> Manifest:
    """Publish what `manifest`'s transform staged and its audit passed.

    From the moment the head names this run as `publishing`, the publish will be finished: by this process, or by
    the next one that opens the lake. A process that was overtaken meanwhile changes no list of partitions.
    """
    assert manifest.transform is not None, "only what was built can be published"
    transform = manifest.transform
    if transform.staged or transform.removed:
        commit(lake.storage, lease, lambda head: head.model_copy(update={"publishing": manifest.run_id}))
        _move(lake.storage, lease, transform)
    published = _list_partitions(lake, lease, manifest.run_id, transform)
    if transform.staged or transform.removed or not (Path(lake.storage.url) / VIEWS).exists():
        _write_views(lake, published)
    concluded = manifest.model_copy(
        update={
            "epoch": lease.epoch,
            "outcome": "published",
            "publish": Publish(
                finished_at=lake.clock(),
                written=len(transform.staged),
                removed=len(transform.removed),
                digest=transform.digest,
            ),
        }
    )
    written = measured(lake.storage, concluded)
    write_manifest(lake.storage, written)
    commit(lake.storage, lease, lambda head: _concluded(head, written))
    discard_staging(lake.storage, manifest.run_id, lease.epoch)
    return written


def recover(lake: Lake, lease: Lease) -> str | None:
    """Finish the publish that another run left open; that run's id, or None if there was none.

    `CorruptObject` if something it staged is lost: then it stays unfinished, and a rebuild takes its place.
    """
    unfinished = read_head(lake.storage).publishing
    if unfinished is not None:
        try:
            publish(lake, lease, read_manifest(lake.storage, unfinished))
        except CorruptObject:
            commit(lake.storage, lease, lambda head: head.model_copy(update={"publishing": None}))
            raise
    return unfinished


def discard_staging(storage: Storage, run_id: str, epoch: int) -> None:
    """Remove what a run staged, except what a later holder of the lake staged for it."""
    for info in storage.list(f"{layout.STAGING}run_id={run_id}/"):
        if layout.staged_epoch(info.key) <= epoch:
            storage.delete(info.key)


def _move(storage: Storage, lease: Lease, transform: Transform) -> None:
    def place(entry: StagedPartition) -> None:
        try:
            storage.promote(entry.staged_key, entry.partition.key)
        except ObjectMissing:
            _check_moved(storage, entry)

    def remove(gone: tuple[str, str]) -> None:
        layer, _, name = gone[0].partition(".")
        fence(storage, lease)  # a run that took over may have put it back
        storage.delete(layout.partition(layer, name, gone[1]))

    each(place, transform.staged)
    each(remove, transform.removed)


def _check_moved(storage: Storage, entry: StagedPartition) -> None:
    """A staged object that is gone must already lie where it belongs."""
    try:
        is_placed = file_sha256(storage.localize(entry.partition.key)) == entry.partition.sha256
    except ObjectMissing:
        is_placed = False
    if not is_placed:
        raise CorruptObject(
            f"{storage.url}/{entry.staged_key} is gone and {entry.partition.key} is not what was audited. "
            "Bronze is safe; 'payments-pipeline rebuild' makes silver and gold again."
        )


def _list_partitions(lake: Lake, lease: Lease, run_id: str, transform: Transform) -> Snapshot:
    """Bring each model's list of partitions up to date, and return them all; a model nothing happened to keeps its list.

    Every list was read before the lease is looked at once more, and is replaced only if it is still the same:
    a process that was paused in between cannot put an old list over a newer one.
    """
    latest, changed = lake.latest(), []
    for name, version in transform.versions.items():
        known = latest.get(name)
        partitions: dict[str, Partition] = dict(known.partitions) if known else {}
        for model, dt in transform.removed:
            if model == name:
                partitions.pop(dt, None)
        partitions |= {entry.dt: entry.partition for entry in transform.staged if entry.model == name}
        if known is None or known.partitions != partitions or known.version != version:
            document = Latest(model=name, version=version, run_id=run_id, partitions=partitions)
            changed.append((document, read_listed(lake.storage, name)[1]))
    fence(lake.storage, lease)
    for document, expected in changed:
        layer, _, model = document.model.partition(".")
        replace(lake.storage, layout.latest(layer, model), document, expected=expected)
    return snapshot_of({**latest, **{document.model: document for document, _ in changed}})


def _write_views(lake: Lake, published: Snapshot) -> None:
    """Write `lake.duckdb`: a view for every model, over exactly the partitions that are published."""
    root = Path(lake.storage.url)
    if not root.is_dir():
        return
    files = {}
    for model in lake.models.built:
        partitions = published.get(model.qualified, {})
        files[model.qualified] = [root / partitions[dt].key for dt in sorted(partitions)]
        if not partitions:  # its columns are told by its SQL
            lake.show(published, [model])
    draft = lake.storage.scratch() / f"{uuid.uuid4().hex}-{VIEWS}"
    lake.engine.write_views(draft, files)
    lake.storage.adopt(draft, VIEWS)


def _concluded(head: Head, manifest: Manifest) -> Head:
    """The head once the run is published: its journal closed, the bronze it consumed no longer pending."""
    assert manifest.transform is not None, "only what was built is published"
    assert manifest.publish is not None, "concluding comes after publishing"
    pending = tuple(run for run in head.pending if run not in manifest.transform.consumed)
    line = RunLine.of(manifest, manifest.publish.finished_at)
    return head.noted(line).model_copy(
        update={"publishing": None, "published": manifest.run_id, "pending": pending}
    )
