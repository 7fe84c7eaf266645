"""Retention: which old bronze, quarantine and staged builds the manifests name no more, so that `gc` removes them.

Silver stands on what it holds: no bronze is forgotten before a publication has merged it, and a later rebuild keeps
the rows that have no bronze any more. What goes is the history of states, and the means to make damaged silver again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from payments_pipeline.build import outdated
from payments_pipeline.errors import StorageError
from payments_pipeline.lake import Lake, VerifiedFiles
from payments_pipeline.state.head import known_runs, read_head
from payments_pipeline.state.manifest import Manifest, find_manifest, read_manifests, write_manifest
from payments_pipeline.state.snapshot import snapshot_of
from payments_pipeline.storage import Storage


@dataclass(frozen=True, slots=True)
class Retention:
    """Days to keep something, counted from the beginning of its run; None keeps it for good.

    `staging` is what a run has staged that was refused, or still waits for its audit.
    """

    bronze: int | None = None
    quarantine: int | None = None
    staging: int | None = None


def forget(lake: Lake, retention: Retention, *, dry_run: bool) -> set[str]:
    """The keys that manifests named and, unless it is a `dry_run`, name no more: what is older than `retention` says.

    Call it under the lease, unless it is a `dry_run`. `StorageError` (and nothing forgotten) if silver could not do without the bronze.
    """
    now, storage = lake.clock(), lake.storage
    runs = [*read_manifests(storage, known_runs(storage)).values()]
    waiting = awaiting_audit(storage)
    unstaged = {run.run_id for run in waiting if _is_old(run, now, retention.staging)}
    free = _free(storage, runs, [run for run in waiting if run.run_id not in unstaged])
    bronze = _superseded(runs, {name for name in free if _is_old(free[name], now, retention.bronze)})
    if any(free[name].extract.parts for name in bronze):
        _check_silver(lake)
    quarantine = {name for name in free if _is_old(free[name], now, retention.quarantine)}
    forgotten: set[str] = set()
    for run in runs:
        left = _without_parts(run, bronze=run.run_id in bronze, quarantine=run.run_id in quarantine)
        if run.run_id in unstaged:
            outcome = "extracted" if run.extract.finished_at else "started"
            left = left.model_copy(update={"transform": None, "quality": None, "outcome": outcome})
        if left != run:
            forgotten |= _named(run) - _named(left)
            if not dry_run:
                write_manifest(storage, left)
    return forgotten


def awaiting_audit(storage: Storage) -> list[Manifest]:
    """Runs whose staged build may still be published: no other has been published since it was made."""
    head = read_head(storage)
    staged = (line.run_id for line in head.runs if line.outcome in {"transformed", "refused"})
    found = read_manifests(storage, staged).values()
    return [run for run in found if run.transform is not None and run.transform.based_on == head.published]


def _free(storage: Storage, runs: Sequence[Manifest], waiting: Sequence[Manifest]) -> Mapping[str, Manifest]:
    """The runs that some publication has merged, and that no pending or staged build is to read again."""
    needed = set(read_head(storage).pending)
    for run in waiting:
        assert run.transform is not None, "only what was built waits for its audit"
        needed |= {*run.transform.consumed, *run.transform.from_runs}
    merged = _merged_at(runs)
    return {run.run_id: run for run in runs if run.run_id in merged and run.run_id not in needed}


def _merged_at(runs: Sequence[Manifest]) -> Mapping[str, datetime]:
    """When each run's bronze was last merged into what was then published."""
    published = sorted((run for run in runs if run.publish is not None), key=lambda run: run.epoch)
    return {
        name: run.transform.finished_at
        for run in published
        if run.transform
        for name in run.transform.consumed
    }


def _superseded(runs: Sequence[Manifest], old: Collection[str]) -> set[str]:
    """The old runs that observed nothing after a run that stays began.

    A run that was continued later has newer observations than its age tells: it goes together with those that it
    overtook, so that what stays of an object is always its newest state.
    """
    merged, going = _merged_at(runs), set(old)
    while True:
        stays = [run.started_at for run in runs if run.extract.parts and run.run_id not in going]
        first = min(stays, default=None)
        late = {
            run.run_id
            for run in runs
            if run.run_id in going and first and (run.extract.finished_at or merged[run.run_id]) > first
        }
        if not late:
            return going
        going -= late


def _check_silver(lake: Lake) -> None:
    """Bronze is the only source to make silver again: it may go only while silver is whole, and up to date."""
    latest = lake.latest()
    last = find_manifest(lake.storage, read_head(lake.storage).published)
    if stale := set(lake.models.entities(outdated(lake, latest, last))):
        raise StorageError(
            f"the models of {', '.join(sorted(stale))} have changed since silver was built, and the next run builds "
            "them anew from bronze: run the pipeline first, then forget bronze. Nothing was removed."
        )
    snapshot = snapshot_of(latest)
    VerifiedFiles(lake.storage).fetch(
        partition
        for model in lake.models.layer("silver")
        for partition in snapshot.get(model.qualified, {}).values()
    )


def _without_parts(run: Manifest, *, bronze: bool, quarantine: bool) -> Manifest:
    extract = run.extract
    received = (*extract.parts, *extract.webhooks)
    gone = (*(received if bronze else ()), *(extract.quarantine if quarantine else ()))
    changes = {
        "parts": () if bronze else extract.parts,
        "webhooks": () if bronze else extract.webhooks,
        "quarantine": () if quarantine else extract.quarantine,
        "expired": (*extract.expired, *gone),
    }
    return run.model_copy(update={"extract": extract.model_copy(update=changes)}) if gone else run


def _named(run: Manifest) -> set[str]:
    staged = run.transform.staged if run.transform is not None and run.publish is None else ()
    parts = (*run.extract.parts, *run.extract.quarantine, *run.extract.webhooks)
    return {*(part.key for part in parts), *(entry.staged_key for entry in staged)}


def _is_old(run: Manifest, now: datetime, days: int | None) -> bool:
    return days is not None and run.started_at <= now - timedelta(days=days)
