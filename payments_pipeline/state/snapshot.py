"""What is published: per model the list of its partitions. Readers go through it, never through a listing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from hashlib import sha256
from typing import ClassVar

from payments_pipeline import layout
from payments_pipeline.flow import Partition, Snapshot, StagedPartition
from payments_pipeline.state.documents import Document, load
from payments_pipeline.state.manifest import all_runs, read_manifests
from payments_pipeline.storage import Storage
from payments_pipeline.storage.parallel import each


class Latest(Document):
    """The published partitions of one model by `dt`, and the version of the model that made them."""

    remedy: ClassVar[str] = "remove it and run again: the list is made again from the manifests"

    model: str
    version: str
    run_id: str
    partitions: dict[str, Partition]


def read_latest(storage: Storage, models: Iterable[str]) -> dict[str, Latest]:
    """The published state of each of the models (qualified names) that has one; a lost one is made again."""
    read: dict[str, Latest | None] = dict.fromkeys(models)

    def look(model: str) -> None:
        read[model] = read_listed(storage, model)[0]

    each(look, list(read))
    found = {model: document for model, document in read.items() if document is not None}
    lost = read.keys() - found.keys()
    return {**found, **_remade(storage, lost)} if lost else found


def read_listed(storage: Storage, model: str) -> tuple[Latest | None, str]:
    """The list of a model's published partitions and its version for `replace`; `(None, ABSENT)` if there is none."""
    layer, _, name = model.partition(".")
    return load(storage, layout.latest(layer, name), Latest)


def _remade(storage: Storage, models: AbstractSet[str]) -> dict[str, Latest]:
    """What the manifests say was published of the models, run by run."""
    runs = read_manifests(storage, all_runs(storage)).values()
    found: dict[str, Latest] = {}
    for run in sorted((run for run in runs if run.publish), key=lambda run: run.epoch):
        assert run.transform is not None, "only what was built is published"
        after = candidate(snapshot_of(found), run.transform.staged, run.transform.removed)
        placed = {(entry.model, entry.dt): entry.partition for entry in run.transform.staged}
        for model in models & after.keys():
            partitions = {dt: placed.get((model, dt), part) for dt, part in after[model].items()}
            version = run.transform.versions.get(model, "")
            found[model] = Latest(model=model, version=version, run_id=run.run_id, partitions=partitions)
    return found


def snapshot_of(latest: Mapping[str, Latest]) -> dict[str, dict[str, Partition]]:
    """The partitions that readers see."""
    return {model: dict(document.partitions) for model, document in latest.items()}


def candidate(
    published: Snapshot, staged: Iterable[StagedPartition], removed: Iterable[tuple[str, str]]
) -> dict[str, dict[str, Partition]]:
    """The snapshot that publishing would make, every staged partition at its staged key."""
    result = {model: dict(partitions) for model, partitions in published.items()}
    for model, dt in removed:
        result.get(model, {}).pop(dt, None)
    for entry in staged:
        result.setdefault(entry.model, {})[entry.dt] = replace(entry.partition, key=entry.staged_key)
    return result


def content_digest(snapshot: Snapshot) -> str:
    """One digest of all rows of all models: equal for equal content, however it was partitioned into runs.

    Links follow from silver and depend on the engine's version, so they do not count.
    """
    lines = [
        f"{model} {dt} {partition.rows} {partition.digest}"
        for model, partitions in sorted(snapshot.items())
        if not model.startswith("links.")
        for dt, partition in sorted(partitions.items())
    ]
    return sha256("\n".join(lines).encode()).hexdigest()
