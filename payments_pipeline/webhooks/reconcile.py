"""Compares what webhooks brought with the events feed and with silver, for a period. Changes nothing but its reports."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Annotated

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from payments_pipeline import layout
from payments_pipeline.bronze import OBSERVED_FORMAT, check_part, file_sha256, taken_files
from payments_pipeline.entities import ENTITIES, EVENTS
from payments_pipeline.errors import CorruptObject, ObjectMissing, UsageError
from payments_pipeline.flow import EPOCH_DT
from payments_pipeline.lake import Lake
from payments_pipeline.screen import LAST_SECOND
from payments_pipeline.state.documents import Document, load
from payments_pipeline.state.manifest import all_runs, published_parts, read_manifests, rejecting
from payments_pipeline.storage import Storage
from payments_pipeline.storage.parallel import each
from payments_pipeline.transform.reconciliation import (
    FLAGS,
    PERIOD,
    RECEIVED,
    counts,
    reconciliation,
    sample,
)
from payments_pipeline.webhooks.books import read_log, read_part, rolled_parts, unrolled
from payments_pipeline.webhooks.event import Kept, read_line

_SAMPLES = 20
_ROWS_AT_A_TIME = 10_000
_DISAGREEING = ("is_missing", "is_extra", "is_different", "is_object_stale")
_TIME = pa.timestamp("us")
_RECEIVED = pa.schema(
    [
        *((name, pa.string()) for name in ("event_id", "type", "object_type", "object_id")),
        *((name, pa.string()) for name in ("request_id", "api_version", "previous_attributes", "origin")),
        ("created_at", _TIME),
        ("received_at", _TIME),
    ]
)
_PERIOD = pa.schema(
    [
        *((name, _TIME) for name in ("starts_at", "ends_at", "read_until", "due_until")),
        ("late_seconds", pa.int64()),
    ]
)


@dataclass(frozen=True, slots=True)
class Period:
    """Events created from `start` to before `end` (UTC), as they are known `now`.

    Deliveries more than `late_seconds` after their event are late; what is younger than that may still be under way.
    `read_until` is how far a run has read the events feed: what is newer cannot be there, nor in silver, yet.
    """

    start: datetime
    end: datetime
    now: datetime
    read_until: datetime | None
    late_seconds: int = 300


class Reconciliation(Document):
    """What was compared, and found: events per flag, and a few of their ids. `sha256` is that of the relation's file."""

    start: datetime
    end: datetime
    read_until: datetime | None
    late_seconds: int
    events: int
    received: int
    counts: dict[str, int]
    samples: dict[str, tuple[str, ...]]
    sha256: str

    @property
    def agrees(self) -> bool:
        """Whether the two sides know the same of the same events, and silver has followed them."""
        return not any(self.counts[flag] for flag in _DISAGREEING)

    @property
    def name(self) -> str:
        """The period as part of a key."""
        return f"{self.start:%Y%m%dT%H%M%S}_{self.end:%Y%m%dT%H%M%S}"


def reconcile(lake: Lake, period: Period) -> tuple[Reconciliation, Path]:
    """What the comparison found, and a scratch file of the relation; see `transform/reconciliation.py`.

    Call it where nothing is being published: silver is read as it stands. `UsageError` if retention has removed what
    was received in that time.
    """
    _check_kept(lake.storage, _since(period))
    lake.show_published()
    scratch = lake.storage.scratch()
    lake.engine.show(
        RECEIVED, [_written(scratch / "received.parquet", _RECEIVED, _received(lake.storage, period))]
    )
    bounds: dict[str, object] = {
        "starts_at": _plain(period.start),
        "ends_at": _plain(period.end),
        "read_until": _plain(period.read_until) if period.read_until else None,
        "due_until": _plain(period.now - timedelta(seconds=period.late_seconds)),
        "late_seconds": period.late_seconds,
    }
    lake.engine.show(PERIOD, [_written(scratch / "period.parquet", _PERIOD, iter([bounds]))])
    model = reconciliation(lake.models, _show_read(lake, period.start.timestamp()))
    lake.engine.build(model)
    relation = scratch / f"{model.qualified}.parquet"
    if lake.engine.digests(model):
        list(lake.engine.write(model, {EPOCH_DT: relation}))
        lake.engine.show(model, [relation])
    else:
        pq.write_table(pa.table({}), relation)
        lake.engine.show(model, [])
    return _summary(lake, period, relation), relation


