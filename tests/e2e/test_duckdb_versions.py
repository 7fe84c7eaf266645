from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.harness import CHECKOUT, Command, contents, logged

OLDEST = "1.4"
"""The oldest release line that pyproject.toml allows; requirements/oldest.txt pins its newest release."""


@pytest.fixture(scope="session")
def oldest(scratch: Path) -> str:
    """A PYTHONPATH on which the oldest DuckDB comes before the installed one."""
    folder = scratch / "oldest-duckdb"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--no-deps"]
    pinned = ["--require-hashes", "--only-binary", ":all:", "--requirement", "requirements/oldest.txt"]
    subprocess.run([*pip, *pinned, "--target", str(folder)], cwd=CHECKOUT, check=True)
    return os.pathsep.join((str(folder), str(CHECKOUT)))


def _digest(command: Command, *arguments: str, path: str) -> str:
    """The content digest that the command published, with the DuckDB of that path."""
    assert f"v{OLDEST}." in command.ok("query", "select version()", PYTHONPATH=path).stdout
    said = logged(command.ok(*arguments, PYTHONPATH=path).stderr)
    [digest] = [line["digest"] for line in said if line["event"] == "publish_complete"]
    return str(digest)


@pytest.mark.nightly
def test_h8_another_duckdb_builds_the_same_content(
    command: Command, copy: Path, loaded: Path, oldest: str
) -> None:
    """H8: built anew by the oldest DuckDB that is allowed, and again by the installed one, every row is the same."""
    [published] = [
        line["digest"] for line in logged(command.ok("rebuild").stderr) if line["event"] == "publish_complete"
    ]
    assert _digest(command, "rebuild", path=oldest) == published
    assert contents(copy) == contents(loaded)
    assert _digest(command, "run-pipeline", "--days", "3", path=oldest) == published
    command.ok("verify")
