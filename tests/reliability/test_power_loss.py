from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.reliability.conftest import Figure, Scene
from tests.reliability.powerloss import Recording, record

SHARDS = 2


@pytest.fixture(scope="session")
def recording(scene: Scene, scratch: Path) -> Recording:
    """The log of one run, from taking the lease to giving it back."""
    lake, log = scene.copy(scratch / "recorded"), scratch / "recording"
    assert scene.processes.run(scene.job(lake, run_id="second", log=str(log))).ok() == scene.truth
    return record(lake, scene.base, log)


def test_nothing_is_relied_on_before_it_is_durable(recording: Recording, figure: Figure) -> None:
    """A9: nothing appears under its name before its bytes are synced; no record names what a power cut could take."""
    assert len(recording.entries) > 500
    figure("power_loss_log_entries", len(recording.entries))
    assert list(recording.violations()) == []


def test_a_missing_sync_is_noticed(recording: Recording) -> None:
    """A9: the same log without its syncs of files, or of folders, is full of violations: the rule can fail."""
    for call in ("fsync", "fsync-folder"):
        fewer = [entry for entry in recording.entries if entry["call"] != call]
        broken = Recording(recording.lake, recording.base, recording.log, fewer)
        assert len(list(broken.violations())) > 50


def _check_states(
    scene: Scene, recording: Recording, folder: Path, *, count: int, seed: int, rerun: int
) -> None:
    for number, (cut, state) in enumerate(recording.states(count, seed)):
        lake = folder / "lake"
        recording.materialise(state, lake)
        ended = scene.processes.run(scene.job(lake, step="inspect", run_id="next"))
        assert ended.exit == 0, f"cut at {cut}, seed {seed}, number {number}: {ended.message}"
        assert ended.result in {"first", "second"}
        if number % rerun == 0:
            again = scene.processes.run(scene.job(lake, step="settle", run_id="after"))
            assert again.ok() == scene.truth, f"cut at {cut}, seed {seed}, number {number}"
        shutil.rmtree(lake)


@pytest.mark.parametrize("shard", range(SHARDS))
def test_any_state_after_a_power_cut_is_recovered(
    scene: Scene, recording: Recording, folder: Path, shard: int, figure: Figure
) -> None:
    """A9: unsynced bytes lost, truncated or zeroed, unsynced folders half written: the next run goes on."""
    _check_states(scene, recording, folder, count=100, seed=shard, rerun=25)
    figure("power_loss_states_ci", 100)


@pytest.mark.nightly
@pytest.mark.parametrize("shard", range(SHARDS))
def test_thousands_of_states_after_a_power_cut_are_recovered(
    scene: Scene, recording: Recording, folder: Path, shard: int, figure: Figure
) -> None:
    """A9: the same, for two thousand states more."""
    _check_states(scene, recording, folder, count=1000, seed=100 + shard, rerun=50)
    figure("power_loss_states_nightly", 1000)