def _show_read(lake: Lake, since: float) -> frozenset[str]:
    """Let the engine see what published runs have read since that second; the entities that they read."""
    runs = read_manifests(lake.storage, all_runs(lake.storage))
    parts, rejected = published_parts(runs, since=since), rejecting(runs.values())
    entities = frozenset(part.entity for part in parts) & ENTITIES.keys() - {EVENTS}
    for spec in map(ENTITIES.__getitem__, entities):
        mine = [part for part in parts if part.entity == spec.name]
        each(lambda part: check_part(lake.storage, part), mine)
        files = taken_files(lake.storage, spec, mine, rejected=spec.name in rejected)
        lake.engine.show_plainly(spec, files)
    return entities


def publish_reconciliation(storage: Storage, found: Reconciliation, relation: Path) -> str:
    """Put the relation where `query` finds it, and write the reports; the key of the one for people."""
    storage.adopt(relation, layout.RECONCILIATION_ROWS)
    storage.put(layout.RECONCILIATION, found.sealed())
    storage.put(layout.reconciliation_report(found.name, "json"), _json(found))
    readable = layout.reconciliation_report(found.name, "md")
    storage.put(readable, _markdown(found))
    return readable


def show_reconciliation(lake: Lake) -> None:
    """Let SQL see `marts.webhook_reconciliation`: the last period compared, no rows if there is none.

    `CorruptObject` if the file is not the one that was written.
    """
    lake.engine.show(RECEIVED, [])
    lake.engine.show(PERIOD, [])
    found, files = load(lake.storage, layout.RECONCILIATION, Reconciliation)[0], []
    if found is not None and found.events:
        path = lake.storage.localize(layout.RECONCILIATION_ROWS)
        if file_sha256(path) != found.sha256:
            raise CorruptObject(
                f"{lake.storage.url}/{layout.RECONCILIATION_ROWS} is not the file that was written. It was not served; "
                "'payments-pipeline reconcile' makes it again."
            )
        files = [path]
    lake.engine.show(reconciliation(lake.models), files)


def _written(path: Path, schema: pa.Schema, rows: Iterator[dict[str, object]]) -> Path:
    """The rows as a Parquet file; a few thousand of them are in memory at a time."""
    with pq.ParquetWriter(path, schema) as writer:
        while some := list(islice(rows, _ROWS_AT_A_TIME)):
            writer.write_table(pa.Table.from_pylist(some, schema=schema))
    return path


def _summary(lake: Lake, period: Period, relation: Path) -> Reconciliation:
    [(events, received, *flagged)] = lake.engine.query(counts()).rows
    return Reconciliation(
        start=period.start,
        end=period.end,
        read_until=period.read_until,
        late_seconds=period.late_seconds,
        events=int(str(events)),
        received=int(str(received)),
        counts={flag: int(str(count)) for flag, count in zip(FLAGS, flagged, strict=True)},
        samples={
            flag: tuple(str(row[0]) for row in lake.engine.query(sample(flag, _SAMPLES)).rows)
            for flag in FLAGS
        },
        sha256=file_sha256(relation),
    )


class _Named(msgspec.Struct):
    id: str | None = None
    object: str | None = None


class _Data(msgspec.Struct):
    object: _Named = msgspec.field(default_factory=_Named)
    previous_attributes: msgspec.Raw = msgspec.Raw(b"null")


class _Request(msgspec.Struct):
    id: str | None = None


class _Event(msgspec.Struct):
    id: str
    type: str
    created: Annotated[int, msgspec.Meta(gt=0, lt=LAST_SECOND)]
    account: str | None = None
    api_version: str | None = None
    request: _Request | None = None
    data: _Data = msgspec.field(default_factory=_Data)


_decoder = msgspec.json.Decoder(_Event)


def _since(period: Period) -> str:
    """The first date on which something of the period may have been received."""
    return f"{period.start - timedelta(days=1):%Y-%m-%d}"


