"""Retention: bronze goes when it is old and merged, silver keeps what it told, and nothing is lost in silence."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from payments_pipeline import pipeline
from payments_pipeline.errors import CorruptObject, ModelError, PipelineError, QualityError, StorageError
from payments_pipeline.lake import Lake
from payments_pipeline.maintenance import collect_garbage, verify_lake
from payments_pipeline.oltp.from_lake import PublishedObjects
from payments_pipeline.retention import Retention
from payments_pipeline.state.head import commit
from payments_pipeline.state.manifest import read_manifest, write_manifest
from payments_pipeline.state.snapshot import read_latest
from payments_pipeline.storage import LocalStorage
from tests.lakes import (
    DAY,
    FIRST,
    MODELS,
    SECOND,
    Clock,
    Heard,
    charge,
    land,
    open_small_lake,
    page,
    publish,
    published_files,
    rows,
    stage,
)

CENTURIES = 500 * 366 * 86_400.0
ROWS = "select * exclude (_observed_at) from silver.{} order by all"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of two published runs, 90 days apart. Not to be written to: copy it."""
    root, clock = tmp_path_factory.mktemp("made") / "lake", Clock()
    with open_small_lake(root, clock=clock) as lake:
        land(lake, "first", [*FIRST, page([b"{"])])
        publish(lake, "first")
        clock.forward(90 * DAY)
        land(lake, "second", SECOND)
        publish(lake, "second")
    return root


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still, 100 days after the first run."""
    clock = Clock()
    clock.forward(100 * DAY)
    return clock


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """The test's own copy of the lake."""
    shutil.copytree(made, tmp_path / "lake")
    return tmp_path / "lake"


@pytest.fixture
def lake(root: Path, clock: Clock) -> Iterator[Lake]:
    """A lake whose first run's bronze is 100 days old and merged, the second's 10 days."""
    with open_small_lake(root, clock=clock) as lake:
        yield lake


def _gc(lake: Lake, *, dry_run: bool = False, **days: int) -> list[str]:
    """What `gc` removes; every object counts as old enough, so that only retention protects anything."""
    return collect_garbage(lake, min_age_seconds=-CENTURIES, dry_run=dry_run, retention=Retention(**days))


def _rebuild(lake: Lake, run_id: str = "again", *, accept_loss: bool = False) -> str:
    """The content digest of a rebuild."""
    with pipeline.opened(lake, run_id) as run:
        done = pipeline.build_and_publish(
            lake, run, max_quarantine_share=0.5, rebuild=True, accept_loss=accept_loss
        )
    assert done.manifest.publish is not None
    return done.manifest.publish.digest


def _bronze(root: Path) -> set[str]:
    """The runs that still have bronze."""
    return {path.parent.name.removeprefix("run_id=") for path in root.glob("bronze/**/*.jsonl")}


def _digest(lake: Lake, run_id: str) -> str:
    found = read_manifest(lake.storage, run_id).publish
    assert found is not None
    return found.digest


def test_nothing_is_forgotten_by_default(lake: Lake, root: Path) -> None:
    """Without an age all bronze, quarantine and published data stays."""
    assert _gc(lake) == []
    assert _bronze(root) == {"first", "second"}


def test_old_bronze_goes_and_readers_notice_nothing(lake: Lake, root: Path) -> None:
    """What was merged long ago is removed; what is published is untouched, and `verify` misses nothing."""
    before, verified = published_files(root), verify_lake(lake)
    told = _gc(lake, bronze=30, dry_run=True)
    assert _bronze(root) == {"first", "second"}
    assert told == _gc(lake, bronze=30)
    assert told
    assert all("/run_id=first/" in key and key.startswith("bronze/") for key in told)
    assert _bronze(root) == {"second"}
    assert published_files(root) == before
    assert verify_lake(lake) == verified - len(told)
    expired = read_manifest(lake.storage, "first").extract.expired
    assert sorted(part.key for part in expired) == told
    assert _gc(lake, bronze=30) == []


