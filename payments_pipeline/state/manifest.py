"""One run's record: what it fetched, built, checked and published."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import ClassVar, Literal, Self

import msgspec
import pydantic

from payments_pipeline import layout
from payments_pipeline.entities import EVENTS
from payments_pipeline.errors import LeaseError, ObjectMissing, UsageError
from payments_pipeline.flow import BronzePart, CheckResult, EntityCounts, StagedPartition
from payments_pipeline.layout import part_epoch
from payments_pipeline.state.documents import Document, load, replace, unpacked
from payments_pipeline.storage import ABSENT, Storage
from payments_pipeline.storage.parallel import each

Outcome = Literal["started", "extracted", "transformed", "refused", "published"]


class Request(pydantic.BaseModel):
    """What a run was asked to fetch; a `RUN_ID` may be used again for the same request only.

    A `backfill` fetches only what is missing; any other run also reads again what may have changed.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")
    entities: tuple[str, ...]
    days: int | None = None
    start: int | None = None
    end: int | None = None
    backfill: bool = False

    @classmethod
    def of(
        cls, entities: tuple[str, ...], *, days: int | None, start: datetime | None, end: datetime | None
    ) -> Self:
        """The last `days` (1 if nothing is said), or from `start` (inclusive) to `end` (exclusive, or now).

        A time without a zone is UTC. `UsageError` if the window makes no sense.
        """
        if days is not None and (start is not None or end is not None):
            raise UsageError(
                "days (--days) and a window (--from, --to) exclude each other; give one of them. Nothing was fetched."
            )
        if days is not None and days < 1:
            raise UsageError(f"{days} days are no window; ask for 1 or more. Nothing was fetched.")
        if start is None:
            if end is not None:
                raise UsageError("an end (--to) needs a beginning (--from). Nothing was fetched.")
            return cls(entities=entities, days=days or 1)
        if end is not None and _seconds(start) >= _seconds(end):
            raise UsageError(
                f"the beginning (--from) {start} is not before the end (--to) {end}. Nothing was fetched."
            )
        return cls(entities=entities, start=_seconds(start), end=None if end is None else _seconds(end))

    @property
    def follows(self) -> bool:
        """Whether every event up to the run's ceiling is read, and what they name: a backfill leaves that to others."""
        return EVENTS in self.entities and not self.backfill

    def described(self) -> str:
        """The request in words."""
        asked = [f"last {self.days} day(s)"] if self.days else []
        bounds = (("from", self.start), ("to", self.end))
        asked += [
            f"{word} {datetime.fromtimestamp(second, UTC):%Y-%m-%d %H:%M:%S}"
            for word, second in bounds
            if second
        ]
        return f"{'backfill of ' if self.backfill else ''}{', '.join(self.entities)}: {' '.join(asked)}"


class EntityExtract(pydantic.BaseModel):
    """What was landed of one entity; `windows` are the half-open `created` intervals that were listed to the end."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")
    windows: tuple[tuple[int, int], ...] = ()
    listed: int = 0
    retrieved: int = 0
    absent: int = 0
    quarantined: int = 0


class Extract(pydantic.BaseModel):
    """The extraction step; `finished_at` None: some windows are still to be fetched, the parts named are committed.

    `relisted` says why everything covered was listed again, if it was. `expired` are the parts and quarantine that
    retention has removed: silver holds what they told, no build reads them again and nobody misses them. `webhooks`
    are the parts of received events whose objects the run has retrieved.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")
    finished_at: datetime | None = None
    seconds: float = 0.0
    entities: dict[str, EntityExtract] = {}
    parts: tuple[BronzePart, ...] = ()
    quarantine: tuple[BronzePart, ...] = ()
    expired: tuple[BronzePart, ...] = ()
    webhooks: tuple[BronzePart, ...] = ()
    calls: int = 0
    retries: int = 0
    failures: int = 0
    relisted: str | None = None


class Transform(pydantic.BaseModel):
    """The build step: what went in, and what waits in staging.

    `consumed` are the runs whose bronze is new to silver; entities in `anew` were built from all bronze, that of
    the runs `from_runs`. `whole` tells that gold was built from all of silver, not from what changed. `based_on` is
    the run whose publication the result was merged into, `versions` gives the version of each model's SQL by
    qualified name. `epoch` is that of the lease under which it was built; who finishes its publication has another.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")
    epoch: int | None = None
    finished_at: datetime
    seconds: float
    consumed: tuple[str, ...]
    anew: tuple[str, ...]
    from_runs: tuple[str, ...]
    whole: bool = True
    based_on: str | None
    versions: dict[str, str]
    counts: dict[str, EntityCounts]
    staged: tuple[StagedPartition, ...]
    removed: tuple[tuple[str, str], ...]
    digest: str


class Quality(pydantic.BaseModel):
    """The audit step: every check that ran on the staged candidate, and a digest of them, `promises`."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")
    finished_at: datetime
    seconds: float
    checks: tuple[CheckResult, ...]
    promises: str | None = None
    passed: bool