def _check_kept(storage: Storage, since: str) -> None:
    runs = read_manifests(storage, all_runs(storage)).values()
    keys = (part.key for run in runs for part in run.extract.expired if part.key.startswith(layout.WEBHOOKS))
    last = max(map(_received_on, keys), default="")
    if last >= since:
        raise UsageError(
            f"webhooks received until {last} were removed ('gc --bronze-days'): a period that begins then, before, or on "
            "the day after cannot be compared any more. Nothing was written; let it begin later (--from)."
        )


def _received(storage: Storage, period: Period) -> Iterator[dict[str, object]]:
    """The events of the period that were received, except those that are in no feed of this account.

    These are thin events, and events of connected accounts.
    """
    for kept in _kept(storage, _since(period)):
        try:
            event = _decoder.decode(kept.event)
        except msgspec.DecodeError:
            continue
        if event.account is None and period.start.timestamp() <= event.created < period.end.timestamp():
            yield _row(event, kept)


def _row(event: _Event, kept: Kept) -> dict[str, object]:
    previous = bytes(event.data.previous_attributes).decode()
    return {
        "event_id": event.id,
        "type": event.type,
        "object_type": event.data.object.object,
        "object_id": event.data.object.id,
        "request_id": event.request.id if event.request else None,
        "api_version": event.api_version,
        "previous_attributes": None if previous == "null" else previous,
        "origin": kept.origin,
        "created_at": _plain(datetime.fromtimestamp(event.created, UTC)),
        "received_at": _plain(datetime.strptime(kept.received_at, OBSERVED_FORMAT).replace(tzinfo=UTC)),
    }


def _kept(storage: Storage, since: str) -> Iterator[Kept]:
    """Everything received on that date or later; an event may come twice."""
    log = read_log(storage)[0]
    for keys in unrolled(storage, log).values() if log else ():
        for key in keys:
            with suppress(ObjectMissing):  # just rolled: it is found below then
                yield from read_part(storage, key).kept
    for key in rolled_parts(storage):
        if _received_on(key) >= since:
            yield from _lines_of(storage, key)


def _received_on(key: str) -> str:
    """The date of a part of received events."""
    return key.removeprefix(f"{layout.WEBHOOKS}dt=").partition("/")[0]


def _lines_of(storage: Storage, key: str) -> Iterator[Kept]:
    """The lines of a run's part, one in memory at a time; a damaged one is for `verify` to name."""
    with storage.localize(key).open("rb") as stream:
        for line in stream:
            with suppress(ValueError):
                yield read_line(line)


def _plain(moment: datetime) -> datetime:
    """UTC without saying so, as the lake's timestamps are."""
    return moment.astimezone(UTC).replace(tzinfo=None)


def _json(found: Reconciliation) -> bytes:
    content = {"agrees": found.agrees, **found.model_dump(mode="json", exclude={"sha256"})}
    return json.dumps(content, indent=2).encode() + b"\n"


_MEANINGS: Mapping[str, str] = {
    "is_missing": "in the feed, and no webhook brought it",
    "is_caught_up": "brought by catch-up, not by a webhook",
    "is_extra": "brought by a webhook, and not in the feed though it was read",
    "is_late": "delivered late",
    "is_out_of_order": "delivered after a newer event about the same object",
    "is_different": "the webhook and the feed tell it differently",
    "is_object_stale": "silver has not read the object since",
}


def _markdown(found: Reconciliation) -> bytes:
    lines = [
        f"# Webhooks and events feed, {found.start:%Y-%m-%d %H:%M} to {found.end:%Y-%m-%d %H:%M} UTC",
        "",
        f"Events: {found.events}, of them received: {found.received}. "
        + ("Both sides agree." if found.agrees else "The sides do not agree."),
        "",
        "| events | flag | meaning | for example |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {found.counts[flag]} | `{flag}` | {meaning} | {_ids(found.samples[flag])} |"
        for flag, meaning in _MEANINGS.items()
    ]
    return ("\n".join(lines) + "\n").encode()


def _ids(ids: Sequence[str]) -> str:
    """A few ids as code, in one table cell."""
    return ", ".join(f"`{each.replace('|', '%7C').replace('`', '%60')}`" for each in ids[:3])
