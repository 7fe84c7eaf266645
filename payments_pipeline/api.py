"""The library's face: the commands that a program calls, as functions."""

from __future__ import annotations

from datetime import datetime

from payments_pipeline import pipeline
from payments_pipeline.entities import ENTITIES
from payments_pipeline.flow import Quiet, Reporter
from payments_pipeline.inspect import Status, consistently, read_status, run_query
from payments_pipeline.maintenance import verify_lake
from payments_pipeline.session import execute, new_run_id, now, open_existing, open_for_reading
from payments_pipeline.settings import Settings
from payments_pipeline.state.manifest import Manifest, Request
from payments_pipeline.transform.engine import Result


def run_pipeline(
    settings: Settings,
    *,
    days: int | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    reporter: Reporter | None = None,
) -> Manifest:
    """Extract, build, audit and publish; afterwards the last `days` (1), or `start` (inclusive) to `end`, are covered.

    `start` and `end` are UTC; a naive one is taken as UTC. The run's id is `settings.run_id` or a new one.
    """
    request = Request.of(tuple(ENTITIES), days=days, start=start, end=end)
    return execute(settings, request, settings.run_id or new_run_id(), reporter or Quiet(), publish=True)


def rebuild(settings: Settings, *, accept_loss: bool = False, reporter: Reporter | None = None) -> Manifest:
    """Build silver and gold anew from all of bronze, audit and publish them.

    `CorruptObject` if rows whose bronze retention has removed were in a damaged file, unless `accept_loss`.
    """
    run_id = settings.run_id or new_run_id()
    with open_existing(settings, now, reporter or Quiet()) as lake, pipeline.opened(lake, run_id) as opened:
        return pipeline.build_and_publish(
            lake,
            opened,
            max_quarantine_share=settings.max_quarantine_share,
            rebuild=True,
            accept_loss=accept_loss,
        ).manifest


def query(settings: Settings, sql: str) -> Result:
    """The answer to `sql` over what is published: a view `<layer>.<model>` for every model."""
    with open_for_reading(settings) as lake:
        return run_query(lake, sql)


def status(settings: Settings) -> Status:
    """The lake's coverage, freshness and last runs."""
    with open_for_reading(settings) as lake:
        return read_status(lake.storage, now())


def verify(settings: Settings) -> int:
    """How many objects were found as recorded; `CorruptObject` if any is not, `StorageError` if a publish is unfinished."""
    with open_for_reading(settings) as lake:
        return consistently(lake, lambda: verify_lake(lake))
