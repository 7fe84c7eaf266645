"""Which bronze a build reads."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from payments_pipeline import layout
from payments_pipeline.flow import BronzePart
from payments_pipeline.state.head import known_runs
from payments_pipeline.state.manifest import read_manifest
from payments_pipeline.storage import Storage


def parts_of(storage: Storage, run_ids: Sequence[str]) -> list[BronzePart]:
    """The committed bronze parts of these runs, in their order."""
    return [part for run_id in run_ids for part in read_manifest(storage, run_id).extract.parts]


def finished_of(storage: Storage, pending: Sequence[str]) -> tuple[str, ...]:
    """The pending runs that may go into silver: up to the last whose extraction ended.

    What an interrupted run began (an event read, its object not yet) is completed by the next extraction;
    until then its bronze must wait, or its events would count as dealt with.
    """
    ended = [
        index for index, run_id in enumerate(pending) if read_manifest(storage, run_id).extract.finished_at
    ]
    return tuple(pending[: ended[-1] + 1]) if ended else ()


def parts_to_read(
    storage: Storage, consumed: Sequence[str], from_runs: Sequence[str], anew: Collection[str]
) -> list[BronzePart]:
    """What a build reads: all bronze of the entities built anew, of the others what is new."""
    return [
        *(part for part in parts_of(storage, from_runs) if part.entity in anew),
        *(part for part in parts_of(storage, consumed) if part.entity not in anew),
    ]


def thinned_entities(storage: Storage) -> frozenset[str]:
    """The entities of which retention has removed bronze."""
    return frozenset(
        part.entity
        for run_id in known_runs(storage)
        for part in read_manifest(storage, run_id).extract.expired
        if part.key.startswith(layout.BRONZE)
    )