def test_a_rebuild_keeps_what_has_no_bronze_any_more(lake: Lake, root: Path) -> None:
    """It gives the same content as with all of bronze, and says how many rows stand on silver alone."""
    whole, before = _digest(lake, "second"), rows(lake, ROWS.format("charges"))
    _gc(lake, bronze=30)
    assert _rebuild(lake) == whole
    assert rows(lake, ROWS.format("charges")) == before
    assert isinstance(lake.reporter, Heard)
    assert "rows_kept_without_bronze" in lake.reporter.names
    _gc(lake, bronze=1)
    assert _bronze(root) == set()
    assert _rebuild(lake, "nothing-left") == whole


def test_runs_go_on_after_retention(lake: Lake) -> None:
    """An object whose bronze is gone changes, another is deleted: both are merged as ever."""
    _gc(lake, bronze=1)
    land(lake, "third", [page([charge(2, amount=5)], seen=30)])
    gone = page([b'{"id": "ch_00000003", "object": "charge", "deleted": true}'], seen=31, source="absent")
    land(lake, "fourth", [gone])
    publish(lake, "fourth")
    found = rows(lake, "select charge_id, amount_minor, is_deleted from silver.charges order by 1")
    assert ("ch_00000002", 5, False) in found
    assert ("ch_00000003", 1003, True) in found
    assert _rebuild(lake) == _digest(lake, "fourth")


@pytest.mark.parametrize("published", [False, True])
def test_bronze_that_is_not_merged_is_never_forgotten(
    lake: Lake, root: Path, clock: Clock, *, published: bool
) -> None:
    """However old: bronze of a run whose build was refused, or not even made, waits for a publication."""
    land(lake, "third", [page([charge(5, amount=-7)], seen=30)])
    land(lake, "fourth", [page([charge(6)], seen=31)])
    if published:
        with pytest.raises(QualityError):
            publish(lake, "fourth")
    clock.forward(1000 * DAY)
    _gc(lake, bronze=1, quarantine=1)
    assert _bronze(root) == {"third", "fourth"}
    land(lake, "fifth", [page([charge(5, amount=7)], seen=32)])
    publish(lake, "fifth")
    assert ("ch_00000006",) in rows(lake, "select charge_id from silver.charges")


def test_bronze_of_a_run_that_goes_on_is_not_forgotten(lake: Lake, root: Path) -> None:
    """A run id that is used again is pending again: what it has landed is read once more."""
    with pipeline.opened(lake, "first") as run:
        commit(lake.storage, run.lease, lambda head: head.model_copy(update={"pending": ("first",)}))
    assert _gc(lake, bronze=1) == []
    assert _bronze(root) == {"first", "second"}


def test_bronze_that_a_staged_build_was_made_from_is_needed_for_its_audit(lake: Lake, root: Path) -> None:
    """A rebuild that waits for its audit is audited against the same bronze afterwards."""
    stage(lake, "staged", rebuild=True)
    assert _gc(lake, bronze=1) == []
    assert _bronze(root) == {"first", "second"}
    with pipeline.opened(lake, "staged") as run:
        pipeline.check_and_publish(lake, run, max_quarantine_share=0.5)
    _gc(lake, bronze=1)
    assert _bronze(root) == set()


def test_a_staged_build_goes_when_it_is_old(lake: Lake, clock: Clock) -> None:
    """With an age its files are removed and its run says that there is nothing staged; it can be built again."""
    land(lake, "third", [page([charge(5)], seen=30)])
    stage(lake, "third")
    staged = {info.key for info in lake.storage.list("_staging/")}
    assert _gc(lake, staging=30) == []
    clock.forward(31 * DAY)
    assert set(_gc(lake, staging=30)) == staged
    with pipeline.opened(lake, "third") as run, pytest.raises(PipelineError, match="has nothing staged"):
        pipeline.check_and_publish(lake, run, max_quarantine_share=0.5)
    publish(lake, "third")
    assert ("ch_00000005",) in rows(lake, "select charge_id from silver.charges")


