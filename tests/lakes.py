"""Small lakes of a few hand-written charges, built with the pipeline's own parts: what the tests of the core stand on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from payments_pipeline.bronze import Landed, PartNames, write_pages
from payments_pipeline.entities import ENTITIES
from payments_pipeline.flow import Page, Quiet, Source
from payments_pipeline.lake import Lake, VerifiedFiles
from payments_pipeline.pipeline import Run, check_and_publish, opened, transform
from payments_pipeline.state.head import RunLine, commit
from payments_pipeline.state.lease import Holder, Lease
from payments_pipeline.state.manifest import Extract, Manifest, write_manifest
from payments_pipeline.storage import LocalStorage, Storage
from payments_pipeline.transform.connection import EngineOptions
from payments_pipeline.transform.duckdb_engine import DuckDBEngine
from payments_pipeline.transform.models import discover

CREATED = 1_767_225_600
"""2026-01-01 00:00:00 UTC."""

DAY = 86_400

_COLUMNS = """
[columns]
charge_id = "c"
status = "s"
currency = "c"
amount_minor = "a"
created_at = "c"
is_deleted = "d"
deleted_at = "d"
_observed_at = "o"
"""

MODELS = {
    "silver/charges": f"""/*
description = "Charges."
grain = ["charge_id"]
partition_by = "created_at"
not_null = ["is_deleted"]
[accepted]
status = ["succeeded", "failed", "it's odd"]
{_COLUMNS}*/
select
    id as charge_id, status, currency, amount as amount_minor, make_timestamp(created * 1000000) as created_at,
    _is_deleted as is_deleted, _deleted_at as deleted_at, _observed_at
from bronze.charges
""",
    "silver/refunds": """/*
description = "Refunds."
grain = ["refund_id"]
partition_by = "created_at"
[references]
charge_id = "silver.charges.charge_id"
[columns]
refund_id = "r"
charge_id = "c"
currency = "c"
amount_minor = "a"
created_at = "c"
is_deleted = "d"
deleted_at = "d"
_observed_at = "o"
*/
select
    id as refund_id, charge as charge_id, currency, amount as amount_minor,
    make_timestamp(created * 1000000) as created_at,
    _is_deleted as is_deleted, _deleted_at as deleted_at, _observed_at
