"""Fixtures that tests of several kinds share: simulated accounts, and lakes that are empty or already loaded."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Account, Command, account_of, command_in, run
from tests.seaweed import BUCKET, Seaweed, environ_of, new_prefix, shared_seaweed
from tests.simulated_s3 import moto_with

_MEMORY = Path("/dev/shm")  # noqa: S108 - only a parent for folders with names of their own


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for lakes, in memory where the system offers that: these tests kill processes, not machines."""
    if not _MEMORY.is_dir():
        yield tmp_path_factory.mktemp("lakes")
        return
    with tempfile.TemporaryDirectory(prefix="payments-pipeline-", dir=_MEMORY) as folder:
        yield Path(folder)


@pytest.fixture
def folder(scratch: Path) -> Iterator[Path]:
    """An empty folder of the test's own."""
    made = Path(tempfile.mkdtemp(dir=scratch))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def lake(folder: Path) -> Path:
    """Where a lake may be made; nothing is there yet."""
    return folder / "lake"


@pytest.fixture(scope="session")
def account() -> Iterator[Account]:
    """Two weeks of business, for tests that only read."""
    with account_of(days=14.4, customers_per_day=3) as served:
        yield served


@pytest.fixture(scope="session")
def small() -> Iterator[Account]:
    """Two and a half days of business, for tests that load it many times and only read."""
    with account_of(days=2.4, customers_per_day=2) as served:
        yield served


@pytest.fixture(scope="session")
def loaded(small: Account, scratch: Path) -> Path:
    """A lake that holds all of `small`, published by one run. Not to be written to: copy it."""
    made = scratch / "loaded"
    run(made, small, environ={"RUN_ID": "first"})
    return made


@pytest.fixture
def copy(loaded: Path, lake: Path) -> Path:
    """The test's own copy of `loaded`."""
    shutil.copytree(loaded, lake)
    return lake


@pytest.fixture
def command(folder: Path, lake: Path, small: Account) -> Command:
    """The installed command, its environment naming `lake` and `small`."""
    return command_in(folder, LOCAL_DATA_DIR=str(lake), MOCK_API_BASE_URL=small.url)


@pytest.fixture
def command_for(folder: Path) -> Callable[..., Command]:
    """Makes the installed command with an environment of the test's own."""
    return lambda **environ: command_in(folder, **environ)


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """A real S3 server, the same for all workers of this session."""
    base = tmp_path_factory.getbasetemp()
    with shared_seaweed(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) as server:
        yield server


@pytest.fixture
def on_seaweed(seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a lake in a bucket; nothing is there yet. The environment lets boto3 find the server."""
    for name, value in seaweed.environ().items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{new_prefix()}"


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The URL of a simulated S3 server in this process."""
    with moto_with(BUCKET) as url:
        yield url


@pytest.fixture
def on_moto(moto: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a lake in a bucket of it; nothing is there yet. The environment lets boto3 find the server."""
    for name, value in environ_of(moto).items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{new_prefix()}"
