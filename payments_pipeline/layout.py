"""Where everything lies in a lake: the only module that knows storage keys.

Keys are relative, `/`-separated and the same in a local folder and under `s3://bucket/prefix`.
Users are promised the bronze, silver, gold and `_state` keys; see docs/architecture.md.
"""

from __future__ import annotations

import re
from datetime import date

from payments_pipeline.errors import UsageError

HEAD = "_state/lake.json"
LEASE = "_state/lease.json"
SIMULATED = "_state/simulated_account.json"
STAGING = "_staging/"
BRONZE = "bronze/"
QUARANTINE = "quarantine/"
MANIFESTS = "_state/manifests/run_"
LATEST = "_state/manifests/_latest/"
LINKS = "_state/links/"
WEBHOOKS = "bronze/source=stripe/entity=webhook_events/"
WEBHOOK_LOG = "_state/webhooks.json"
WEBHOOK_INDEX = "_state/webhook_index/"
RECONCILIATION = "_state/reports/webhook_reconciliation.json"
RECONCILIATION_ROWS = "_state/reports/webhook_reconciliation.parquet"

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_FROM_BUILD = re.compile(r"^quarantine/.*/part-\d{6}-part-")
_JOURNAL = re.compile(r"/dt=([\d-]{10})/journal=(\d+)/")


def checked_run_id(run_id: str) -> str:
    """`run_id` itself if it can safely be part of a key; `UsageError` otherwise."""
    if not _RUN_ID.fullmatch(run_id):
        raise UsageError(
            f"RUN_ID {run_id[:80]!r} cannot be used: 1-64 letters, digits, '-' or '_', "
            "beginning with a letter or digit. Nothing was read or written."
        )
    return run_id


def bronze_part(entity: str, ingest_date: date, run_id: str, name: str) -> str:
    """Key of one append-only JSONL part; `name` is unique within the run."""
    return f"bronze/source=stripe/entity={entity}/dt={ingest_date}/run_id={run_id}/part-{name}.jsonl"


def quarantine_part(entity: str, ingest_date: date, run_id: str, name: str) -> str:
    """Key of the records of one part that could not be stored as bronze."""
    return f"quarantine/source=stripe/entity={entity}/dt={ingest_date}/run_id={run_id}/part-{name}.jsonl"


def is_from_build(key: str) -> bool:
    """Whether a quarantine key is of records that a build has rejected: it is named after the bronze part."""
    return _FROM_BUILD.search(key) is not None


def part_epoch(key: str) -> int:
    """The epoch in a key of a bronze part."""
    return int(key.rpartition("/")[2].split("-")[1])


def partition(layer: str, model: str, dt: str) -> str:
    """Key of the published Parquet file of one partition."""
    if layer == "silver":
        return f"silver/source=stripe/entity={model}/dt={dt}/data.parquet"
    if layer == "links":
        return f"{LINKS}entity={model}/month={dt}/data.parquet"
    return f"gold/model={model}/dt={dt}/data.parquet"


def staged(run_id: str, epoch: int, model: str, dt: str) -> str:
    """Key under which a run keeps a partition of a model (qualified name) until it is audited."""
    return f"{STAGING}run_id={run_id}/{epoch:06d}-{model}-{dt}.parquet"


def staged_epoch(key: str) -> int:
    """The epoch in a key that `staged` made."""
    return int(key.rpartition("/")[2].partition("-")[0])


def manifest(run_id: str) -> str:
    """Key of a run's manifest."""
    return f"{MANIFESTS}{run_id}.json"


def run_id_of(manifest_key: str) -> str:
    """The inverse of `manifest`."""
    return manifest_key.removeprefix(MANIFESTS).removesuffix(".json")


def latest(layer: str, model: str) -> str:
    """Key of the list of partitions that are published for a model."""
    return f"{LATEST}{layer}.{model}.json"


def watermark(entity: str) -> str:
    """Key of an entity's coverage."""
    return f"_state/watermarks/{entity}.json"


def quality_report(run_id: str) -> str:
    """Key of a run's quality report."""
    return f"_state/reports/quality_{run_id}.json"


def webhook_part(dt: str, book: int, number: int) -> str:
    """Key of what a webhook receiver keeps at once; the numbers of a book begin with 1 and leave no gap."""
    return f"{WEBHOOKS}dt={dt}/journal={book:08d}/part-{number:08d}.jsonl"


def webhook_quarantine(dt: str, book: int, digest: str) -> str:
    """Key of one delivery that could not be kept as bronze, named by the digest of its bytes."""
    return f"quarantine/source=stripe/entity=webhook_events/dt={dt}/journal={book:08d}/part-{digest}.jsonl"


def webhook_book(key: str) -> tuple[str, int] | None:
    """The date and the book of something that a webhook receiver keeps; None if the key is nothing of the kind."""
    found = _JOURNAL.search(key)
    return (found[1], int(found[2])) if found else None


def webhook_index(book: int) -> str:
    """Key of the index of all events up to and including a book."""
    return f"{WEBHOOK_INDEX}{book:08d}.bin"


def reconciliation_report(name: str, ending: str) -> str:
    """Key of a report that compares webhooks with the events feed."""
    return f"_state/reports/reconcile_{name}.{ending}"
