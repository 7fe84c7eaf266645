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
from payments_pipeline.storage import Storage

_REMEMBERED_RUNS = 50


class RunLine(pydantic.BaseModel):
    """One line of the lake's run history."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")
    run_id: str
    outcome: str
    at: datetime
    rows: int


class Head(Document):
    """What is committed. Bronze counts from the moment its run is in `pending`; gold is `published`'s.

    `publishing` names the run whose staged partitions are being moved into place: whoever finds it set
    finishes that first. `world` describes the simulated account this lake was filled from, if it was.
    """

    lake_id: str
    account: str | None = None
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
    """The lake's head; that of an empty lake if nothing was ever committed."""
    return load(storage, layout.HEAD, Head)[0] or Head(lake_id="")


def commit(storage: Storage, lease: Lease, change: Callable[[Head], Head]) -> Head:
    """Change the head as the lease's holder: all or nothing.

    `LeaseError` if a newer epoch has written since: this run was overtaken and changes nothing.
    """
    lease.check()
    found, version = load(storage, layout.HEAD, Head)
    head = found or Head(lake_id=uuid.uuid4().hex)
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


def claim(storage: Storage, lease: Lease, account: str | None, world: Mapping[str, int | str] | None) -> Head:
    """Bind the lake to its account, and its head to the lease's epoch: earlier holders can no longer commit.

    `UsageError` if the lake holds another account's data.
    """

    def identified(head: Head) -> Head:
        if head.account is not None and account is not None and head.account != account:
            raise UsageError(
                f"lake {storage.url} holds data of account {head.account}, but the key belongs to {account}. "
                "Nothing was read or written; use another lake (LOCAL_DATA_DIR), or the other account's key."
            )
        return head.model_copy(
            update={
                "account": head.account or account,
                "world": head.world or (dict(world) if world else None),
            }
        )

    return commit(storage, lease, identified)
