"""Publishing is all or nothing for its readers, whatever stops it; and what is published can be proved."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from payments_pipeline import pipeline
from payments_pipeline.errors import CorruptObject, QualityError, UsageError
from payments_pipeline.flow import EPOCH_DT
from payments_pipeline.inspect import run_query
from payments_pipeline.lake import Lake
from payments_pipeline.maintenance import verify_lake
from payments_pipeline.state.head import commit, read_head
from payments_pipeline.state.manifest import read_manifest, write_manifest
from payments_pipeline.storage import Storage
from tests.lakes import (
    FIRST,
    MODELS,
    SECOND,
    Clock,
    charge,
    land,
    open_small_lake,
    page,
    publish,
    published_files,
    refund,
    rows,
    stage,
)


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The lake's folder."""
    return tmp_path / "lake"


@pytest.fixture
def lake(root: Path, clock: Clock) -> Iterator[Lake]:
    """A lake with nothing in it."""
    with open_small_lake(root, clock=clock) as lake:
        yield lake


class Killed(BaseException):
    """The process dies here."""


class Dying:
    """A storage whose process dies at its n-th change and does nothing afterwards."""

    CHANGES = frozenset({"put", "swap", "create", "adopt", "promote", "delete"})

    def __init__(self, storage: Storage, *, at: int) -> None:
        self._storage = storage
        self._left = at
        self._lock = threading.Lock()

    @property
    def survived(self) -> bool:
        """Whether there were fewer changes."""
        return self._left > 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._storage, name)
        if name not in self.CHANGES:
            return found

        def counted(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                self._left -= 1
                if self._left <= 0:
                    raise Killed
            return found(*args, **kwargs)

        return counted


def _finish(lake: Lake) -> None:
    """Audit and publish what run second staged, if it is not published yet."""
    with pipeline.opened(lake, "second") as run:
        if run.manifest.outcome != "published":
            pipeline.check_and_publish(lake, run, max_quarantine_share=0.5)


def _killed(root: Path, clock: Clock, work: Callable[[Lake], object], *, at: int) -> bool:
    """Whether the work was killed at its `at`-th change."""
    dying: list[Dying] = []

    def wrap(storage: Storage) -> Storage:
        dying.append(Dying(storage, at=at))
        return cast(Storage, dying[0])

    try:
        with open_small_lake(root, clock=clock, wrap=wrap) as lake:
            work(lake)
    except Killed:
        clock.forward(120)
        return True
    assert dying[0].survived
    return False


def _readable(root: Path) -> dict[str, bytes]:
    return {key: data for key, data in published_files(root).items() if key != "lake.duckdb"}


def test_a_publish_killed_anywhere_is_finished_by_the_next_opening(root: Path, clock: Clock) -> None:
    """Killed before any of its changes, and again while recovering, the lake ends as if nothing had happened."""
    with open_small_lake(root, clock=clock) as lake:
        land(lake, "first", FIRST)
        publish(lake, "first")
        land(lake, "second", SECOND)
        stage(lake, "second")
    saved = root.parent / "saved"
    shutil.copytree(root, saved)
    with open_small_lake(root, clock=clock) as lake:
        _finish(lake)
        assert {len(entry) for entry in _removed(lake)} == {2}
    expected = _readable(root)
    position = 0
    while True:
        position += 1
        shutil.rmtree(root)
        shutil.copytree(saved, root)
        was_killed = _killed(root, clock, _finish, at=position)
        if position % 3 == 0:
            _killed(root, clock, _finish, at=position % 9 + 3)
        with open_small_lake(root, clock=clock) as lake:
            _finish(lake)
            head = read_head(lake.storage)
            assert (head.published, head.publishing, head.pending) == ("second", None, ())
            assert verify_lake(lake) > 10
            assert run_query(lake, "select sum(amount_minor) from silver.charges").rows == [(4016,)]
        assert _readable(root) == expected, position
        assert [path for path in (root / "_staging").rglob("*") if path.is_file()] == []
        if not was_killed:
            break
    assert position > 15


def _removed(lake: Lake) -> tuple[tuple[str, str], ...]:
    transform = read_manifest(lake.storage, "second").transform
    assert transform is not None
    assert ("silver.charges", EPOCH_DT) in transform.removed
    assert ("gold.fct_sales", "2026-01-01") in transform.removed
    return transform.removed


def test_a_refused_audit_changes_no_published_byte(lake: Lake, root: Path) -> None:
    """Readers keep what they had; the new bronze waits, and is published once the models or data are put right."""
    land(lake, "first", FIRST)
    publish(lake, "first")
    before = published_files(root)
    land(lake, "bad", [page([charge(5, amount=-5)], seen=30)])
    with pytest.raises(QualityError, match=r"no_negative_sales.*Nothing was published.*quality_bad"):
        publish(lake, "bad")
    assert published_files(root) == before
    head = read_head(lake.storage)
    assert (head.published, head.pending, head.runs[-1].outcome) == ("first", ("bad",), "refused")
    quality = read_manifest(lake.storage, "bad").quality
    assert quality is not None
    assert [check.name for check in quality.checks if not check.passed] == ["no_negative_sales"]
    with pytest.raises(QualityError):
        publish(lake, "bad")
    land(lake, "good", [page([charge(5, amount=5)], seen=40)])
    publish(lake, "good")
    assert rows(lake, "select amount_minor from silver.charges where charge_id = 'ch_00000005'") == [(5,)]
    assert read_head(lake.storage).pending == ()


@pytest.mark.parametrize(
    ("record", "gate"),
    [
        (charge(5, status="lost"), ("accepted:status", "silver.charges")),
        (refund(6), ("reference:charge_id", "silver.refunds")),
    ],
    ids=["value", "reference"],
)
def test_a_day_is_refused_for_what_a_rebuild_is(
    lake: Lake, record: dict[str, object], gate: tuple[str, str]
) -> None:
    """Looking only at what a change reaches, the audit finds what it finds in all of the lake."""
    land(lake, "first", FIRST)
    publish(lake, "first")
    land(lake, "second", [page([record], seen=30)])
    found = []
    for rebuild in (False, True):
        stage(lake, "second", rebuild=rebuild)
        with pytest.raises(QualityError):
            _finish(lake)
        quality = read_manifest(lake.storage, "second").quality
        assert quality is not None
        found.append({(check.name, check.model) for check in quality.checks if not check.passed})
    assert found == [{gate}, {gate}]


def test_a_warning_stops_nothing(lake: Lake) -> None:
    """It is in the manifest all the same, also of a run that changes nothing of what it is about."""
    for run_id, record in (("run", charge(0, amount=2_000_000)), ("elsewhere", refund(0))):
        land(lake, run_id, [page([record])])
        quality = publish(lake, run_id).quality
        assert quality is not None
        assert [(check.name, check.severity) for check in quality.checks if not check.passed] == [
            ("few_sales", "warn")
        ]


def test_nothing_new_writes_nothing(lake: Lake, root: Path) -> None:
    """A run that observes the same again leaves every published file untouched."""
    land(lake, "first", FIRST)
    publish(lake, "first")
    before = {key: data for key, data in published_files(root).items() if "_state" not in key}
    stamps = {key: (root / key).stat().st_mtime_ns for key in before}
    land(lake, "again", [page([charge(0), charge(1), charge(2)], seen=50)])
    manifest = publish(lake, "again")
    assert manifest.publish is not None
    assert (manifest.publish.written, manifest.publish.removed) == (0, 0)
    assert {key: (root / key).stat().st_mtime_ns for key in before} == stamps


def test_only_touched_partitions_are_rewritten(lake: Lake) -> None:
    """A change to one day's charge stages that day of silver and of gold, nothing else."""
    land(lake, "first", FIRST)
    publish(lake, "first")
    land(lake, "second", [page([charge(1, amount=7)], seen=50)])
    transform = stage(lake, "second").manifest.transform
    assert transform is not None
    assert sorted((entry.model, entry.dt) for entry in transform.staged) == [
        ("gold.fct_sales", "2026-01-02"),
        ("silver.charges", "2026-01-02"),
    ]


def test_runs_in_steps_are_one_run(root: Path, clock: Clock) -> None:
    """However observations are split into runs, and rebuilt from all of bronze, the digest is the same."""
    digests = set()
    for name, runs in (
        ("one", [FIRST + SECOND]),
        ("two", [FIRST, SECOND]),
        ("many", [[each] for each in FIRST + SECOND]),
    ):
        with open_small_lake(root.parent / name, clock=clock) as lake:
            for number, pages in enumerate(runs):
                land(lake, f"run-{number}", pages)
                done = publish(lake, f"run-{number}").publish
            assert done is not None
            digests.add(done.digest)
            rebuilt = stage(lake, "rebuild", rebuild=True).manifest.transform
            assert rebuilt is not None
            assert (rebuilt.staged, rebuilt.removed) == ((), ())
            digests.add(rebuilt.digest)
    assert len(digests) == 1


def test_a_published_run_id_does_nothing_again(lake: Lake, root: Path) -> None:
    """Replaying its steps changes no byte."""
    land(lake, "first", FIRST)
    publish(lake, "first")
    before = published_files(root)
    publish(lake, "first")
    assert published_files(root) == before


def test_what_is_staged_must_be_newer_than_what_is_published(lake: Lake) -> None:
    """A build that another run has overtaken is not published over it."""
    land(lake, "first", FIRST)
    stage(lake, "first")
    land(lake, "second", SECOND)
    publish(lake, "second")
    with (
        pytest.raises(UsageError, match="another run has published"),
        pipeline.opened(lake, "first") as run,
    ):
        pipeline.check_and_publish(lake, run, max_quarantine_share=0.5)


def test_repeated_keys_are_quarantined_at_the_build_and_counted(lake: Lake) -> None:
    """The line goes to quarantine with its bytes, all other lines are published, and the counts add up."""
    twice = b'{"id":"ch_twice0000","object": "charge","created":1767225600,"amount":1,"amount":2,"currency":"usd"}'
    land(lake, "run", [page([charge(0), twice, charge(1)])])
    manifest = publish(lake, "run")
    assert manifest.transform is not None
    counts = manifest.transform.counts["charges"]
    assert (counts.received, counts.current, counts.superseded, counts.quarantined) == (3, 2, 0, 1)
    [kept] = lake.storage.list("quarantine/")
    assert b"a key occurs twice" in lake.storage.read(kept.key)
    assert rows(lake, "select count(*) from silver.charges") == [(2,)]


def test_rows_that_nobody_observed_again_stay(lake: Lake) -> None:
    """A merge keeps the rest of the partition, and says how many objects were new to silver."""
    one_day = {"created": 1_767_225_600}
    land(lake, "first", [page([charge(0, **one_day), charge(1, **one_day)])])
    publish(lake, "first")
    land(lake, "second", [page([charge(1, **one_day), charge(2, **one_day)], seen=60)])
    done = publish(lake, "second").transform
    assert done is not None
    counts = done.counts["charges"]
    assert (counts.before, counts.inserted, counts.after) == (2, 1, 3)
    assert rows(lake, "select count(*) from silver.charges") == [(3,)]


def test_an_old_run_that_goes_on_passes_the_audit(lake: Lake) -> None:
    """What it saw before newer runs did is compared with nothing: it neither undoes their amounts nor stops later runs."""
    land(lake, "old", [page([charge(0, amount=1), charge(1)], seen=10)])
    land(lake, "new", [page([charge(0, amount=2)], seen=20)])
    publish(lake, "new")
    with pipeline.opened(lake, "old") as run:
        commit(lake.storage, run.lease, lambda head: head.model_copy(update={"pending": ("old",)}))
    publish(lake, "later")
    assert rows(lake, "select amount_minor from silver.charges order by 1") == [(2,), (1001,)]


def test_too_many_quarantined_records_stop_the_run(lake: Lake, root: Path) -> None:
    """Above the set share nothing is published; at the share it is."""
    land(lake, "run", [page([charge(0), charge(1), charge(2), b"{"])])
    with pytest.raises(QualityError, match=r"quarantine_share.*1 of 4 records, at most 24\.00%"):
        publish(lake, "run", max_quarantine_share=0.24)
    assert published_files(root) == {}
    publish(lake, "run", max_quarantine_share=0.25)
    assert rows(lake, "select count(*) from silver.charges") == [(3,)]


def test_a_part_of_an_older_schema_is_screened_again(lake: Lake) -> None:
    """Lines that today's declared columns refuse are quarantined, the others are built."""
    manifest = land(lake, "run", [page([charge(0), charge(1)])])
    [part] = manifest.extract.parts
    data = (
        lake.storage.read(part.key)
        .replace(b'"amount": 1001', b'"amount": "10"')
        .replace(b'"amount":1001', b'"amount":"10"')
    )
    assert b'"10"' in data
    lake.storage.put(part.key, data)
    _record_part(lake, "run", data, schema="0ldschema000")
    counts = publish(lake, "run").transform
    assert counts is not None
    assert (counts.counts["charges"].current, counts.counts["charges"].quarantined) == (1, 1)


def _record_part(lake: Lake, run_id: str, data: bytes, *, schema: str) -> None:
    """Let the run's manifest record these bytes as its only part."""
    manifest = read_manifest(lake.storage, run_id)
    part = replace(
        manifest.extract.parts[0], bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), schema=schema
    )
    extract = manifest.extract.model_copy(update={"parts": (part,)})
    write_manifest(lake.storage, manifest.model_copy(update={"extract": extract}))


