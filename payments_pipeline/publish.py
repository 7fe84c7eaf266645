"""Moves audited partitions into place under a journal, so that a killed publish is finished, never half done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from payments_pipeline import layout
from payments_pipeline.bronze import file_sha256
from payments_pipeline.errors import CorruptObject, ObjectMissing
from payments_pipeline.flow import Partition, StagedPartition
from payments_pipeline.lake import Lake
from payments_pipeline.state.head import Head, RunLine, commit, read_head
from payments_pipeline.state.lease import Lease
from payments_pipeline.state.manifest import Manifest, Publish, Transform, read_manifest, write_manifest
from payments_pipeline.state.snapshot import Latest, snapshot_of
from payments_pipeline.storage import Storage
from payments_pipeline.storage.parallel import each

VIEWS = "lake.duckdb"
"""File of views over everything published, in a local lake's folder."""


def publish(lake: Lake, lease: Lease, manifest: Manifest, versions: Mapping[str, str]) -> Manifest:
    """Publish what `manifest`'s transform staged and its audit passed.

    `versions` gives the version of each model's SQL by qualified name. From the moment the head names this run as `publishing`,
    the publish will be finished: by this process, or by the next one that opens the lake.
    """
    assert manifest.transform is not None, "only what was built can be published"
    transform = manifest.transform
    if transform.staged or transform.removed:
        commit(lake.storage, lease, lambda head: head.model_copy(update={"publishing": manifest.run_id}))
        _move(lake.storage, transform)
    _list_partitions(lake, manifest.run_id, transform, versions)
    if transform.staged or transform.removed:
        write_views(lake)
    published = manifest.model_copy(
        update={
            "outcome": "published",
            "publish": Publish(
                finished_at=lake.clock(),
                written=len(transform.staged),
                removed=len(transform.removed),
                digest=transform.digest,
            ),
        }
    )
    write_manifest(lake.storage, published)
    commit(lake.storage, lease, lambda head: _concluded(head, published))
    discard_staging(lake.storage, manifest.run_id)
    return published


def recover(lake: Lake, lease: Lease, versions: Mapping[str, str]) -> str | None:
    """Finish the publish that another run left open; that run's id, or None if there was none."""
    unfinished = read_head(lake.storage).publishing
    if unfinished is not None:
        publish(lake, lease, read_manifest(lake.storage, unfinished), versions)
    return unfinished


def discard_staging(storage: Storage, run_id: str) -> None:
    """Remove what a run staged."""
    for info in storage.list(f"{layout.STAGING}run_id={run_id}/"):
        storage.delete(info.key)


def write_views(lake: Lake) -> None:
    """Write `lake.duckdb`: a view for every model, over exactly the partitions that are published."""
    root = Path(lake.storage.url)
    if not root.is_dir():
        return
    files = {
        model: [lake.storage.localize(partitions[dt].key) for dt in sorted(partitions)]
        for model, partitions in snapshot_of(lake.latest()).items()
    }
    lake.show_published()
    draft = lake.storage.scratch() / VIEWS
    draft.unlink(missing_ok=True)
    lake.engine.write_views(draft, files)
    lake.storage.adopt(draft, VIEWS)


def _move(storage: Storage, transform: Transform) -> None:
    def place(entry: StagedPartition) -> None:
        try:
            storage.promote(entry.staged_key, entry.partition.key)
        except ObjectMissing:
            _check_moved(storage, entry)

    def remove(gone: tuple[str, str]) -> None:
        layer, _, name = gone[0].partition(".")
        storage.delete(layout.partition(layer, name, gone[1]))

    each(place, transform.staged)
    each(remove, transform.removed)


def _check_moved(storage: Storage, entry: StagedPartition) -> None:
    """A staged object that is gone must already lie where it belongs."""
    if file_sha256(storage.localize(entry.partition.key)) != entry.partition.sha256:
        raise CorruptObject(
            f"{storage.url}/{entry.staged_key} is gone and {entry.partition.key} is not what was audited. "
            "Bronze is safe; 'payments-pipeline rebuild' makes silver and gold again."
        )


def _list_partitions(lake: Lake, run_id: str, transform: Transform, versions: Mapping[str, str]) -> None:
    """Bring each model's list of partitions up to date; a model nothing happened to keeps its list."""
    latest = lake.latest()
    for model in lake.models.built:
        known = latest.get(model.qualified)
        partitions: dict[str, Partition] = dict(known.partitions) if known else {}
        for name, dt in transform.removed:
            if name == model.qualified:
                partitions.pop(dt, None)
        for entry in transform.staged:
            if entry.model == model.qualified:
                partitions[entry.dt] = entry.partition
        version = versions[model.qualified]
        if known is None or known.partitions != partitions or known.version != version:
            document = Latest(model=model.qualified, version=version, run_id=run_id, partitions=partitions)
            lake.storage.put(layout.latest(model.layer, model.name), document.sealed())


def _concluded(head: Head, manifest: Manifest) -> Head:
    """The head once the run is published: its journal closed, the bronze it consumed no longer pending."""
    assert manifest.transform is not None, "only what was built is published"
    assert manifest.publish is not None, "concluding comes after publishing"
    pending = tuple(run for run in head.pending if run not in manifest.transform.consumed)
    line = RunLine(
        run_id=manifest.run_id,
        outcome=manifest.outcome,
        at=manifest.publish.finished_at,
        rows=manifest.rows(),
    )
    return head.noted(line).model_copy(
        update={"publishing": None, "published": manifest.run_id, "pending": pending}
    )
