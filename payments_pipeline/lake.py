"""One opened lake: its storage, the engine and models that work on it, and who is told about it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from payments_pipeline.bronze import file_sha256
from payments_pipeline.errors import CorruptObject, ObjectMissing
from payments_pipeline.flow import Clock, Partition, Reporter, Snapshot
from payments_pipeline.state.snapshot import Latest, read_latest, snapshot_of
from payments_pipeline.storage import Storage
from payments_pipeline.storage.parallel import each
from payments_pipeline.transform.engine import Engine
from payments_pipeline.transform.models import Models, ModelSpec


def not_as_written(storage: Storage, partition: Partition) -> CorruptObject:
    """The error for a partition whose object is another than the recorded one."""
    return CorruptObject(
        f"{storage.url}/{partition.key} is not the file that was written (its sha256 differs). "
        "It was not served; 'payments-pipeline rebuild' makes it again from bronze, which is safe."
    )


class VerifiedFiles:
    """Local files of partitions whose bytes are those that were recorded; each is read once per process."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._seen: dict[tuple[str, str], Path] = {}

    def __call__(self, partition: Partition) -> Path:
        """The partition's file; `CorruptObject` if its bytes are not the recorded ones."""
        seen = (partition.key, partition.sha256)
        if seen not in self._seen:
            try:
                path = self._storage.localize(partition.key)
            except ObjectMissing as error:
                raise ObjectMissing(
                    f"{self._storage.url}/{partition.key} is gone. Bronze is safe; 'payments-pipeline rebuild' makes the "
                    "file again."
                ) from error
            if file_sha256(path) != partition.sha256:
                raise not_as_written(self._storage, partition)
            self._seen[seen] = path
        return self._seen[seen]

    def fetch(self, partitions: Iterable[Partition]) -> None:
        """Look at many at once: of a lake that is elsewhere, fetching them is mostly waiting."""

        def look(partition: Partition) -> None:
            self(partition)

        each(look, (part for part in partitions if (part.key, part.sha256) not in self._seen))

    def damaged(self, partitions: Iterable[Partition]) -> frozenset[str]:
        """The keys of those whose file is gone, or has other bytes than the recorded ones."""
        found: list[str] = []

        def look(partition: Partition) -> None:
            try:
                self(partition)
            except (CorruptObject, ObjectMissing):
                found.append(partition.key)

        each(look, partitions)
        return frozenset(found)


@dataclass(frozen=True, slots=True)
class Lake:
    """Everything that works on one lake; made once per command, closed by `close`."""

    storage: Storage
    engine: Engine
    models: Models
    verified: VerifiedFiles
    clock: Clock
    reporter: Reporter

    def latest(self, named: Collection[str] | None = None) -> Mapping[str, Latest]:
        """The published state of every model, links included, that has one; with `named` (qualified names), of those."""
        names = [model.qualified for model in (*self.models.built, *self.models.links)]
        return read_latest(self.storage, [name for name in names if named is None or name in named])

    def intact(self) -> Mapping[str, Latest]:
        """`latest`, in which a partition whose file is damaged or gone has no digest: what is built differs from it."""
        latest = self.latest()
        damaged = self.verified.damaged(
            part for document in latest.values() for part in document.partitions.values()
        )
        return {name: _marked(document, damaged) for name, document in latest.items()}

    def files(self, partitions: Mapping[str, Partition], dts: Collection[str] | None = None) -> list[Path]:
        """The files of a model's partitions, of all or of those `dts` that exist, each verified first."""
        wanted = [partitions[dt] for dt in sorted(partitions) if dts is None or dt in dts]
        self.verified.fetch(wanted)
        return [self.verified(partition) for partition in wanted]

    def show(
        self, snapshot: Snapshot, models: Iterable[ModelSpec], dts: Collection[str] | None = None
    ) -> None:
        """Let SQL see the snapshot's partitions of the models, of all or of some `dts`, as `<layer>.<model>`."""
        for model in models:
            self.bind(model)
            self.engine.show(model, self.files(snapshot.get(model.qualified, {}), dts))

    def bind(self, model: ModelSpec) -> None:
        """Let the model's SQL find whatever it reads, so that its columns are known: what is not shown yet has no rows."""
        for name in model.depends_on:
            if not name.startswith("bronze.") and not self.engine.shows(name):
                read = self.models.get(name)
                self.bind(read)
                self.engine.show(read, [])

    def show_published(self, named: Collection[str] | None = None) -> None:
        """Let SQL see what is published; with `named` (qualified names), other models have no rows."""
        self.show(snapshot_of(self.latest(named)), self.models.built)

    def close(self) -> None:
        """Give back memory and temporary files."""
        self.engine.close()
        self.storage.close()


def _marked(document: Latest, damaged: Collection[str]) -> Latest:
    """The document, in which damaged partitions have no digest."""
    partitions = {
        dt: replace(partition, digest="") if partition.key in damaged else partition
        for dt, partition in document.partitions.items()
    }
    return document.model_copy(update={"partitions": partitions})
