"""What is published: per model the list of its partitions. Readers go through it, never through a listing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256

from payments_pipeline import layout
from payments_pipeline.flow import Partition, Snapshot, StagedPartition
from payments_pipeline.state.documents import Document, load
from payments_pipeline.storage import Storage


class Latest(Document):
    """The published partitions of one model by `dt`, and the version of the model that made them."""

    model: str
    version: str
    run_id: str
    partitions: dict[str, Partition]


def read_latest(storage: Storage, models: Iterable[str]) -> dict[str, Latest]:
    """The published state of each of the models (qualified names) that has one."""
    found = {}
    for model in models:
        layer, _, name = model.partition(".")
        document = load(storage, layout.latest(layer, name), Latest)[0]
        if document is not None:
            found[model] = document
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
        partition = entry.partition
        waiting = Partition(
            entry.staged_key, partition.rows, partition.bytes, partition.sha256, partition.digest
        )
        result.setdefault(entry.model, {})[entry.dt] = waiting
    return result


def content_digest(snapshot: Snapshot) -> str:
    """One digest of all rows of all models: equal for equal content, however it was partitioned into runs."""
    lines = [
        f"{model} {dt} {partition.rows} {partition.digest}"
        for model, partitions in sorted(snapshot.items())
        for dt, partition in sorted(partitions.items())
    ]
    return sha256("\n".join(lines).encode()).hexdigest()
