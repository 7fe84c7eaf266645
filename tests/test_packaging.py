"""What is built and pinned: the wheel carries all it needs, and the pins match what pyproject.toml asks for."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

if TYPE_CHECKING:
    from email.message import Message

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PINNED_FILES = ["run.txt", "dev.txt"]
PROMISED_TARGETS = """
    setup mock-api run-pipeline run-batch run-all run-transforms run-quality
    populate populate-force fetch init-all populate-all all
    init-db init-migration migrate upgrade-db downgrade-db reset-db ingest-all ingest-customer check-db publish-gold
    lint format format-check typecheck test clean help
""".split()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the checkout."""
    return _build("--wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    """The wheel's METADATA."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def _build(kind: str, source: Path, target: Path) -> Path:
    command = [sys.executable, "-m", "build", kind, "--no-isolation", "--outdir", str(target), str(source)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return next(target.iterdir())


def _tracked(*paths: str) -> list[str]:
    result = subprocess.run(["git", "ls-files", *paths], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in result.stdout.splitlines() if (ROOT / name).is_file()]


def _files(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def _pins(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / name).read_text("utf-8")
    return dict(re.findall(r"^([a-z0-9.-]+)==([^ ]+)", text, re.MULTILINE))


def test_wheel_holds_both_packages_the_sql_and_the_fixture(wheel: Path) -> None:
    """Every tracked file of the packages, every SQL file and the fixture travel in the wheel."""
    expected = set(_tracked("payments_pipeline", "mock_api"))
    expected |= {f"payments_pipeline/{name}" for name in _tracked("sql", "fixtures")}
    assert expected - _files(wheel) == set()


def test_wheel_is_typed(wheel: Path) -> None:
    """Type checkers of users read our annotations."""
    assert {"payments_pipeline/py.typed", "mock_api/py.typed"} <= _files(wheel)


def test_wheel_holds_nothing_else(wheel: Path) -> None:
    """Neither tests nor project files are installed next to the user's other packages."""
    assert {name.split("/")[0] for name in _files(wheel)} == {"payments_pipeline", "mock_api"}


def test_sdist_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    """A wheel built from the source distribution holds what one built from the checkout holds."""
    sdist = _build("--sdist", ROOT, tmp_path / "sdist")
    unpacked = tmp_path / "unpacked"
    subprocess.run([sys.executable, "-m", "tarfile", "-e", str(sdist), str(unpacked)], check=True)
    source = next(unpacked.iterdir())
    assert [name for name in _tracked() if not (source / name).is_file()] == []
    assert _files(_build("--wheel", source, tmp_path / "again")) == _files(wheel)


def test_base_install_is_small(metadata: Message) -> None:
    """Without extras no web framework, database driver or Spark is installed."""
    base = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
    names = {requirement.name for requirement in base if requirement.marker is None}
    assert names.isdisjoint({"fastapi", "uvicorn", "starlette", "sqlalchemy", "psycopg", "pyspark"})
    assert "duckdb" in names


@pytest.mark.parametrize("name", PINNED_FILES)
def test_every_pin_has_a_hash(name: str) -> None:
    """No pinned package can be replaced upstream without the installation failing."""
    text = (ROOT / "requirements" / name).read_text("utf-8")
    assert re.findall(r"^[a-z0-9.-]+==.*(?<!\\)$", text, re.MULTILINE) == []
    assert (
        len(re.findall(r"^[a-z0-9.-]+==.* \\\n    --hash=sha256:", text, re.MULTILINE))
        >= len(_pins(name))
        > 0
    )


@pytest.mark.parametrize(
    ("name", "extras", "groups"),
    [
        ("run.txt", ["mock", "webhooks"], ["build"]),
        ("dev.txt", ["mock"], ["build", "test", "lint", "docs", "dev"]),
    ],
)
def test_pins_satisfy_what_is_asked_for(name: str, extras: list[str], groups: list[str]) -> None:
    """Every requirement of pyproject.toml is pinned at an allowed version: `make lock` was not forgotten."""
    asked = list(PYPROJECT["project"]["dependencies"])
    asked += [text for extra in extras for text in PYPROJECT["project"]["optional-dependencies"][extra]]
    asked += [
        text for group in groups for text in PYPROJECT["dependency-groups"][group] if isinstance(text, str)
    ]
    pins = _pins(name)
    wrong = [
        text for text in asked if not (pin := Requirement(text)).specifier.contains(pins.get(pin.name, "0"))
    ]
    assert wrong == []


def test_tests_run_on_the_versions_users_run() -> None:
    """What both pin files name, they pin at the same version."""
    run, dev = (_pins(name) for name in PINNED_FILES)
    assert run.items() <= dev.items()


def test_no_file_names_a_registry() -> None:
    """Where packages come from is each machine's own setting, so no file records it."""
    # Spelt so that this file is not its own counterexample.
    address = re.compile(
        "|".join(["py" + r"pi\.org", "python" + "hosted", "index" + "-url", "find" + "-links"])
    )
    found = [
        name
        for name in _tracked()
        if address.search((ROOT / name).read_bytes().decode("utf-8", errors="replace"))
    ]
    assert found == []


def test_make_alone_lists_what_it_can_do() -> None:
    """`make` without a target changes nothing and names every promised target."""
    listing = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(PROMISED_TARGETS) <= {line.split()[0] for line in listing.splitlines()}
