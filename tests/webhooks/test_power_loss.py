from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from payments_pipeline.pipeline import opened
from payments_pipeline.webhooks.books import journal_damage, read_part
from payments_pipeline.webhooks.journal import Journal
from payments_pipeline.webhooks.roll import roll
from tests.e2e.harness import CHECKOUT
from tests.lakes import Clock, open_small_lake
from tests.reliability.powerloss import Recording, record
from tests.webhooks.events import screened
from tests.webhooks.power import EVENTS


def recorded(folder: Path, seed: int) -> Recording:
    """What two receivers and some runs did to an empty lake, in a process of their own."""
    (folder / "log").mkdir(parents=True)
    (folder / "base").mkdir()
    command = [sys.executable, "-m", "tests.webhooks.power", str(folder), str(seed)]
    subprocess.run(command, cwd=CHECKOUT, check=True, timeout=120)
    return record(folder / "lake", folder / "base", folder / "log")


def acknowledged(recording: Recording, cut: int) -> set[int]:
    """The events that had been acknowledged when the power was cut."""
    told = (entry["paths"] for entry in recording.entries[:cut] if entry["call"] == "acknowledged")
    return {int(number) for numbers in told for number in numbers}


def check(recording: Recording, folder: Path, *, states: int, seed: int) -> int:
    """Every sampled state after a power cut holds what was acknowledged, each once; how much that was in all."""
    total = 0
    for number, (cut, state) in enumerate(recording.states(states, seed)):
        lake, sure = folder / f"cut-{number}", acknowledged(recording, cut)
        recording.materialise(state, lake)
        with open_small_lake(lake, clock=Clock()) as after:
            known = sorted(sure)
            assert set(Journal(after.storage, after.clock).keep(screened(*known))) <= {"duplicate"}, cut
            assert journal_damage(after.storage)[1] == [], cut
            Journal(after.storage, after.clock).keep(screened(*range(EVENTS)))
            with opened(after, "after") as run:
                parts = roll(after, run.context, run.lease)
            lines = [line for part in parts for line in read_part(after.storage, part.key).lines]
            assert sorted(lines) == sorted(event.line for event in screened(*range(EVENTS))), cut
        total += len(sure)
    return total


def test_w1_what_is_acknowledged_survives_a_power_cut(folder: Path) -> None:
    """Whatever was not synced when the power went, and though a call to the disk failed before: nothing is lost or doubled."""
    total = 0
    for seed in (1, 2):
        recording = recorded(folder / f"{seed}", seed)
        total += check(recording, folder / f"{seed}", states=15, seed=seed)
    assert total > 150


@pytest.mark.nightly
def test_w1_what_is_acknowledged_survives_many_power_cuts(folder: Path) -> None:
    """The same for sixty histories and three thousand states."""
    for seed in range(100, 160):
        recording = recorded(folder / f"{seed}", seed)
        check(recording, folder / f"{seed}", states=50, seed=seed)


def test_w1_a_missing_sync_of_a_part_would_be_noticed(folder: Path) -> None:
    """The same history without its syncs of folders loses events: the test can fail."""
    recording = recorded(folder, 1)
    fewer = [entry for entry in recording.entries if entry["call"] != "fsync-folder"]
    broken = Recording(recording.lake, recording.base, recording.log, fewer)
    with pytest.raises(AssertionError):
        check(broken, folder, states=25, seed=1)
