"""The values that cross a boundary between modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Literal, Protocol

Source = Literal["list", "retrieve", "absent"]
"""How an object was observed: in a list, by id, or by a 404 for its id."""

Clock = Callable[[], datetime]
"""The current time, timezone-aware UTC; made in `session`, an argument everywhere else."""

EPOCH_DT = "1970-01-01"
"""The partition of rows whose event time is unknown."""


@dataclass(frozen=True, slots=True)
class RunContext:
    """One run: its identity, its lease's epoch and its frozen ceiling.

    `ceiling` is the source's own time when the run began (Unix seconds, exclusive upper bound of `created`), `now`
    that when this process took it up: later, if the run was begun before.
    """

    run_id: str
    epoch: int
    started_at: datetime
    ceiling: int
    now: int = 0

    @property
    def ingest_date(self) -> date:
        """UTC date under which this run's bronze lies."""
        return self.started_at.astimezone(UTC).date()


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """Half-open interval `[start, end)` of `created`, Unix seconds."""

    start: int
    end: int

    def __bool__(self) -> bool:
        return self.start < self.end


@dataclass(frozen=True, slots=True)
class Page:
    """What one API call returned: the JSON text of each record exactly as received, newest first.

    `deleted_at` (Unix seconds) is set on the page of a deleted object if an event told when.
    """

    entity: str
    source: Source
    observed_at: datetime
    request_id: str
    api_version: str
    records: tuple[bytes, ...]
    deleted_at: int | None = None


@dataclass(frozen=True, slots=True)
class BronzePart:
    """One committed append-only object. `schema` names the declared columns its records were checked against."""

    entity: str
    key: str
    rows: int
    bytes: int
    sha256: str
    schema: str


@dataclass(frozen=True, slots=True)
class Partition:
    """One published Parquet file: `digest` covers its rows' business columns, `sha256` its bytes.

    `unsettled` counts the rows that may yet change without an event saying so; None where nobody counted.
    """

    key: str
    rows: int
    bytes: int
    sha256: str
    digest: str
    unsettled: int | None = None


@dataclass(frozen=True, slots=True)
class StagedPartition:
    """A partition written but not yet published; `staged_key` is where its bytes lie until then."""

    model: str
    dt: str
    staged_key: str
    partition: Partition


Snapshot = Mapping[str, Mapping[str, Partition]]
"""Qualified model name → `dt` → the partition that readers (or, for a candidate, the gates) see."""


@dataclass(frozen=True, slots=True)
class EntityCounts:
    """Where the lines of one entity went: `received == current + superseded + quarantined`.

    `before` and `after` are the silver rows, `inserted` the objects that silver did not hold, counted before the merge.
    """

    received: int
    current: int
    superseded: int
    quarantined: int
    before: int
    inserted: int
    after: int


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One gate's verdict. `sample` shows a few bad rows with ids masked."""

    name: str
    model: str
    severity: Literal["fail", "warn"]
    bad_rows: int
    sample: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return self.bad_rows == 0


class Reporter(Protocol):
    """Hears what a run does, to log it or to draw progress bars; must be thread-safe."""

    def event(self, name: str, **fields: object) -> None:
        """Something worth a log line happened."""

    def progress(self, entity: str, records: int) -> None:
        """`records` more objects of `entity` were landed."""


class Quiet:
    """A reporter that says nothing."""

    def event(self, name: str, **fields: object) -> None:
        """Say nothing."""

    def progress(self, entity: str, records: int) -> None:
        """Say nothing."""


@dataclass(slots=True)
class CallCounts:
    """What talking to the API has cost so far."""

    calls: int = 0
    retries: int = 0
    failures: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
