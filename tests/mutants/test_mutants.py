"""The tests are tested: every broken variant in the table must make its tests fail."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants.table import MUTANTS, Mutant

CHECKOUT = Path(__file__).parents[2]
COPIED = ("payments_pipeline", "mock_api", "sql", "tests", "pyproject.toml")
TESTS_FAILED = 1
QUICK = {
    "a failed gate does not stop the publish",
    "the epoch of a commit is not checked",
    "a window does not hold its first second",
    "a file is renamed before its bytes are synced",
    "of two observations the one that arrived first wins",
}
"""Those that every run of the suite tries: one of each kind, a few seconds each."""


def survivors(mutant: Mutant, folder: Path) -> str:
    """What the tests said of the mutant if they let it live; empty if a test failed."""
    for name in COPIED:
        copy = shutil.copytree if (CHECKOUT / name).is_dir() else shutil.copy
        copy(CHECKOUT / name, folder / name)
    path = folder / mutant.file
    text = path.read_text("utf-8")
    assert text.count(mutant.before) == 1, (
        f"{mutant.file} holds {text.count(mutant.before)} of: {mutant.before}"
    )
    path.write_text(text.replace(mutant.before, mutant.after), "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *shlex.split(mutant.tests)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return "" if done.returncode == TESTS_FAILED else f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"


def _kinds() -> list[object]:
    return [
        pytest.param(mutant, id=mutant.name, marks=() if mutant.name in QUICK else pytest.mark.nightly)
        for mutant in MUTANTS
    ]


@pytest.mark.parametrize("mutant", _kinds())
def test_a_broken_variant_is_caught(mutant: Mutant, folder: Path) -> None:
    """With the variant in place, one of the tests that are to notice it fails."""
    assert survivors(mutant, folder) == ""


def test_every_variant_can_still_be_made() -> None:
    """There are at least thirty, under names of their own, and what each replaces occurs exactly once."""
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 30
    assert {mutant.name for mutant in MUTANTS} >= QUICK
    counts = {
        mutant.name: (CHECKOUT / mutant.file).read_text("utf-8").count(mutant.before) for mutant in MUTANTS
    }
    assert {name: count for name, count in counts.items() if count != 1} == {}
