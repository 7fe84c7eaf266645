from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tests.reliability.conftest import Figure, Scene
from tests.reliability.leftovers import named_objects

KINDS = {
    "bronze": "bronze/**/*.jsonl",
    "quarantine": "quarantine/**/*.jsonl",
    "silver": "silver/**/*.parquet",
    "gold": "gold/**/*.parquet",
    "head": "_state/lake.json",
    "manifest": "_state/manifests/run_*.json",
    "latest": "_state/manifests/_latest/*.json",
    "watermark": "_state/watermarks/*.json",
}
COUNT = "select count(*), count(distinct payment_id) from gold.fct_payments"


@pytest.fixture(scope="session")
def sound(scene: Scene, scratch: Path) -> Path:
    """A lake with everything in it and nothing unnamed. Not to be written to."""
    lake = scene.copy(scratch / "sound")
    scene.processes.run(scene.job(lake, step="settle", run_id="second")).ok()
    return lake


def _some(lake: Path, kind: str, rng: random.Random) -> Path:
    named = named_objects(lake).keys()
    found = sorted(lake.glob(KINDS[kind]))
    return rng.choice(
        [path for path in found if "_state" in path.parts or str(path.relative_to(lake)) in named]
    )


def _flip(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def _check_flips(scene: Scene, sound: Path, lake: Path, kind: str, *, count: int, seed: int) -> None:
    shutil.copytree(sound, lake)
    rng = random.Random(f"{kind}-{seed}")
    for number in range(count):
        path = _some(lake, kind, rng)
        whole = path.read_bytes()
        if number % 5 == 4:
            path.write_bytes(whole[: rng.randrange(len(whole))])
        else:
            _flip(path, rng)
        ended = scene.processes.run(scene.job(lake, step="verify"))
        assert ended.exit == 4, f"{path.name} of {kind}, flip {number}: {ended}"
        assert str(path.relative_to(lake)) in ended.message, ended.message
        path.write_bytes(whole)


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_or_a_cut_is_named(
    scene: Scene, sound: Path, lake: Path, kind: str, figure: Figure
) -> None:
    """B10, B12, G1: one flipped bit, or a truncated file, of every kind: verify names the file."""
    _check_flips(scene, sound, lake, kind, count=5, seed=1)
    figure(f"flips_ci_{kind}", 5)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", KINDS)
def test_hundreds_of_flipped_bits_are_named(
    scene: Scene, sound: Path, lake: Path, kind: str, figure: Figure
) -> None:
    """B10, B12, G1: the same, many times over."""
    _check_flips(scene, sound, lake, kind, count=100, seed=2)
    figure(f"flips_nightly_{kind}", 100)


@pytest.mark.parametrize("damage", ["flipped", "truncated", "deleted"])
@pytest.mark.parametrize("kind", ["silver", "gold"])
def test_damaged_gold_is_never_served_and_a_rebuild_heals_it(
    scene: Scene, sound: Path, lake: Path, kind: str, damage: str
) -> None:
    """B10, B11, I15: nothing reads a damaged partition; a run that need not leaves it to verify; rebuild mends it."""
    shutil.copytree(sound, lake)
    folder, model = {
        "silver": ("silver/source=stripe/entity=payment_intents", "silver.payment_intents"),
        "gold": ("gold/model=fct_payments", "gold.fct_payments"),
    }[kind]
    path = min((lake / folder).rglob("*.parquet"))
    if damage == "flipped":
        _flip(path, random.Random(5))
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        path.unlink()
    assert (
        scene.processes.run(scene.job(lake, run_id="next")).ok() == scene.truth
    )  # nothing of that day has changed
    question = f"select count(*) from {model}"
    for job in (scene.job(lake, step="query", sql=question), scene.job(lake, step="verify")):
        ended = scene.processes.run(job)
        assert ended.exit == 4, ended
        assert str(path.relative_to(lake)) in ended.message
    assert scene.processes.run(scene.job(lake, step="rebuild", run_id="healing")).ok() == scene.truth
    assert scene.processes.run(scene.job(lake, step="settle", run_id="after")).ok() == scene.truth


def test_a_lost_bronze_part_is_loud(scene: Scene, sound: Path, lake: Path) -> None:
    """B11: verify and rebuild name a part that is gone; what is published stays readable."""
    shutil.copytree(sound, lake)
    path = _some(lake, "bronze", random.Random(3))
    path.unlink()
    for step in ("verify", "rebuild"):
        ended = scene.processes.run(scene.job(lake, step=step, run_id=f"after-{step}"))
        assert ended.exit == 4, ended
        assert str(path.relative_to(lake)) in ended.message
    assert scene.processes.run(scene.job(lake, step="query", sql=COUNT)).ok()


@pytest.mark.parametrize("kind", ["head", "latest", "watermark", "lease"])
def test_a_lost_state_file_is_made_again(scene: Scene, sound: Path, lake: Path, kind: str) -> None:
    """G6: without one kind of state file the same is read, and the next run publishes the same."""
    shutil.copytree(sound, lake)
    read = scene.processes.run(scene.job(lake, step="query", sql=COUNT)).ok()
    for path in sorted(lake.glob({**KINDS, "lease": "_state/lease.json"}[kind])):
        path.unlink()
    assert scene.processes.run(scene.job(lake, step="query", sql=COUNT)).ok() == read
    assert scene.processes.run(scene.job(lake, step="settle", run_id="after")).ok() == scene.truth


def test_a_lake_without_state_is_filled_again(scene: Scene, sound: Path, lake: Path) -> None:
    """G6: all of `_state` lost: the next run fetches everything again; gc leaves the old bronze alone."""
    shutil.copytree(sound, lake)
    bronze = set(lake.glob("bronze/**/*.jsonl"))
    shutil.rmtree(lake / "_state")
    assert scene.processes.run(scene.job(lake, step="settle", run_id="again")).ok() == scene.truth
    assert bronze <= set(lake.glob("bronze/**/*.jsonl"))


def test_a_lake_restored_from_an_older_copy_catches_up(scene: Scene, sound: Path, lake: Path) -> None:
    """G7: an old copy of the lake, and old state over newer files: the first just goes on, `verify` names the second, then it is rebuilt."""
    shutil.copytree(sound, lake)
    shutil.rmtree(lake / "_state")
    shutil.copytree(scene.base / "_state", lake / "_state")
    ended = scene.processes.run(scene.job(lake, step="verify"))
    assert ended.exit == 4, ended
    scene.processes.run(scene.job(lake, step="rebuild", run_id="healing")).ok()
    assert scene.processes.run(scene.job(lake, step="settle", run_id="after")).ok() == scene.truth


def test_a_publish_whose_staging_is_lost_is_given_up_and_rebuilt(scene: Scene, lake: Path) -> None:
    """B11, H2: a killed publish whose staged files were deleted is named once; then a rebuild makes all good."""
    scene.copy(lake)
    fault = {"point": "publish:promote:gold:after", "do": "kill"}
    assert scene.processes.run(scene.job(lake, run_id="killed", fault=fault)).killed
    shutil.rmtree(lake / "_staging")
    ended = scene.processes.run(scene.job(lake, run_id="next"))
    assert (ended.exit, ended.error) == (4, "CorruptObject")
    assert "rebuild" in ended.message
    scene.processes.run(scene.job(lake, step="rebuild", run_id="healing")).ok()
    assert scene.processes.run(scene.job(lake, step="settle", run_id="after")).ok() == scene.truth


@pytest.mark.parametrize("folder_name", ["bronze", "silver", "gold", "_state", "_staging"])
def test_a_planted_link_is_not_followed(scene: Scene, lake: Path, folder: Path, folder_name: str) -> None:
    """B13: a folder of the lake replaced by a link: nothing is written where it leads."""
    scene.copy(lake)
    outside = folder / "outside"
    shutil.move(lake / folder_name, outside)
    (lake / folder_name).symlink_to(outside)
    before = {path: path.stat().st_mtime_ns for path in outside.rglob("*") if path.is_file()}
    ended = scene.processes.run(scene.job(lake, run_id="next"))
    assert ended.exit == 4, ended
    assert {path: path.stat().st_mtime_ns for path in outside.rglob("*") if path.is_file()} == before
