"""What must hold of a lake: always, and after a quiet run that was asked for everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC
from pathlib import Path

from payments_pipeline import layout
from payments_pipeline.bronze import file_sha256
from payments_pipeline.entities import ENTITIES
from payments_pipeline.flow import Window
from payments_pipeline.inspect import read_status
from payments_pipeline.maintenance import verify_lake
from payments_pipeline.state.coverage import read_coverage, subtract, union
from payments_pipeline.state.head import read_head
from payments_pipeline.state.manifest import Manifest, all_runs, read_manifest
from payments_pipeline.state.snapshot import read_latest, snapshot_of
from payments_pipeline.storage import LocalStorage
from tests.e2e.agreement import differences
from tests.e2e.harness import digest_of, read_parquet
from tests.e2e.oracle import FIELDS, KEYS, Truth
from tests.history.subject import DAY, Subject, models

EVENTS_KEPT = 30 * DAY


def disagreements(subject: Subject) -> list[str]:
    """Every way in which silver and gold are not what the account is now, as texts; none is right."""
    today = subject.world.truth()
    return [
        *_silver(subject, today),
        *_deletion_times(subject.root),
        *_ledger(subject),
    ]


def _silver(subject: Subject, today: Truth) -> list[str]:
    """Object by object: nothing missing, nothing stale, deletions as tombstones that keep a state there once was."""
    rows = [row for entity in FIELDS for row in read_parquet(subject.root, f"silver.{entity}")]
    seconds = {int(row["_observed_at"].replace(tzinfo=UTC).timestamp()) for row in rows} | {subject.clock()}
    earlier = {-number: truth for number, truth in enumerate(subject.past, start=1)}
    found = differences(subject.root, {**dict.fromkeys(seconds, today), **earlier})
    oldest = subject.clock() - EVENTS_KEPT
    gone = {f"events {id}: missing" for id, event in today["events"].items() if event["created"] < oldest}
    return [text for text in found if text not in gone]


def _deletion_times(root: Path) -> list[str]:
    """A tombstone says when its object was deleted if the lake holds the event that told."""
    told = {
        row["object_id"]: row["created_at"]
        for row in read_parquet(root, "silver.events")
        if row["type"].endswith(".deleted")
    }
    return [
        f"{entity} {row[KEYS[entity]]}: deleted_at is {row['deleted_at']}, not {told[row[KEYS[entity]]]}"
        for entity in KEYS
        for row in read_parquet(root, f"silver.{entity}")
        if row["is_deleted"] and row[KEYS[entity]] in told and row["deleted_at"] != told[row[KEYS[entity]]]
    ]


def _ledger(subject: Subject) -> list[str]:
    """Per currency, gold's ledger adds up to the account's own balance, to the minor unit."""
    totals: Counter[str] = Counter()
    for row in read_parquet(subject.root, "gold.fct_balance_transactions"):
        totals[row["currency"]] += row["net_minor"]
    held = {currency: sum(parts.values()) for currency, parts in subject.world.balance().items()}
    return [
        f"gold says {totals[currency]} {currency}, the account {held.get(currency, 0)}"
        for currency in sorted({*totals, *held})
        if totals[currency] != held.get(currency, 0)
    ]


def bookkeeping_faults(subject: Subject, manifest: Manifest) -> list[str]:
    """Every way in which state and status do not say what a quiet run for everything must leave behind."""
    storage = LocalStorage(subject.root)
    found = []
    for name in ENTITIES:
        coverage = read_coverage(storage, [name])[name]
        if coverage.watermark != manifest.ceiling:
            found.append(f"{name}: watermark {coverage.watermark}, not {manifest.ceiling}")
        if name != "events" and len(coverage.intervals) != 1:
            found.append(f"{name}: covered in pieces {coverage.intervals}")
    status = read_status(storage, subject.ticks())
    if status.pending or status.publishing or status.published != manifest.run_id:
        found.append(f"status: pending {status.pending}, publishing {status.publishing}, {status.published}")
    gaps = [gap for line in status.coverage for gap in line.gaps]
    found += [f"status: {gap}" for gap in gaps if not gap.endswith("every object was read since")]
    return found


def verified(subject: Subject) -> int:
    """The number of objects that `verify` finds as recorded; raises if one is not."""
    with subject.opened() as lake:
        return verify_lake(lake)


def rebuilt_differences(subject: Subject, manifest: Manifest) -> list[str]:
    """How building everything anew from bronze differs from what the runs have built."""
    rebuilt = subject.rebuild()
    if digest_of(rebuilt) == digest_of(manifest):
        return []
    assert rebuilt.transform is not None
    return [f"rebuilt {staged.model} {staged.dt} differs" for staged in rebuilt.transform.staged] + [
        f"rebuilt without {model} {dt}" for model, dt in rebuilt.transform.removed
    ]


class Watch:
    """Looks at a lake after every step and remembers what must never change again."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._bronze: dict[str, str] = {}
        self._watermarks: dict[str, int] = {}

    def faults(self, *, damaged: frozenset[str] = frozenset()) -> list[str]:
        """What is wrong now: bronze that changed, a watermark that went back or claims too much, a published file that is not whole."""
        storage = LocalStorage(self._root)
        return [
            *self._changed_bronze(storage),
            *self._claimed(storage),
            *self._moved_back(storage),
            *self._torn(storage, damaged),
        ]

    def _changed_bronze(self, storage: LocalStorage) -> list[str]:
        for run_id in all_runs(storage):
            extract = read_manifest(storage, run_id).extract
            for part in (*extract.parts, *extract.quarantine):
                self._bronze.setdefault(part.key, part.sha256)
        return [key for key, sha256 in self._bronze.items() if _sha256(self._root / key) != sha256]

    def _claimed(self, storage: LocalStorage) -> list[str]:
        """Coverage that no manifest's windows bear out."""
        found = []
        extracts = [read_manifest(storage, run_id).extract for run_id in all_runs(storage)]
        for name in ENTITIES:
            committed = union(
                Window(*each)
                for extract in extracts
                for each in (extract.entities[name].windows if name in extract.entities else ())
            )
            uncommitted = [
                left
                for each in read_coverage(storage, [name])[name].windows()
                for left in subtract(each, committed)
            ]
            found += [f"{name}: nothing committed for {window}" for window in uncommitted]
        return found

    def _moved_back(self, storage: LocalStorage) -> list[str]:
        found = []
        for name in ENTITIES:
            mark = read_coverage(storage, [name])[name].watermark
            if mark is not None or name in self._watermarks:
                if (mark or 0) < self._watermarks.get(name, 0):
                    found.append(f"the watermark of {name} went back from {self._watermarks[name]} to {mark}")
                self._watermarks[name] = mark or 0
        return found

    def _torn(self, storage: LocalStorage, damaged: frozenset[str]) -> list[str]:
        published = _published(storage)
        return [
            key
            for key, sha256 in published.items()
            if key not in damaged and _sha256(self._root / key) != sha256
        ]


def _published(storage: LocalStorage) -> Mapping[str, str]:
    """Key to sha256 of everything that is published, while no publish is under way."""
    if read_head(storage).publishing is not None:
        return {}
    latest = snapshot_of(read_latest(storage, [model.qualified for model in models().built]))
    return {each.key: each.sha256 for partitions in latest.values() for each in partitions.values()}


def _sha256(path: Path) -> str:
    return file_sha256(path) if path.is_file() else "missing"


def state_files(subject: Subject) -> list[Path]:
    """The state files that can be lost: coverage, lists of partitions, the head."""
    folders = ("_state/watermarks", layout.LATEST, "_state")
    return sorted(
        path
        for folder in folders
        for path in (subject.root / folder).glob("*.json")
        if path.name != "lease.json"
    )
