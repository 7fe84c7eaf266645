"""Looks at a lake without changing it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from payments_pipeline.build import model_version
from payments_pipeline.entities import ENTITIES
from payments_pipeline.errors import PipelineError, StorageError, UsageError
from payments_pipeline.flow import Window
from payments_pipeline.lake import Lake
from payments_pipeline.state.coverage import Coverage, read_coverage
from payments_pipeline.state.head import RunLine, read_head, still_shown
from payments_pipeline.storage import Storage
from payments_pipeline.transform.engine import Result
from payments_pipeline.webhooks.books import Standing, standing
from payments_pipeline.webhooks.reconcile import show_reconciliation

_T = TypeVar("_T")
_READS, _PAUSE_SECONDS = 50, 0.1
_ASKED = {"silver", "gold", "marts", "information_schema", "pg_catalog", "main"}
"""The schemas that a question may name: what is read, and DuckDB's own."""


@dataclass(frozen=True, slots=True)
class CoverageLine:
    """What is known of one entity; times are UTC, `behind` is how old the watermark is."""

    entity: str
    since: str | None
    watermark: str | None
    behind: str | None
    gaps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """A lake at a glance; runs newest first."""

    url: str
    account: str | None
    published: str | None
    publishing: str | None
    pending: tuple[str, ...]
    coverage: tuple[CoverageLine, ...]
    runs: tuple[RunLine, ...]
    webhooks: Standing | None = None

    def as_json(self) -> dict[str, object]:
        """The same as JSON values."""
        return {
            "lake": self.url,
            "account": self.account,
            "published": self.published,
            "publishing": self.publishing,
            "pending": list(self.pending),
            "coverage": [asdict(line) for line in self.coverage],
            "runs": [line.model_dump(mode="json") for line in self.runs],
            "webhooks": asdict(self.webhooks) if self.webhooks else None,
        }


def read_status(storage: Storage, now: datetime) -> Status:
    """The lake's coverage, freshness and last runs."""
    head, coverage = read_head(storage), read_coverage(storage, ENTITIES)
    return Status(
        url=storage.url,
        account=head.account,
        published=head.published,
        publishing=head.publishing,
        pending=head.pending,
        coverage=tuple(_coverage_line(coverage[name], now) for name in ENTITIES),
        runs=tuple(reversed(head.runs)),
        webhooks=standing(storage),
    )


def run_query(
    lake: Lake, sql: str, *, whole_below: int = 2**20, sleep: Callable[[float], None] = time.sleep
) -> Result:
    """The answer to `sql` over one publication, all of it; asked again if a run published meanwhile.

    Only files of models that it names are read. Of a lake that is elsewhere, only files that its filters leave are
    fetched, and of those from `whole_below` bytes on only columns that it needs: for a smaller one, one request more
    would take as long as the whole. `StorageError` if a run keeps publishing, or was killed while it did.
    """
    try:
        sql.encode()
    except UnicodeEncodeError as error:
        raise UsageError("the query is no text in UTF-8; nothing was run.") from error

    named = lake.engine.named_in(sql)
    if hidden := sorted(name for name in named or () if name.partition(".")[0] not in _ASKED):
        raise UsageError(
            f"the query names {', '.join(hidden)}: questions see silver, gold and marts only, "
            "'payments-pipeline models list' has their names; nothing was run."
        )

    def answer() -> Result:
        with showing(lake, named, whole_below):
            if "webhook_reconciliation" in sql.lower():
                show_reconciliation(lake)
            return lake.engine.query(sql)

    return consistently(lake, answer, sleep=sleep)


def consistently(
    lake: Lake,
    read: Callable[[], _T],
    *,
    within: Callable[[], AbstractContextManager[object]] = nullcontext,
    sleep: Callable[[float], None] = time.sleep,
) -> _T:
    """What `read` makes of one publication; called again if a run published meanwhile.

    Each call is inside a new `within()`, which is left by an error unless the answer counts: a transaction will do.
    `StorageError` if a run keeps publishing, or was killed while it did.
    """
    for _ in range(_READS):
        before = read_head(lake.storage)
        if before.publishing is None:
            try:
                with within():
                    answer = read()
                    if still_shown(lake.storage, before):
                        return answer
                    raise _no_state(lake.storage)
            except (PipelineError, OSError):
                if still_shown(lake.storage, before):
                    raise
        sleep(_PAUSE_SECONDS)
    raise _no_state(lake.storage)


@contextmanager
def showing(lake: Lake, named: Collection[str] | None, whole_below: int) -> Iterator[None]:
    """Let SQL see what is published until the block ends, see `Lake.show_published` and `run_query`.

    What a lake elsewhere holds is fetched when a statement scans it.
    """
    remote = lake.storage.remote
    if remote is None:
        lake.show_published(named)
        yield
        return
    from payments_pipeline.excerpts import Excerpts  # noqa: PLC0415 - pyarrow's datasets take long to import

    latest = {name: listed for name, listed in lake.latest(named).items() if listed.partitions}
    with Excerpts(lake.storage, remote, lake.verified, whole_below) as excerpts:
        for model in lake.models.built:
            document = latest.get(model.qualified)
            if document is None:
                lake.engine.show(model, [])
            else:
                is_current = document.version == model_version(model, lake.engine)
                excerpts.show(lake.engine, model, document.partitions, pruned=is_current)
        yield


def _no_state(storage: Storage) -> StorageError:
    return StorageError(
        f"a run is publishing in {storage.url}, or was killed while it did: there is no complete state to read just "
        "now. Nothing was changed; ask again later: the next run finishes what was begun."
    )


def _coverage_line(coverage: Coverage, now: datetime) -> CoverageLine:
    windows = coverage.windows()
    mark = coverage.watermark
    return CoverageLine(
        entity=coverage.entity,
        since=_text(windows[0].start) if windows else None,
        watermark=_text(mark) if mark is not None else None,
        behind=str(timedelta(seconds=max(0, int(now.timestamp()) - mark))) if mark is not None else None,
        gaps=tuple(_gap(gap, coverage) for gap in coverage.gaps()),
    )


def _gap(gap: Window, coverage: Coverage) -> str:
    """The gap in words; one in events that were followed since is one in their record, and hides no change."""
    is_made_good = coverage.followed is not None and gap.end <= coverage.followed
    more = ", but every object was read since" if is_made_good else ""
    return f"{_text(gap.start)} to {_text(gap.end)}: never fetched{more}"


def _text(second: int) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%d %H:%M:%S}"