def test_changed_bronze_is_not_built(lake: Lake, root: Path) -> None:
    """Nothing is built from a part whose bytes are not those that were committed."""
    [part] = land(lake, "run", FIRST[:1]).extract.parts
    with (root / part.key).open("ab") as stream:
        stream.write(b"\n")
    with pytest.raises(CorruptObject, match=part.key):
        publish(lake, "run")


CHARGES = MODELS["silver/charges"]
STRICTER = {
    "no_sales_at_all": {"checks/no_sales_at_all": '/* description = "x" */ select day from gold.fct_sales'},
    "not_null": {"silver/charges": CHARGES.replace('["is_deleted"]', '["is_deleted", "deleted_at"]')},
    "accepted:status": {"silver/charges": CHARGES.replace('"failed", ', "")},
}


@pytest.mark.parametrize("refused", STRICTER)
def test_a_check_that_changed_sees_what_did_not(root: Path, clock: Clock, refused: str) -> None:
    """A run with nothing new is refused if what is published fails a check that it had not to pass then."""
    with open_small_lake(root, clock=clock) as lake:
        land(lake, "first", [page([charge(1), charge(2, status="failed")])])
        publish(lake, "first")
        assert publish(lake, "again").publish is not None
    with (
        open_small_lake(root, clock=clock, models={**MODELS, **STRICTER[refused]}) as lake,
        pytest.raises(QualityError, match=refused),
    ):
        publish(lake, "stricter")