def test_old_quarantine_goes(lake: Lake, root: Path) -> None:
    """By an age of its own; bronze stays."""
    [key] = _gc(lake, quarantine=30)
    assert key.startswith("quarantine/")
    assert _bronze(root) == {"first", "second"}
    verify_lake(lake)
    _rebuild(lake)


def test_a_run_that_was_continued_goes_with_those_it_overtook(lake: Lake, root: Path, clock: Clock) -> None:
    """An old run id with young observations stays until all older ones go: the newest bronze of an object is last to go."""
    land(lake, "middle", [page([charge(9, amount=1)], seen=30)])
    publish(lake, "middle")
    clock.forward(50 * DAY)
    with pipeline.opened(lake, "first") as run:  # continued on the 60th day after "second"
        ended = run.manifest.extract.model_copy(update={"finished_at": clock()})
        write_manifest(lake.storage, run.manifest.model_copy(update={"extract": ended}))
    _gc(lake, bronze=55)
    assert _bronze(root) == {"first", "second", "middle"}
    clock.forward(10 * DAY)
    _gc(lake, bronze=55)
    assert _bronze(root) == set()


@pytest.mark.parametrize("harm", ["damage", "loss"])
def test_bronze_stays_while_silver_is_damaged(lake: Lake, root: Path, harm: str) -> None:
    """It is what silver is made again from."""
    path = next(root.glob("silver/**/*.parquet"))
    data = path.read_bytes()
    path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]) if harm == "damage" else path.unlink()
    with pytest.raises(StorageError):
        _gc(lake, bronze=1)
    assert _bronze(root) == {"first", "second"}


def test_bronze_stays_while_a_changed_model_is_to_be_built_from_it(
    lake: Lake, root: Path, clock: Clock
) -> None:
    """The next run builds the model anew, from all of bronze; after that it may go."""
    with open_small_lake(root, clock=clock, models=_changed("status,", "trim(status) as status,")) as again:
        with pytest.raises(StorageError, match="charges have changed"):
            _gc(again, bronze=1)
        assert _bronze(root) == {"first", "second"}
        land(again, "third", [page([charge(5)], seen=30)])
        publish(again, "third")
        clock.forward(2 * DAY)
        _gc(again, bronze=1)
    assert _bronze(root) == set()


def _changed(old: str, new: str, *, columns: str = "") -> dict[str, str]:
    """The models, with another SELECT for charges."""
    sql = MODELS["silver/charges"]
    assert sql.count(old) == 1
    return {**MODELS, "silver/charges": sql.replace(old, new).replace("[columns]", f"[columns]\n{columns}")}


def test_a_changed_model_keeps_rows_without_bronze(lake: Lake, root: Path, clock: Clock) -> None:
    """Their old columns stay, a new one is NULL for them; objects that have bronze are built anew."""
    _gc(lake, bronze=30)
    models = _changed("status,", "status, 2 * amount as twice,", columns='twice = "t"')
    with open_small_lake(root, clock=clock, models=models) as again:
        publish(again, "third")
        found = rows(again, "select charge_id, amount_minor, twice from silver.charges order by 1")
    assert found == [
        ("ch_00000000", 1000, None),
        ("ch_00000001", 7, 14),
        ("ch_00000002", 1002, None),
        ("ch_00000003", 1003, 2006),
        ("ch_stub0000", 1004, 2008),
    ]


def test_a_changed_model_that_cannot_hold_the_old_rows_is_refused(
    lake: Lake, root: Path, clock: Clock
) -> None:
    """A column of another type, or one that must not be NULL: named, and what is published stays as it is."""
    _gc(lake, bronze=30)
    before = published_files(root)
    models = _changed("status,", "amount as status,").copy()
    with (
        open_small_lake(root, clock=clock, models=models) as again,
        pytest.raises(ModelError, match=r"silver/charges\.sql"),
    ):
        publish(again, "third")
    models = _changed("status,", "status, amount as must,", columns='must = "m"')
    models["silver/charges"] = models["silver/charges"].replace('["is_deleted"]', '["is_deleted", "must"]')
    with (
        open_small_lake(root, clock=clock, models=models) as again,
        pytest.raises(QualityError, match=r"not_null on silver\.charges: 2 bad"),
    ):
        publish(again, "fourth")
    assert published_files(root) == before


