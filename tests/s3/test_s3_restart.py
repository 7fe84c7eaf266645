"""The store itself dies and comes back."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from payments_pipeline.state.head import read_head
from payments_pipeline.state.manifest import Manifest, read_manifest
from payments_pipeline.storage import LocalStorage, Storage, open_storage
from tests.e2e.harness import Account, Command, command_in, digest_of, logged, refusal
from tests.seaweed import BUCKET, Seaweed, new_prefix, seaweed_in

pytestmark = pytest.mark.nightly


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Seaweed]:
    """A server that no other test uses."""
    with seaweed_in(tmp_path) as server:
        yield server


@pytest.fixture
def url(own: Seaweed, monkeypatch: pytest.MonkeyPatch) -> str:
    """A lake in it; nothing is there yet."""
    for name, value in own.environ().items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{new_prefix()}"


@pytest.fixture
def remote(folder: Path, own: Seaweed, url: str, small: Account) -> Command:
    """The installed command over that lake."""
    return command_in(folder, LOCAL_DATA_DIR=url, MOCK_API_BASE_URL=small.url, **own.environ())


def _last(storage: Storage) -> Manifest:
    with closing(storage):
        published = read_head(storage).published
        assert published is not None
        return read_manifest(storage, published)


def _until(process: subprocess.Popen[str], event: str) -> list[str]:
    """The log's lines up to the first with that event."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if f'"{event}"' in line:
            return seen
    raise AssertionError(f"no {event}: {''.join(seen)}")


@pytest.mark.parametrize("moment", ["bronze_write_complete", "transform_complete", "quality_passed"])
def test_c8_a_run_survives_a_restart_of_the_store(
    remote: Command, own: Seaweed, url: str, loaded: Path, moment: str
) -> None:
    """C8: SIGKILL of the server in mid-run, two seconds of nothing, a start: the run ends well, and right."""
    process = remote.start("run-pipeline", "--days", "3", RUN_ID="through")
    _until(process, moment)
    own.kill()
    time.sleep(2)
    own.start()
    _, rest = process.communicate(timeout=200)
    assert process.returncode == 0, rest
    own.wait_until_ready()
    assert digest_of(_last(open_storage(url))) == digest_of(_last(LocalStorage(loaded)))
    remote.ok("verify")


def test_c8_a_store_that_stays_away_ends_the_run_and_the_next_makes_it_good(
    remote: Command, own: Seaweed, url: str, loaded: Path
) -> None:
    """C8: one line that says the store cannot be reached, exit code 4; what had been landed is used by the next run."""
    process = remote.start("run-pipeline", "--days", "3", RUN_ID="cut-off", AWS_MAX_ATTEMPTS="3")
    _until(process, "transform_complete")
    own.kill()
    out, rest = process.communicate(timeout=200)
    done = subprocess.CompletedProcess([], process.returncode, out, rest)
    assert "cannot be reached" in refusal(done, 4)
    own.start()
    own.wait_until_ready()
    again = remote.ok("run-pipeline", "--days", "3", RUN_ID="cut-off")
    assert not [line for line in logged(again.stderr) if line["event"] == "bronze_write_complete"]
    assert digest_of(_last(open_storage(url))) == digest_of(_last(LocalStorage(loaded)))
    remote.ok("verify")
