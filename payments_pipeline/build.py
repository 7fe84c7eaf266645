"""Builds every model from committed bronze and stages the partitions whose content changed."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from payments_pipeline import layout
from payments_pipeline.bronze import check_part, clean_copies, file_sha256, quarantine_line
from payments_pipeline.entities import ENTITIES, EntitySpec
from payments_pipeline.errors import ModelError
from payments_pipeline.flow import (
    BronzePart,
    EntityCounts,
    Partition,
    RunContext,
    Snapshot,
    StagedPartition,
)
from payments_pipeline.lake import Lake
from payments_pipeline.scope import reach, show_reached
from payments_pipeline.screen import schema_name
from payments_pipeline.state.manifest import Manifest
from payments_pipeline.state.snapshot import Latest, candidate, snapshot_of
from payments_pipeline.storage.parallel import each
from payments_pipeline.transform.engine import BatchCounts, Engine, PartitionDigest, UnreadableLines
from payments_pipeline.transform.models import ModelSpec, links_of
from payments_pipeline.transform.months import grouped

_OBJECTS_AT_ONCE = 3 * 122_880
"""About so many objects of an entity that is built anew are sorted at once: three of DuckDB's row groups, in memory."""


@dataclass(slots=True)
class Built:
    """What a build staged, and where every bronze line went.

    `lost` counts, per damaged partition, rows that have no bronze any more to make them from.
    """

    staged: list[StagedPartition] = field(default_factory=list)
    removed: list[tuple[str, str]] = field(default_factory=list)
    counts: dict[str, EntityCounts] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)


def model_version(model: ModelSpec, engine: Engine) -> str:
    """Changes whenever the model's SQL does, what it is read with, or the engine, whose digests mean nothing to another."""
    spec = ENTITIES.get(model.entity) if model.layer == "silver" else None
    read_with = schema_name(spec) if spec else " ".join(model.links)
    text = f"{model.sql}\n{model.partition_by}\n{read_with}\n{engine.version}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def outdated(lake: Lake, latest: Mapping[str, Latest], last: Manifest | None) -> frozenset[str]:
    """Qualified names of the models that were never built, or were by another version of their SQL.

    So are those that `last`, the run that published last, did not know: they were taken out and put back, and changes
    have gone by them.
    """
    known = latest.keys() if last is None or last.transform is None else last.transform.versions.keys()
    return frozenset(
        model.qualified
        for model in (*lake.models.built, *lake.models.links)
        if model.qualified not in latest
        or model.qualified not in known
        or latest[model.qualified].version != model_version(model, lake.engine)
    )


