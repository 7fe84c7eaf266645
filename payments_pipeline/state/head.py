"""The head of a lake: its identity and its one commit record, changed only by compare-and-swap."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import datetime

import pydantic

from payments_pipeline import layout
from payments_pipeline.errors import LeaseError, UsageError, VersionConflict
from payments_pipeline.state.documents import Document, load
from payments_pipeline.state.lease import Lease
from payments_pipeline.state.manifest import Manifest, all_runs, published_until, read_manifests
from payments_pipeline.storage import Storage

_REMEMBERED_RUNS = 50


class RunLine(pydantic.BaseModel):
    """One line of the lake's run history."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")
    run_id: str
    outcome: str
    at: datetime
    rows: int

    @classmethod
    def of(cls, manifest: Manifest, at: datetime) -> RunLine:
        """The run as its manifest stands."""
        return cls(run_id=manifest.run_id, outcome=manifest.outcome, at=at, rows=manifest.rows())


class Head(Document):
    """What is committed. Bronze counts from the moment its run is in `pending`; gold is `published`'s.

    `publishing` names the run whose staged partitions are being moved into place: whoever finds it set
    finishes that first. `world` describes the simulated account this lake was filled from, if it was.
    """

    lake_id: str
    account: str | None = None
    livemode: bool | None = None
    world: dict[str, int | str] | None = None
    epoch: int = 0
    pending: tuple[str, ...] = ()
    publishing: str | None = None
    published: str | None = None
    runs: tuple[RunLine, ...] = ()

    def noted(self, line: RunLine) -> Head:
        """The head with this run at the end of its history."""
        others = [run for run in self.runs if run.run_id != line.run_id]
        return self.model_copy(update={"runs": tuple([*others, line][-_REMEMBERED_RUNS:])})


def read_head(storage: Storage) -> Head:
    """The lake's head; that of an empty lake if nothing was ever committed, made again if its file is lost."""
    return load(storage, layout.HEAD, Head)[0] or _remade(storage)


def known_runs(storage: Storage) -> tuple[str, ...]:
    """Every run that has a manifest by the listing, or by the head: a store whose listings lag hides none of the last."""
    head = read_head(storage)
    return tuple(sorted({*all_runs(storage), *head.pending, *(run.run_id for run in head.runs)}))


def still_shown(storage: Storage, head: Head) -> bool:
    """Whether all that was read since `head` was is of one publication: nobody was publishing, or has begun to since.

    `published` alone does not say so: it changes last, when the lists of partitions have changed one by one.
    """
    now = read_head(storage)
    return head.publishing is None and (now.published, now.publishing) == (head.published, None)


def commit(storage: Storage, lease: Lease, change: Callable[[Head], Head]) -> Head:
    """Change the head as the lease's holder: all or nothing.

    `LeaseError` if a newer epoch has written since: this run was overtaken and changes nothing.
    """
    lease.check()
    found, version = load(storage, layout.HEAD, Head)
    head = found or _remade(storage)
    if not head.lake_id:
        head = head.model_copy(update={"lake_id": uuid.uuid4().hex})
    if head.epoch > lease.epoch:
        raise LeaseError(
            f"a newer run (epoch {head.epoch}) has taken over {storage.url}; this one (epoch {lease.epoch}) "
            "committed nothing. Run again."
        )
    changed = change(head).model_copy(update={"epoch": lease.epoch})
    if changed == found:
        return changed
    try:
        storage.swap(layout.HEAD, changed.sealed(), expected=version)
    except VersionConflict as error:
        raise LeaseError(
            f"another run committed to {storage.url} at the same moment; this one committed nothing. Run again."
        ) from error
    return changed


def fence(storage: Storage, lease: Lease) -> None:
    """Put the lease's epoch into the head: earlier holders can commit no more. `LeaseError` if a newer one has."""
    commit(storage, lease, lambda head: head)


def claim(
    storage: Storage,
    lease: Lease,
    account: str | None,
    world: Mapping[str, int | str] | None = None,
    *,
    livemode: bool | None = None,
) -> Head:
    """Bind the lake to its account and mode, and its head to the lease's epoch: earlier holders can no longer commit.

    `UsageError` if the lake holds another account's data, or test data for a live key and the other way round.
    """

    def identified(head: Head) -> Head:
        check_key(storage, head, account, livemode=livemode)
        return head.model_copy(
            update={
                "account": head.account or account,
                "livemode": livemode if head.livemode is None else head.livemode,
                "world": head.world or (dict(world) if world else None),
            }
        )

    return commit(storage, lease, identified)


def check_key(storage: Storage, head: Head, account: str | None, *, livemode: bool | None) -> None:
    """`UsageError` if a key of that account and mode reads other data than the lake holds."""
    if None not in {head.account, account} and head.account != account:
        raise UsageError(
            f"lake {storage.url} holds data of account {head.account}, but the key belongs to {account}. "
            "Nothing was read or written; use another lake (LOCAL_DATA_DIR), or the other account's key."
        )
    if None not in {head.livemode, livemode} and head.livemode != livemode:
        kinds = ("live", "test") if head.livemode else ("test", "live")
        raise UsageError(
            f"lake {storage.url} holds {kinds[0]} data, but the key reads {kinds[1]} data. "
            "Nothing was read or written; use another lake (LOCAL_DATA_DIR), or the other key."
        )


def _remade(storage: Storage) -> Head:
    """The head that the manifests imply: bronze that no published run consumed is pending."""
    runs = sorted(read_manifests(storage, all_runs(storage)).values(), key=lambda run: run.epoch)
    published = [run for run in runs if run.publish is not None]
    until = published_until(runs)
    last = runs[-1] if runs else None
    passed = last is not None and last.quality is not None and last.quality.passed
    return Head(
        lake_id="",
        account=next((run.account for run in reversed(runs) if run.account), None),
        livemode=next((run.livemode for run in reversed(runs) if run.livemode is not None), None),
        world=next((run.world for run in reversed(runs) if run.world), None),
        pending=tuple(
            run.run_id
            for run in runs
            if any(layout.part_epoch(part.key) > until.get(run.run_id, -1) for part in run.extract.parts)
        ),
        publishing=last.run_id if last is not None and passed and last.publish is None else None,
        published=published[-1].run_id if published else None,
        runs=tuple(RunLine.of(run, _last_seen(run)) for run in runs)[-_REMEMBERED_RUNS:],
    )


def _last_seen(run: Manifest) -> datetime:
    """When the run last wrote, as far as its manifest tells."""
    steps = (run.extract, run.transform, run.publish)
    return max([run.started_at, *(step.finished_at for step in steps if step and step.finished_at)])
