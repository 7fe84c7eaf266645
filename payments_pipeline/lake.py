"""One opened lake: its storage, the engine and models that work on it, and who is told about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from payments_pipeline.bronze import file_sha256
from payments_pipeline.errors import CorruptObject, ObjectMissing
from payments_pipeline.flow import Clock, Partition, Reporter, Snapshot
from payments_pipeline.state.snapshot import Latest, read_latest, snapshot_of
from payments_pipeline.storage import Storage
from payments_pipeline.transform.engine import Engine
from payments_pipeline.transform.models import Models


class VerifiedFiles:
    """Local files of partitions whose bytes are those that were recorded; each is read once per process."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._seen: dict[tuple[str, str], Path] = {}

    def __call__(self, partition: Partition) -> Path:
        """The partition's file; `CorruptObject` if its bytes are not the recorded ones."""
        seen = (partition.key, partition.sha256)
        if seen not in self._seen:
            path = self._storage.localize(partition.key)
            if file_sha256(path) != partition.sha256:
                raise CorruptObject(
                    f"{self._storage.url}/{partition.key} is not the file that was written (its sha256 differs). "
                    "It was not served; 'payments-pipeline rebuild' makes it again from bronze, which is safe."
                )
            self._seen[seen] = path
        return self._seen[seen]


@dataclass(frozen=True, slots=True)
class Lake:
    """Everything that works on one lake; made once per command, closed by `close`."""

    storage: Storage
    engine: Engine
    models: Models
    verified: VerifiedFiles
    clock: Clock
    reporter: Reporter

    def latest(self) -> Mapping[str, Latest]:
        """The published state of every model that has one."""
        return read_latest(self.storage, [model.qualified for model in self.models.built])

    def intact(self) -> Mapping[str, Latest]:
        """`latest`, in which a partition whose file is damaged or gone has no digest: what is built differs from it."""
        return {name: self._checked(document) for name, document in self.latest().items()}

    def _checked(self, document: Latest) -> Latest:
        partitions = {
            dt: partition if self._is_sound(partition) else replace(partition, digest="")
            for dt, partition in document.partitions.items()
        }
        return document.model_copy(update={"partitions": partitions})

    def _is_sound(self, partition: Partition) -> bool:
        try:
            self.verified(partition)
        except (CorruptObject, ObjectMissing):
            return False
        return True

    def show(self, snapshot: Snapshot) -> None:
        """Let SQL see the snapshot's partitions as `<layer>.<model>`, each file verified first."""
        for model in self.models.built:
            partitions = snapshot.get(model.qualified, {})
            self.engine.show(model, [self.verified(partitions[dt]) for dt in sorted(partitions)])

    def show_published(self) -> None:
        """Let SQL see what is published."""
        self.show(snapshot_of(self.latest()))

    def close(self) -> None:
        """Give back memory and temporary files."""
        self.engine.close()
        self.storage.close()