class Publish(pydantic.BaseModel):
    """The publish step."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")
    finished_at: datetime
    written: int
    removed: int
    digest: str


class Transfer(pydantic.BaseModel):
    """Bytes of objects that one process read from the lake and wrote to it, up to its last step of the run."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")
    bytes_read: int
    bytes_written: int


class Manifest(Document):
    """One run, step by step; a step that has not happened is None. `epoch` is that of its last writer's lease.

    `transfers` are by the epoch of the process that made them: a run may be carried by several.
    """

    remedy: ClassVar[str] = "restore the file from a copy: it alone says which bronze this run has landed"

    run_id: str
    epoch: int
    started_at: datetime
    ceiling: int
    account: str | None = None
    livemode: bool | None = None
    world: dict[str, int | str] | None = None
    request: Request | None = None
    outcome: Outcome = "started"
    extract: Extract = Extract()
    transform: Transform | None = None
    quality: Quality | None = None
    publish: Publish | None = None
    transfers: dict[str, Transfer] = pydantic.Field(default_factory=dict)

    def rows(self) -> int:
        """Records this run landed in bronze."""
        return sum(part.rows for part in self.extract.parts)


def measured(storage: Storage, manifest: Manifest) -> Manifest:
    """The manifest with what went in and out of `storage` since it was opened, as its epoch's transfer."""
    traffic = storage.traffic
    mine = Transfer(bytes_read=traffic.bytes_read, bytes_written=traffic.bytes_written)
    return manifest.model_copy(update={"transfers": {**manifest.transfers, str(manifest.epoch): mine}})


def _seconds(moment: datetime) -> int:
    return int((moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp())


def find_manifest(storage: Storage, run_id: str | None) -> Manifest | None:
    """The manifest of a run, or None if there is none, or no run."""
    return None if run_id is None else load(storage, layout.manifest(run_id), Manifest)[0]


def read_manifest(storage: Storage, run_id: str) -> Manifest:
    """The manifest of a run that must exist."""
    found = find_manifest(storage, run_id)
    if found is None:
        raise ObjectMissing(
            f"run {run_id!r} has no manifest in {storage.url}; "
            f"'payments-pipeline status' lists the runs that this lake knows."
        )
    return found


def read_manifests(storage: Storage, run_ids: Iterable[str]) -> dict[str, Manifest]:
    """The manifests of runs that must exist, in the order of the ids; they are read side by side."""
    ids = list(dict.fromkeys(run_ids))
    read: dict[str, Manifest] = {}

    def look(run_id: str) -> None:
        read[run_id] = read_manifest(storage, run_id)

    each(look, ids)
    return {run_id: read[run_id] for run_id in ids}


def all_runs(storage: Storage) -> tuple[str, ...]:
    """Every run that has a manifest."""
    return tuple(layout.run_id_of(info.key) for info in storage.list(layout.MANIFESTS))


def check_same_request(manifest: Manifest, request: Request) -> None:
    """`UsageError` if `manifest`'s run was asked for something else."""
    if manifest.request is not None and manifest.request != request:
        raise UsageError(
            f"RUN_ID {manifest.run_id!r} was used on {manifest.started_at:%Y-%m-%d %H:%M} UTC for another request "
            f"({manifest.request.described()}); nothing was done. Use a new RUN_ID, or the same arguments to continue that run."
        )


def published_until(runs: Iterable[Manifest]) -> dict[str, int]:
    """For each run of which something is published, the last epoch whose bronze is: what it landed later, when it went on, waits."""
    until: dict[str, int] = {}
    for run in runs:
        if run.publish is None or run.transform is None:
            continue
        step = run.transform
        built = run.epoch if step.epoch is None else step.epoch  # another process may have published it
        for name in step.consumed:
            until[name] = max(until.get(name, 0), built)
    return until


def published_parts(runs: Mapping[str, Manifest], *, since: float = 0) -> list[BronzePart]:
    """The bronze that is in what is published, as far as retention has left it; of runs that began at `since` or later.

    That is a Unix second of the source's clock.
    """
    until = published_until(runs.values())
    return [
        part
        for name, run in runs.items()
        if run.ceiling >= since
        for part in run.extract.parts
        if part_epoch(part.key) <= until.get(name, -1)
    ]


def rejecting(runs: Iterable[Manifest]) -> frozenset[str]:
    """The entities of which a build has sent lines of bronze to quarantine."""
    counted = (run.transform.counts.items() for run in runs if run.transform)
    return frozenset(name for counts in counted for name, count in counts if count.quarantined)


def write_manifest(storage: Storage, manifest: Manifest) -> None:
    """Replace the run's manifest; `LeaseError` if a later holder of the lake has written it."""
    key = layout.manifest(manifest.run_id)
    data, version = storage.read_versioned(key)
    if version != ABSENT and msgspec.json.decode(unpacked(data), type=_Sealed).body.epoch > manifest.epoch:
        raise LeaseError(
            f"run {manifest.run_id!r} goes on in another process, which has taken over {storage.url}; "
            "this one wrote nothing more. Run again."
        )
    replace(storage, key, manifest, expected=version)


class _Epoch(msgspec.Struct):
    epoch: int


class _Sealed(msgspec.Struct):
    """As much of a manifest as tells who wrote it last: reading more would cost a long run much."""

    body: _Epoch
