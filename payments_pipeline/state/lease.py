"""One writer per lake: a lease with an expiry and a fencing epoch."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import ClassVar, Self

from payments_pipeline import layout
from payments_pipeline.errors import LeaseError, StorageError, VersionConflict
from payments_pipeline.flow import Clock
from payments_pipeline.state.documents import Document, load
from payments_pipeline.state.manifest import all_runs, read_manifests
from payments_pipeline.storage import Storage

TTL_SECONDS = 60.0
_SKEW = timedelta(minutes=5)
"""By so much the clocks of two machines may differ."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who asks for the lease: the run and the process that carries it."""

    run_id: str
    host: str
    pid: int


class LeaseRecord(Document):
    """The lease as stored; `expires_at` None means released. `epoch` only grows."""

    remedy: ClassVar[str] = (
        "be sure that no run is alive, then remove it: the next run goes on after the last epoch that the manifests name"
    )

    epoch: int
    run_id: str
    host: str
    pid: int
    since: datetime
    expires_at: datetime | None


class Lease:
    """The right to write to one lake, renewed in the background while the `with` block runs.

    `LeaseError` on entry if another living run holds it. A holder that was killed on this host is replaced at
    once, one elsewhere when its lease expires, or is not renewed for its time to live although the clock it was
    written by is far ahead of ours. `check` raises if the lease was lost to another run.
    """

    def __init__(self, storage: Storage, holder: Holder, clock: Clock, *, ttl: float = TTL_SECONDS) -> None:
        self._storage = storage
        self._holder = holder
        self._clock = clock
        self._ttl = timedelta(seconds=ttl)
        self._version = ""
        self._record: LeaseRecord | None = None
        self._lost: StorageError | None = None
        self._stop = threading.Event()
        self._renewer = threading.Thread(target=self._renew_until_stopped, daemon=True)

    @property
    def epoch(self) -> int:
        """The fencing token: greater than that of every earlier holder."""
        assert self._record is not None, "the lease is entered first"
        return self._record.epoch

    def __enter__(self) -> Self:
        current, version = load(self._storage, layout.LEASE, LeaseRecord)
        watched = None
        while current is not None and self._is_held(current) and version != watched:
            if watched is not None or not self._is_from_ahead(current):
                raise LeaseError(
                    f"run {current.run_id} (host {current.host}, process {current.pid}) holds the lake "
                    f"{self._storage.url} since {current.since:%Y-%m-%d %H:%M:%S} UTC. Nothing was changed; "
                    "wait for it to finish, then run again."
                )
            watched = version
            self._stop.wait(self._ttl.total_seconds())  # whoever is alive renews it by then
            current, version = load(self._storage, layout.LEASE, LeaseRecord)
        epoch = (current.epoch if current is not None else _last_epoch(self._storage)) + 1
        now = self._clock()
        record = LeaseRecord(
            epoch=epoch,
            run_id=self._holder.run_id,
            host=self._holder.host,
            pid=self._holder.pid,
            since=now,
            expires_at=now + self._ttl,
        )
        try:
            self._write(record, version)
        except VersionConflict as error:
            raise LeaseError(
                f"another run took the lake {self._storage.url} at the same moment; nothing was changed."
            ) from error
        self._renewer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._renewer.join()
        if self._lost is None and self._record is not None:
            try:
                self._write(self._record.model_copy(update={"expires_at": None}), self._version)
            except StorageError:
                if kind is None:
                    raise

    def check(self) -> None:
        """`LeaseError` if the lease could not be kept; what is published stays as it is."""
        if self._lost is not None:
            raise LeaseError(
                f"run {self._holder.run_id} lost its lease on {self._storage.url} ({self._lost}); "
                "it published nothing after that. Run again."
            ) from self._lost

    def _write(self, record: LeaseRecord, version: str) -> None:
        self._version = self._storage.swap(layout.LEASE, record.sealed(), expected=version)
        self._record = record

    def _renew_until_stopped(self) -> None:
        while not self._stop.wait(self._ttl.total_seconds() / 3):
            assert self._record is not None
            try:
                self._write(
                    self._record.model_copy(update={"expires_at": self._clock() + self._ttl}), self._version
                )
            except StorageError as error:
                self._lost = error
                return

    def _is_held(self, record: LeaseRecord) -> bool:
        if record.expires_at is None or record.expires_at <= self._clock():
            return False
        return record.host != self._holder.host or _is_alive(record.pid)

    def _is_from_ahead(self, record: LeaseRecord) -> bool:
        """Whether it seems to last longer than any lease does, so that no clock can be asked whether it has ended."""
        return record.expires_at is not None and record.expires_at > self._clock() + self._ttl + _SKEW


def _last_epoch(storage: Storage) -> int:
    """The epoch of the last run that wrote a manifest: where a lost lease goes on."""
    return max((run.epoch for run in read_manifests(storage, all_runs(storage)).values()), default=0)


def _is_alive(pid: int) -> bool:
    """Whether a process of this host with that id runs; a reused id only means waiting for the expiry."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