class Build:
    """One build: `parts` are merged into what `latest` says is published, and gold and marts follow what changed by that.

    Entities in `anew` are built from `parts` alone (the caller hands over all of their bronze), except those in
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
        self._lake = lake
        self._storage = lake.storage
        self._engine = lake.engine
        self._models = lake.models
        self._run = run
        self._anew = anew
        self._before = snapshot_of(latest)
        self._thinned = anew & thinned
        self._built = Built()

    def __call__(self, parts: Sequence[BronzePart], *, whole: bool) -> Built:
        """Build everything and stage what differs from what is published.

        `whole`: gold and marts are built from all of silver, as they must be if anything is outdated.
        """
        for links in self._models.links:
            self._engine.show(links, self._existing(links))
        for spec in ENTITIES.values():
            mine = [part for part in parts if part.entity == spec.name]
            if mine or spec.name in self._anew:
                self._build_entity(spec, mine)
        models = (*self._models.layer("gold"), *self._models.layer("marts"))
        if whole:
            self._build_whole(models)
        else:
            self._build_reached(models)
        return self._built

    def _build_entity(self, spec: EntitySpec, parts: Sequence[BronzePart]) -> None:
        each(lambda part: check_part(self._storage, part), parts)
        batch, quarantined = self._load(spec, parts)
        silver, is_new = self._models.silver(spec.name), spec.name in self._anew - self._thinned
        if silver:
            if is_new and batch.current > _OBJECTS_AT_ONCE:
                inserted = self._build_by_months(spec, silver)
            else:
                dts = self._engine.touched(spec) | self._dts_before(spec, silver)
                inserted = self._build_silver(spec, silver, dts)
            self._built.counts[spec.name] = EntityCounts(
                received=sum(part.rows for part in parts),
                current=batch.current,
                superseded=batch.lines - batch.current,
                quarantined=quarantined,
                before=0 if is_new else _rows(self._before, silver[0]),
                inserted=inserted,
                after=_rows(self._after(), silver[0]),
            )

    def _build_by_months(self, spec: EntitySpec, silver: Sequence[ModelSpec]) -> int:
        """Build an entity of which nothing exists in groups of months: what is sorted at once is in memory."""
        before, inserted = self._dts_before(spec, silver), 0
        counts = {**{dt[:7]: 0 for dt in before}, **self._engine.months(spec)}
        for months in grouped(counts, _OBJECTS_AT_ONCE):
            self._engine.narrow(spec, months[0], months[-1])
            dts = frozenset(dt for dt in self._engine.touched(spec) | before if dt[:7] in months)
            inserted += self._build_silver(spec, silver, dts)
        self._engine.load_bronze(spec, [])  # it is large, and everything is made from it
        return inserted

    def _build_silver(self, spec: EntitySpec, silver: Sequence[ModelSpec], dts: frozenset[str]) -> int:
        """Merge what `bronze.<entity>` shows into these partitions, and their links; how many objects are new."""
        inserted = 0
        for model in silver:
            self._engine.merge(model, spec, self._existing(model, dts), aligned=spec.name in self._thinned)
            if model.parent is None:
                inserted = self._engine.count_new(model, spec)
            self._stage(model, dts)
        self._link(silver, dts)
        return inserted

    def _dts_before(self, spec: EntitySpec, silver: Sequence[ModelSpec]) -> frozenset[str]:
        """The partitions that there are, if the entity is built anew: each is then built, or removed."""
        models = silver if spec.name in self._anew else ()
        return frozenset(dt for model in models for dt in self._before.get(model.qualified, {}))

    def _link(self, silver: Sequence[ModelSpec], dts: frozenset[str]) -> None:
        """Bring the links of an entity whose silver models were just built up to date."""
        links, months = links_of(*silver), frozenset(dt[:7] for dt in dts)
        self._engine.link(links, silver, self._existing(links, months), dts=dts)
        self._stage(links, months)

    def _build_whole(self, models: Sequence[ModelSpec]) -> None:
        """Build gold and marts from all of silver."""
        self._lake.show(self._after(), self._models.layer("silver"))
        for model in models:
            self._engine.build(model)
            self._stage(model, None)
            self._lake.show(self._after(), [model])

    def _build_reached(self, models: Sequence[ModelSpec]) -> None:
        """Build what the changes of silver reach of gold and marts."""
        if self._after() == self._before:
            return
        found = reach(self._lake, self._before, self._after())
        shown: set[str] = set()
        for model in (model for model in models if model.scope == "linked"):
            read = [self._models.get(name) for name in model.depends_on]
            if not any(found.shows(each, self._models) for each in (model, *read)):
                continue  # nothing that was reached is in it, or could come into it
            show_reached(self._lake, found, (each for each in read if each.qualified not in shown))
            shown.update(model.depends_on)
            existing = self._existing(model, found.dts(model, self._models))
            if dts := self._engine.remake(model, existing):
                self._stage(model, dts)
            found = replace(found, after=self._after())
        for model in (model for model in models if model.scope == "day"):
            days = found.days(model.depends_on)
            self._lake.show(found.after, map(self._models.get, model.depends_on), days)
            self._engine.build(model)
            self._stage(model, days)
            found = replace(found, after=self._after())
        for model in (model for model in models if model.scope == "lake"):
            self._lake.show(self._after(), map(self._models.get, model.depends_on))
            self._engine.build(model)
            self._stage(model, None)

    def _after(self) -> Snapshot:
        return candidate(self._before, self._built.staged, self._built.removed)

    def _existing(self, model: ModelSpec, dts: Collection[str] | None = None) -> list[Path]:
        """Files of the published partitions that a build may start from: none if the entity is built anew."""
        if model.layer in {"silver", "links"} and model.entity in self._anew - self._thinned:
            return []
        partitions = self._before.get(model.qualified, {})
        return self._lake.files({dt: found for dt, found in partitions.items() if found.digest}, dts)

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

    def _stage(self, model: ModelSpec, touched: frozenset[str] | None) -> None:
        """Write the partitions whose content changed; `touched` are those that were built, None if all were."""
        published = self._before.get(model.qualified, {})
        built = self._engine.digests(model)
        if touched is not None and not built.keys() <= touched:
            raise ModelError(
                f"sql/{model.layer}/{model.name}.sql: partition_by must be the time of `created`, which never changes "
                "(silver), or keep to the model's scope (gold, marts); rows would be lost otherwise. Nothing was published."
            )
        dts = built.keys() | published.keys() if touched is None else touched
        self._built.removed += [(model.qualified, dt) for dt in sorted(dts - built.keys()) if dt in published]
        changed = {
            dt: found
            for dt, found in sorted(built.items())
            if dt not in published or (published[dt].digest, published[dt].rows) != (found.digest, found.rows)
        }
        self._built.staged += self._write(model, changed)
        if model.layer == "silver" and model.entity in self._thinned:
            self._note_lost(model, built)

    def _note_lost(self, model: ModelSpec, built: Mapping[str, PartitionDigest]) -> None:
        """Count what a damaged partition held and bronze did not bring back."""
        for dt, known in self._before.get(model.qualified, {}).items():
            back = built[dt].rows if dt in built else 0
            if not known.digest and back < known.rows:
                self._built.lost[f"{model.qualified} dt={dt}"] = known.rows - back

    def _write(self, model: ModelSpec, changed: Mapping[str, PartitionDigest]) -> list[StagedPartition]:
        """Write the partitions as Parquet and stage them."""
        scratch = self._storage.scratch()
        paths = {dt: scratch / f"{model.qualified}-{dt}.parquet" for dt in changed}
        staged: dict[str, StagedPartition] = {}

        def stage(dt: str) -> None:
            partition = Partition(
                key=layout.partition(model.layer, model.name, dt),
                rows=changed[dt].rows,
                bytes=paths[dt].stat().st_size,
                sha256=file_sha256(paths[dt]),
                digest=changed[dt].digest,
                unsettled=changed[dt].unsettled,
            )
            staged_key = layout.staged(self._run.run_id, self._run.epoch, model.qualified, dt)
            self._storage.adopt(paths[dt], staged_key)
            staged[dt] = StagedPartition(model.qualified, dt, staged_key, partition)

        with closing(self._engine.write(model, paths)) as written:
            each(stage, written)
        return [staged[dt] for dt in changed]


def _rows(snapshot: Snapshot, model: ModelSpec) -> int:
    return sum(partition.rows for partition in snapshot.get(model.qualified, {}).values() if partition.digest)
