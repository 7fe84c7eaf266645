"""Builds every model from committed bronze and stages the partitions whose content changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from payments_pipeline import layout
from payments_pipeline.bronze import check_part, clean_copies, file_sha256, quarantine_line
from payments_pipeline.entities import ENTITIES, EntitySpec
from payments_pipeline.errors import ModelError
from payments_pipeline.flow import BronzePart, EntityCounts, Partition, RunContext, StagedPartition
from payments_pipeline.lake import Lake
from payments_pipeline.screen import schema_name
from payments_pipeline.state.snapshot import Latest
from payments_pipeline.storage.parallel import each
from payments_pipeline.transform.engine import BatchCounts, PartitionDigest, UnreadableLines
from payments_pipeline.transform.models import Models, ModelSpec


@dataclass(slots=True)
class Built:
    """What a build staged, and where every bronze line went.

    `lost` counts, per damaged partition, rows that have no bronze any more to make them from.
    """

    staged: list[StagedPartition] = field(default_factory=list)
    removed: list[tuple[str, str]] = field(default_factory=list)
    counts: dict[str, EntityCounts] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)


def model_version(model: ModelSpec) -> str:
    """Changes whenever the model's SQL or its source's declared columns do: then it is built anew."""
    spec = ENTITIES.get(model.entity) if model.layer == "silver" else None
    text = f"{model.sql}\n{model.partition_by}\n{schema_name(spec) if spec else ''}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def outdated(models: Models, latest: Mapping[str, Latest]) -> frozenset[str]:
    """Entities of which some silver model was never built, or was built by another version of its SQL."""
    return frozenset(
        model.entity
        for model in models.layer("silver")
        if model.qualified not in latest or latest[model.qualified].version != model_version(model)
    )


class Build:
    """One build: `parts` are merged into what `latest` says is published, then gold and marts are built whole.

    Entities in `anew` are built from `parts` alone (the caller hands over all of their bronze), but for those in
    `thinned`, of whose bronze retention has removed some: what is published of them is merged with, all of it.
    Everything read is verified against its recorded sha256 first; nothing that is published is touched.
    """

    def __init__(
        self,
        lake: Lake,
        run: RunContext,
        latest: Mapping[str, Latest],
        *,
        anew: frozenset[str],
        thinned: frozenset[str] = frozenset(),
    ) -> None:
        self._storage = lake.storage
        self._engine = lake.engine
        self._verified = lake.verified
        self._models = lake.models
        self._run = run
        self._anew = anew
        self._thinned = anew & thinned
        self._latest = latest
        self._built = Built()
        self._files: dict[str, dict[str, Path]] = {}

    def __call__(self, parts: Sequence[BronzePart]) -> Built:
        """Build everything and stage what differs from what is published."""
        for model in self._models.built:
            self._show_published(model)
        for spec in ENTITIES.values():
            self._build_entity(spec, [part for part in parts if part.entity == spec.name])
        for model in (*self._models.layer("gold"), *self._models.layer("marts")):
            self._engine.build(model)
            self._stage(model, frozenset(self._published(model)))
        return self._built

    def _build_entity(self, spec: EntitySpec, parts: Sequence[BronzePart]) -> None:
        mine = [model for model in self._models.layer("silver") if model.entity == spec.name]
        if not parts and spec.name not in self._anew:
            return
        for part in parts:
            check_part(self._storage, part)
        batch, quarantined = self._load(spec, parts)
        for model in mine:
            before, new = self._engine.count(model), self._engine.count_new(model, spec)
            touched = self._engine.merge(
                model, spec, self._files[model.qualified], whole=spec.name in self._thinned
            )
            self._stage(model, touched | frozenset(self._published(model) if spec.name in self._anew else ()))
            if model.name == spec.name:
                received = sum(part.rows for part in parts)
                self._built.counts[spec.name] = EntityCounts(
                    received=received,
                    current=batch.current,
                    superseded=batch.lines - batch.current,
                    quarantined=quarantined,
                    before=before,
                    inserted=new,
                    after=self._engine.count(model),
                )

    def _load(self, spec: EntitySpec, parts: Sequence[BronzePart]) -> tuple[BatchCounts, int]:
        """Load the parts; line by line if some were checked under other columns, or cannot be read as they are."""
        if all(part.schema == schema_name(spec) for part in parts):
            with suppress(UnreadableLines):
                return self._engine.load_bronze(spec, [self._storage.localize(part.key) for part in parts]), 0
        cleaned, rejected = self._cleaned(spec, parts)
        return self._engine.load_bronze(spec, cleaned), rejected

    def _cleaned(self, spec: EntitySpec, parts: Sequence[BronzePart]) -> tuple[list[Path], int]:
        """Copies of the parts without the lines that fail the strict check, which go to quarantine."""
        files, total = [], 0
        for part, path, bad in clean_copies(self._storage, spec, parts):
            files.append(path)
            total += len(bad)
            self._quarantine(spec, part, bad)
        return files, total

    def _quarantine(self, spec: EntitySpec, part: BronzePart, bad: Iterable[tuple[bytes, str]]) -> None:
        lines = b"".join(quarantine_line(record, b"{}", reason) for record, reason in bad)
        if lines:
            name = f"{self._run.epoch:06d}-{Path(part.key).stem}"
            key = layout.quarantine_part(spec.name, self._run.ingest_date, self._run.run_id, name)
            self._storage.put(key, lines)

    def _show_published(self, model: ModelSpec) -> None:
        """Let SQL see the model's published partitions; none if it is to be built anew from all of its bronze."""
        anew = model.layer == "silver" and model.entity in self._anew
        thinned = model.layer == "silver" and model.entity in self._thinned
        published = {} if anew and not thinned else self._published(model)
        files = {dt: self._verified(found) for dt, found in published.items() if found.digest}
        self._files[model.qualified] = files
        self._engine.show(model, list(files.values()), aligned=thinned)

    def _stage(self, model: ModelSpec, touched: frozenset[str]) -> None:
        """Write the touched partitions whose content changed, and show SQL the model as it would be."""
        published = self._published(model)
        built = self._engine.digests(model)
        if model.layer == "silver" and not built.keys() <= touched:
            raise ModelError(
                f"sql/silver/{model.name}.sql: partition_by must be the time of `created`, which never changes; "
                "a merge would lose rows otherwise. Nothing was published."
            )
        if model.layer == "silver" and model.entity in self._thinned:
            self._note_lost(model, built)
        shown = dict(self._files[model.qualified])
        for dt in sorted(touched - built.keys()):
            shown.pop(dt, None)
            if dt in published:
                self._built.removed.append((model.qualified, dt))
        changed = {}
        for dt, found in sorted(built.items()):
            known = published.get(dt)
            if known is not None and (known.digest, known.rows) == (found.digest, found.rows):
                shown[dt] = self._storage.localize(known.key)
            else:
                changed[dt] = found
        for staged in self._write(model, changed):
            self._built.staged.append(staged)
            shown[staged.dt] = self._storage.localize(staged.staged_key)
        self._files[model.qualified] = shown
        self._engine.show(model, [shown[dt] for dt in sorted(shown)])

    def _note_lost(self, model: ModelSpec, built: Mapping[str, PartitionDigest]) -> None:
        """Count what a damaged partition held and bronze did not bring back."""
        for dt, known in self._published(model).items():
            back = built[dt].rows if dt in built else 0
            if not known.digest and back < known.rows:
                self._built.lost[f"{model.qualified} dt={dt}"] = known.rows - back

    def _write(self, model: ModelSpec, changed: Mapping[str, PartitionDigest]) -> list[StagedPartition]:
        """Write the partitions as Parquet and stage them."""
        written: list[tuple[Path, StagedPartition]] = []
        for dt, found in changed.items():
            path = self._storage.scratch() / f"{model.qualified}-{dt}.parquet"
            self._engine.write(model, dt, path)
            partition = Partition(
                key=layout.partition(model.layer, model.name, dt),
                rows=found.rows,
                bytes=path.stat().st_size,
                sha256=file_sha256(path),
                digest=found.digest,
            )
            staged_key = layout.staged(self._run.run_id, self._run.epoch, model.qualified, dt)
            written.append((path, StagedPartition(model.qualified, dt, staged_key, partition)))
        each(lambda entry: self._storage.adopt(entry[0], entry[1].staged_key), written)
        return [staged for _, staged in written]

    def _published(self, model: ModelSpec) -> Mapping[str, Partition]:
        document = self._latest.get(model.qualified)
        return document.partitions if document else {}
