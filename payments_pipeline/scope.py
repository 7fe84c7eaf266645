"""How far a change reaches: what must be read, built and audited again after it, and nothing else.

A row of a `linked` model depends only on the objects linked to its own, a row of a `day` model only on the same day's
partitions. So the rows of silver that differ, followed along the links of before and after, name every row that
can differ elsewhere; all others are as they were when they were audited.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from payments_pipeline.flow import EPOCH_DT, Snapshot
from payments_pipeline.lake import Lake
from payments_pipeline.transform.models import Models, ModelSpec


@dataclass(frozen=True, slots=True)
class Reach:
    """What a change from one snapshot to another reaches: by entity, the `dt`s where the reached objects are."""

    before: Snapshot
    after: Snapshot
    places: Mapping[str, frozenset[str]]

    def dts(self, model: ModelSpec, models: Models) -> frozenset[str]:
        """Where the reached rows of a silver or linked model can be."""
        if model.layer == "silver":
            return self.places.get(model.entity, frozenset())
        read = (models.get(name) for name in model.depends_on)
        found = frozenset().union(*(self.dts(each, models) for each in read))
        return frozenset({EPOCH_DT}) if found and model.partition_by is None else found

    def shows(self, model: ModelSpec, models: Models) -> bool:
        """Whether there is a partition in which reached rows of a silver or linked model can be."""
        return not self.dts(model, models).isdisjoint(self.after.get(model.qualified, {}))

    def days(self, models: Iterable[str]) -> frozenset[str]:
        """The `dt`s in which a partition of one of the models (qualified names) differs."""
        return frozenset(dt for model in models for dt in differing(self.before, self.after, model))


def differing(before: Snapshot, after: Snapshot, model: str) -> frozenset[str]:
    """The `dt`s of a model's partitions that were added, removed or replaced."""
    old, new = before.get(model, {}), after.get(model, {})
    return frozenset(dt for dt in old.keys() | new.keys() if old.get(dt) != new.get(dt))


def reach(lake: Lake, before: Snapshot, after: Snapshot) -> Reach:
    """Compare the silver of two snapshots and follow what differs along the links of both."""
    lake.engine.forget_changes()
    for model in lake.models.layer("silver"):
        note_changed(lake, before, after, model)
    for links in lake.models.links:
        old, new = before.get(links.qualified, {}), after.get(links.qualified, {})
        replaced = {month: part for month, part in old.items() if new.get(month) != part}
        lake.engine.show(links, [*lake.files(new), *lake.files(replaced)])
    return Reach(before, after, lake.engine.reach())


def note_changed(lake: Lake, before: Snapshot, after: Snapshot, model: ModelSpec) -> None:
    """Tell the engine which of the model's rows differ, reading no partition that is the same in both snapshots."""
    dts = differing(before, after, model.qualified)
    if dts:
        lake.bind(model)
        files = [lake.files(side.get(model.qualified, {}), dts) for side in (before, after)]
        lake.engine.note_changed(model, *files)


def show_reached(lake: Lake, found: Reach, models: Iterable[ModelSpec]) -> None:
    """Let SQL see of the models, as they are after the change, the reached rows only."""
    for model in models:
        lake.bind(model)
        partitions = found.after.get(model.qualified, {})
        lake.engine.show_reached(model, lake.files(partitions, found.dts(model, lake.models)))
