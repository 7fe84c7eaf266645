"""Which bronze a build reads."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from payments_pipeline import layout
from payments_pipeline.flow import BronzePart
from payments_pipeline.layout import part_epoch
from payments_pipeline.state.manifest import Extract, Manifest, Transform, published_until


def parts_of(runs: Iterable[Manifest]) -> list[BronzePart]:
    """The committed bronze parts of these runs, in their order."""
    return [part for run in runs for part in run.extract.parts]


def finished_of(pending: Mapping[str, Manifest]) -> tuple[str, ...]:
    """The pending runs that may go into silver: up to the last whose extraction ended.

    What an interrupted run began (an event read, its object not yet) is completed by the next extraction;
    until then its bronze must wait, or its events would count as dealt with.
    """
    ended = [index for index, run in enumerate(pending.values()) if run.extract.finished_at]
    return tuple(pending)[: ended[-1] + 1] if ended else ()


def overtaken(runs: Iterable[Manifest], published: Manifest | None) -> frozenset[str]:
    """The entities of which these runs bring states that may be older than the published ones.

    They began before what is published was built. A merge is exact only in the order of observation: that an invoice
    had fewer lines by then, or that a deletion came before, is not to be seen in what silver has kept.
    """
    if published is None or published.transform is None:
        return frozenset()
    built_at = published.transform.finished_at
    return frozenset(part.entity for run in runs if run.started_at < built_at for part in run.extract.parts)


def parts_to_read(
    runs: Mapping[str, Manifest], consumed: Sequence[str], from_runs: Sequence[str], anew: Collection[str]
) -> list[BronzePart]:
    """What a build reads: all bronze of the entities built anew, of the others what is new.

    Of a run that is still to go on it is what was published, or is to be: none of it, as a rule.
    """
    until = published_until(runs.values())
    known = (
        part
        for name in from_runs
        for part in runs[name].extract.parts
        if runs[name].extract.finished_at or name in consumed or part_epoch(part.key) <= until.get(name, -1)
    )
    return [
        *(part for part in known if part.entity in anew),
        *(part for part in parts_of(runs[name] for name in consumed) if part.entity not in anew),
    ]


def gone_on(runs: Iterable[Manifest], build: Transform) -> list[str]:
    """Those of the runs whose extraction has gone on since the build that looked at them: it may lack what they tell now."""

    def is_newer(extract: Extract) -> bool:
        landed = [part_epoch(part.key) for part in (*extract.parts, *extract.quarantine)]
        ended = extract.finished_at is not None and extract.finished_at > build.finished_at
        return ended or (build.epoch is not None and max(landed, default=0) > build.epoch)

    return [run.run_id for run in runs if is_newer(run.extract)]


def thinned_entities(runs: Iterable[Manifest]) -> frozenset[str]:
    """The entities of which retention has removed bronze."""
    return frozenset(
        part.entity for run in runs for part in run.extract.expired if part.key.startswith(layout.BRONZE)
    )