def _damage(lake: Lake, root: Path, day: str) -> None:
    path = root / read_latest(lake.storage, ["silver.charges"])["silver.charges"].partitions[day].key
    path.write_bytes(b"PAR1 nothing PAR1")


def test_a_rebuild_mends_what_bronze_still_tells(lake: Lake, root: Path, clock: Clock) -> None:
    """A damaged partition all of whose objects have bronze comes back whole."""
    whole = _digest(lake, "second")
    _gc(lake, bronze=30)
    _damage(lake, root, "2026-01-04")
    with open_small_lake(root, clock=clock) as again:
        assert _rebuild(again) == whole
        verify_lake(again)


def test_a_rebuild_never_loses_rows_in_silence(lake: Lake, root: Path, clock: Clock) -> None:
    """Neither file nor bronze: it is refused with the partition and the number of rows, until the loss is accepted."""
    _gc(lake, bronze=30)
    before = published_files(root)
    _damage(lake, root, "2026-01-03")
    damaged = published_files(root)
    with open_small_lake(root, clock=clock) as again:
        with pytest.raises(CorruptObject, match=r"silver\.charges dt=2026-01-03 \(1 rows\)"):
            _rebuild(again)
        assert published_files(root) == damaged
        _rebuild(again, "accepted", accept_loss=True)
        assert isinstance(again.reporter, Heard)
        assert "rows_lost" in again.reporter.names
        verify_lake(again)
        left = rows(again, "select charge_id from silver.charges order by 1")
        assert left == [(f"ch_{number}",) for number in ("00000000", "00000001", "00000003", "stub0000")]
    assert published_files(root) != before


def test_a_killed_retention_is_finished_by_the_next_gc(lake: Lake, root: Path) -> None:
    """The manifests forget first; objects that were not deleted any more are left-overs like others."""
    told = _gc(lake, bronze=30, dry_run=True)
    stubborn = replace(lake, storage=_Undeletable(root))
    with pytest.raises(StorageError, match="pulled"):
        _gc(stubborn, bronze=30)
    assert _bronze(root) == {"first", "second"}
    verify_lake(lake)
    assert _gc(lake) == told
    assert _bronze(root) == {"second"}


class _Undeletable(LocalStorage):
    """A storage whose plug is pulled at the first delete."""

    def delete(self, key: str) -> None:
        """Fail."""
        raise StorageError(f"the plug was pulled before {key} was deleted")


def test_what_was_deleted_is_not_taken_for_an_id_alone(tmp_path: Path, clock: Clock) -> None:
    """Silver knows what it was; a table filled from what bronze is left would not, and is refused."""
    gone = b'{"id": "ch_00000001", "object": "charge", "deleted": true}'
    with open_small_lake(tmp_path / "lake", clock=clock) as lake:
        land(lake, "first", [page([charge(1)], seen=0)])
        publish(lake, "first")
        clock.forward(90 * DAY)
        land(lake, "second", [page([gone], seen=90 * DAY, source="absent")])
        publish(lake, "second")
        both = [found.text for found in PublishedObjects(lake, ["charges"]).read("charges")]
        collect_garbage(lake, min_age_seconds=-CENTURIES, dry_run=False, retention=Retention(bronze=30))
        assert rows(lake, "select is_deleted, created_at is null from silver.charges") == [(True, False)]
        with pytest.raises(StorageError, match=r"1 charges whose bronze is gone"):
            list(PublishedObjects(lake, ["charges"]).read("charges"))
    assert len(both) == 2
