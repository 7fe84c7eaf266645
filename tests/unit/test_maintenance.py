"""Keeping a lake sound: `verify` names what is damaged, damage is never served, and `gc` takes only what nothing names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from payments_pipeline import layout, pipeline
from payments_pipeline.api import verify
from payments_pipeline.errors import CorruptObject, StorageError
from payments_pipeline.inspect import run_query
from payments_pipeline.lake import Lake
from payments_pipeline.maintenance import collect_garbage, verify_lake
from payments_pipeline.retention import Retention
from payments_pipeline.settings import Settings
from payments_pipeline.state.head import commit
from tests.lakes import FIRST, SECOND, Clock, land, lease, open_small_lake, page, publish, stage


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


@pytest.mark.parametrize("where", ["bronze", "quarantine", "silver", "gold", "_state"])
def test_verify_names_any_flipped_bit(lake: Lake, root: Path, where: str) -> None:
    """Whichever file of whichever layer it is in, and nothing damaged is ever served."""
    land(lake, "first", [*FIRST, page([b"{"])])
    publish(lake, "first")
    assert verify_lake(lake) > 8
    unnamed = {root / "_state/.lock", *(root / "_state/reports").rglob("*")}
    files = [path for path in (root / where).rglob("*") if path.is_file() and path not in unnamed]
    assert files
    assert where != "_state" or root / layout.LEASE in files
    for path in files:
        data = path.read_bytes()
        for position in (0, len(data) // 2, len(data) - 2):
            path.write_bytes(data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :])
            with pytest.raises(StorageError) as caught:
                verify_lake(lake)
            assert path.relative_to(root).as_posix() in str(caught.value)
        path.unlink()
        if where != "_state":
            with pytest.raises(CorruptObject, match="is missing"):
                verify_lake(lake)
        path.write_bytes(data)
    assert verify_lake(lake) > 8


@pytest.mark.parametrize("layer", ["silver", "gold"])
def test_a_damaged_partition_is_not_served(root: Path, clock: Clock, layer: str) -> None:
    """Queries that need it refuse it, by name."""
    with open_small_lake(root, clock=clock) as lake:
        land(lake, "first", FIRST)
        publish(lake, "first")
        model, document = next(
            (model, lake.latest()[model.qualified])
            for model in lake.models.layer(layer)
            if lake.latest()[model.qualified].partitions
        )
    path = root / next(iter(document.partitions.values())).key
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with open_small_lake(root, clock=clock) as lake, pytest.raises(CorruptObject, match="not served"):
        run_query(lake, f"select count(*) from {model.qualified}")


def test_gc_removes_what_nothing_names(lake: Lake, root: Path, clock: Clock) -> None:
    """Old objects that no manifest and no list names go; everything else stays, and so does what waits for its audit."""
    land(lake, "first", [*FIRST, page([b"{"])])
    publish(lake, "first")
    land(lake, "second", SECOND)
    stage(lake, "second")
    junk = [
        "bronze/source=stripe/entity=charges/dt=2026-01-01/run_id=first/part-dead.jsonl",
        "quarantine/source=stripe/entity=charges/dt=2026-01-01/run_id=first/part-dead.jsonl",
        "silver/source=stripe/entity=charges/dt=1999-01-01/data.parquet",
        "gold/model=gone/dt=2026-01-01/data.parquet",
        "_staging/run_id=dead/000001/silver/x.parquet",
    ]
    kept = {
        path: path.read_bytes() for path in root.rglob("*") if path.is_file() and "_state" not in str(path)
    }
    orphan = junk[0].replace("first", "lost")
    for key in [*junk, orphan]:
        lake.storage.put(key, b"junk")
    (root / "gold" / ".tmp-dead").write_bytes(b"half")
    clock.moment = clock.moment.replace(year=2100)
    in_74_years = 74 * 365 * 86_400.0
    assert collect_garbage(lake, min_age_seconds=2 * in_74_years, dry_run=False) == []
    assert sorted(collect_garbage(lake, min_age_seconds=3600, dry_run=True)) == sorted(junk)
    assert all((root / key).exists() for key in junk)
    assert sorted(collect_garbage(lake, min_age_seconds=3600, dry_run=False)) == sorted(junk)
    assert {path: path.read_bytes() for path in kept} == kept
    assert not any((root / key).exists() for key in [*junk, "gold/.tmp-dead"])
    assert lake.storage.read(orphan) == b"junk", (
        "bronze of a run whose manifest is lost may be all there is of it"
    )
    assert verify_lake(lake) > 8
    with pipeline.opened(lake, "second") as run:
        pipeline.check_and_publish(lake, run, max_quarantine_share=0.5)


def test_gc_keeps_what_a_build_has_rejected_until_quarantine_is_old(
    lake: Lake, root: Path, clock: Clock
) -> None:
    """No manifest names it, but it is quarantine like any other: it goes by `--quarantine-days`, and not before."""
    land(lake, "first", FIRST)
    publish(lake, "first")
    key = layout.quarantine_part("charges", clock().date(), "first", "000009-part-000001-00001")
    lake.storage.put(key, b"{}\n")
    written = clock().timestamp() - 40 * 86_400
    os.utime(root / key, (written, written))
    for kept in (None, Retention(quarantine=50)):
        assert key not in collect_garbage(lake, min_age_seconds=0, dry_run=False, retention=kept)
    removed = collect_garbage(lake, min_age_seconds=0, dry_run=False, retention=Retention(quarantine=30))
    assert removed == [key]


def test_gc_waits_for_an_open_publish(lake: Lake, clock: Clock) -> None:
    """While a journal is open nothing is removed."""
    with lease(lake.storage, clock) as held:
        commit(lake.storage, held, lambda head: head.model_copy(update={"publishing": "first"}))
    with pytest.raises(StorageError, match="interrupted while publishing"):
        collect_garbage(lake, min_age_seconds=0, dry_run=False)


def test_verify_takes_no_open_publish_for_damage(lake: Lake, clock: Clock) -> None:
    """What is half moved is not what the lists say; the next run finishes it, and only then is there something to verify."""
    with lease(lake.storage, clock) as held:
        commit(lake.storage, held, lambda head: head.model_copy(update={"publishing": "first"}))
    with pytest.raises(StorageError, match="the next run finishes what was begun"):
        verify(Settings.from_env({"LOCAL_DATA_DIR": lake.storage.url}))