from bronze.refunds
""",
    "gold/fct_sales": """/*
description = "What was sold a day."
grain = ["day", "currency"]
partition_by = "day"
[columns]
day = "d"
currency = "c"
sold_minor = "s"
*/
select created_at::date as day, currency, sum(amount_minor)::bigint as sold_minor
from silver.charges where not is_deleted group by all
""",
    "checks/no_negative_sales": """/*
description = "Nothing is sold for less than nothing."
*/
select day from gold.fct_sales where sold_minor < 0
""",
    "checks/few_sales": """/*
description = "A million a day would be news."
severity = "warn"
*/
select day from gold.fct_sales where sold_minor > 1000000
""",
}
"""Two silver models, a fact and two checks: enough for every kind of gate, small enough to build in a moment."""

_MARKS = """
is_deleted = "d"
deleted_at = "d"
_observed_at = "o"
*/
"""
INVOICE_MODELS = {
    "silver/invoices": f"""/*
description = "Invoices."
grain = ["invoice_id"]
partition_by = "created_at"
[columns]
invoice_id = "i"
currency = "c"
total_minor = "t"
created_at = "c"
{_MARKS}
select
    id as invoice_id, currency, total as total_minor, make_timestamp(created * 1000000) as created_at,
    _is_deleted as is_deleted, _deleted_at as deleted_at, _observed_at
from bronze.invoices
""",
    "silver/invoice_lines": f"""/*
description = "Their lines."
grain = ["invoice_line_id"]
partition_by = "invoice_created_at"
replace_by = "invoice_id"
parent = "invoices"
[columns]
invoice_line_id = "i"
invoice_id = "i"
invoice_created_at = "c"
{_MARKS}
select
    unnest(lines.data).id as invoice_line_id, id as invoice_id,
    make_timestamp(created * 1000000) as invoice_created_at,
    _is_deleted as is_deleted, _deleted_at as deleted_at, _observed_at
from bronze.invoices
""",
}
"""Invoices and their lines: a model whose rows come and go with those of another."""


@dataclass(slots=True)
class Clock:
    """A clock that stands still until it is moved."""

    moment: datetime = datetime(2026, 1, 10, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def forward(self, seconds: float) -> None:
        """Move on."""
        self.moment += timedelta(seconds=seconds)


@dataclass(slots=True)
class Heard(Quiet):
    """A reporter that remembers the names of the events it heard."""

    names: list[str] = field(default_factory=list)

    def event(self, name: str, **fields: object) -> None:
        """Remember it."""
        self.names.append(name)


def charge(number: int, **fields: object) -> dict[str, object]:
    """A charge as the API shows it; charge `n` was made on day `n` of 2026, counted from 0."""
    return {
        "id": f"ch_{number:08d}",
        "object": "charge",
        "created": CREATED + number * DAY,
        "amount": 1000 + number,
        "currency": "usd",
        "status": "succeeded",
        **fields,
    }


def refund(number: int, **fields: object) -> dict[str, object]:
    """A refund of charge `number`."""
    return {
        "id": f"re_{number:08d}",
        "object": "refund",
        "created": CREATED + number * DAY,
        "amount": 10,
        "currency": "usd",
        "charge": f"ch_{number:08d}",
        **fields,
    }


def page(records: Iterable[Mapping[str, object] | bytes], *, seen: int = 0, source: Source = "list") -> Page:
    """A page of charges or refunds (as the first record says), observed `seen` seconds after the start of 2026."""
    texts = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in records]
    entity = "refunds" if texts and b'"object": "refund"' in texts[0] else "charges"
    observed_at = datetime.fromtimestamp(CREATED + seen, UTC)
    return Page(entity, source, observed_at, "req_1", "2026-10-28.endive", tuple(texts))


FIRST = [
    page([charge(0), charge(1), charge(2)], seen=10),
    page([b'{"id": "ch_stub0000", "object": "charge", "deleted": true}'], seen=11, source="absent"),
]
SECOND = [
    page([charge(1, amount=7), charge(3)], seen=20),
    page([b'{"id": "ch_00000000", "object": "charge", "deleted": true}'], seen=21, source="absent"),
    page([charge(4, id="ch_stub0000")], seen=22),
    page([refund(1)], seen=23),
]
"""A change, an addition, a deletion that empties a day of gold, and a stub that leaves the partition of no date."""


def write_models(root: Path, models: Mapping[str, str] | None = None) -> Path:
    """The model files as a folder."""
    for name, text in (models or MODELS).items():
        path = root / f"{name}.sql"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


@contextmanager
def open_small_lake(
    root: Path,
    *,
    clock: Clock,
    wrap: Callable[[Storage], Storage] = lambda storage: storage,
    models: Mapping[str, str] | None = None,
) -> Iterator[Lake]:
    """The lake in `root`, through whatever `wrap` puts around its storage."""
    local = LocalStorage(root)
    engine = DuckDBEngine(
        ENTITIES.values(), folders=[root], scratch=local.scratch(), options=EngineOptions(threads=1)
    )
    try:
        storage = wrap(local)
        found = discover(write_models(root.parent / f"{root.name}-sql", models))
        yield Lake(storage, engine, found, VerifiedFiles(storage), clock, Heard())
    finally:
        engine.close()
        local.close()


def land(lake: Lake, run_id: str, pages: Sequence[Page]) -> Manifest:
    """Land the pages as a finished extraction."""
    with opened(lake, run_id) as run:
        names, landed = PartNames(run.context.epoch), Landed()
        for each in pages:
            landed += write_pages(lake.storage, run.context, ENTITIES[each.entity], [each], names)
        step = Extract(finished_at=lake.clock(), parts=landed.parts, quarantine=landed.quarantine)
        manifest = run.manifest.model_copy(update={"extract": step, "outcome": "extracted"})
        write_manifest(lake.storage, manifest)
        line = RunLine(run_id=run_id, outcome="extracted", at=lake.clock(), rows=manifest.rows())
        commit(
            lake.storage,
            run.lease,
            lambda head: head.noted(line).model_copy(update={"pending": (*head.pending, run_id)}),
        )
    return manifest


def stage(lake: Lake, run_id: str, *, rebuild: bool = False) -> Run:
    """Build what is pending into staging."""
    with opened(lake, run_id) as run:
        return transform(lake, run, rebuild=rebuild)


def publish(lake: Lake, run_id: str, *, max_quarantine_share: float = 0.5) -> Manifest:
    """Build what is pending, audit it and publish it."""
    with opened(lake, run_id) as run:
        done = transform(lake, run)
        return check_and_publish(lake, done, max_quarantine_share=max_quarantine_share).manifest


def rows(lake: Lake, sql: str) -> list[tuple[object, ...]]:
    """What a query answers over what is published."""
    lake.show_published()
    return lake.engine.query(sql).rows


def lease(storage: Storage, clock: Clock, *, run_id: str = "test", pid: int | None = None) -> Lease:
    """A lease on this host, of this process unless another is named."""
    return Lease(storage, Holder(run_id, "host", os.getpid() if pid is None else pid), clock)


def dead_pid() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def published_files(root: Path) -> dict[str, bytes]:
    """Every byte a reader of the lake sees: silver, gold, the views, and the lists of partitions."""
    folders = ("silver", "gold", "_state/manifests/_latest", "lake.duckdb")
    paths = [path for folder in folders for path in [root / folder, *(root / folder).rglob("*")]]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths if path.is_file()}
