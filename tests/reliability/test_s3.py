"""Runs over a lake in a bucket that are killed, meet each other, or lose the store: the next one makes it good."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from payments_pipeline import layout
from payments_pipeline.state.head import read_head
from payments_pipeline.state.manifest import all_runs, read_manifest
from payments_pipeline.storage import Storage, open_storage
from payments_pipeline.storage.parallel import each
from tests.reliability.child import Job
from tests.reliability.conftest import Scene
from tests.reliability.processes import Ended
from tests.seaweed import BUCKET, Seaweed, environ_of, new_prefix

CHAIN = [
    "extract:create:bronze:after",
    "extract:swap:manifest:before",
    "extract:swap:watermark:before",
    "transform:adopt:staged:after",
    "transform:swap:manifest:after",
    "publish:swap:head:after",
    "open:promote:silver:after",
    "open:promote:gold:before",
    "open:swap:latest:before",
    "open:swap:manifest:before",
]
"""Run after run dies here, over the same lake; from the one that announced its publish on, the next finish it."""

SHORT_CHAIN = ["extract:create:bronze:after", "publish:swap:head:after", "open:promote:gold:before"]
"""One point of each kind."""


@dataclass(frozen=True, slots=True)
class Remote:
    """The scene with its lake in a bucket."""

    scene: Scene
    environ: Mapping[str, str]

    def filled(self) -> Storage:
        """A bucket's copy of the scene's lake."""
        storage = open_storage(f"s3://{BUCKET}/{new_prefix()}")
        files = [path for path in self.scene.base.rglob("*") if path.is_file() and not _is_private(path)]
        each(lambda path: storage.put(path.relative_to(self.scene.base).as_posix(), path.read_bytes()), files)
        return storage

    def job(self, storage: Storage, **changes: object) -> Job:
        """A run over the lake at the account's present second."""
        job = Job(
            lake=storage.url,
            url=self.scene.account.url,
            now=self.scene.account.clock(),
            environ={**self.environ, "MAX_CONNECTIONS": "2"},
        )
        return replace(job, **changes)  # type: ignore[arg-type]  # fields by name

    def run(self, storage: Storage, **changes: object) -> Ended:
        """Do it to its end."""
        return self.scene.processes.run(self.job(storage, **changes))


def _is_private(path: Path) -> bool:
    """What is a lake's folder's own: locks, leftovers, and the views with their paths."""
    return any(part.startswith(".") for part in path.parts) or path.name == "lake.duckdb"


@pytest.fixture
def remote(scene: Scene, seaweed: Seaweed, on_seaweed: str) -> Remote:
    """The scene, and how its jobs find the store."""
    return Remote(scene, environ_of(seaweed.endpoint))


@pytest.fixture
def lake(remote: Remote) -> Iterator[Storage]:
    """The scene's lake in a bucket: some days are in it, half a day of news waits."""
    storage = remote.filled()
    yield storage
    storage.close()


@pytest.mark.parametrize("chain", [SHORT_CHAIN, pytest.param(CHAIN, marks=pytest.mark.nightly)], ids=len)
def test_a2_a_run_killed_at_any_point_is_made_good_by_the_next(
    remote: Remote, lake: Storage, chain: list[str]
) -> None:
    """A2: SIGKILL at point after point; the last run gives what an unharmed one gives, and nothing is left over."""
    for number, point in enumerate(chain):
        fault = {"point": point, "do": "kill"}
        ended = remote.run(lake, run_id=f"killed-{number}", fault=fault, ttl=1.0)
        assert ended.killed, f"{point} was never reached: {ended}"
    assert remote.run(lake, run_id="after", step="settle").ok() == remote.scene.truth
    _check_nothing_unnamed(lake)


@pytest.mark.parametrize("count", [3, pytest.param(8, marks=pytest.mark.nightly)])
def test_d1_of_many_runs_at_once_one_publishes(remote: Remote, lake: Storage, count: int) -> None:
    """D1, D4: the others leave with exit code 5 and have changed nothing."""
    before = len(_published(lake))
    jobs = [remote.job(lake, run_id=f"racer-{number}") for number in range(count)]
    ended = [started.wait() for started in [remote.scene.processes.start(job) for job in jobs]]
    won = [found for found in ended if found.exit == 0]
    assert {found.exit for found in ended} == {0, 5}, [found.message for found in ended]
    assert {found.result for found in won} == {remote.scene.truth}
    assert len(_published(lake)) == before + len(won)
    epochs = [read_manifest(lake, run).epoch for run in all_runs(lake) if run.startswith("racer-")]
    assert len(epochs) == len(set(epochs)) == len(won)
    assert remote.run(lake, step="verify").ok() > 0


def _published(lake: Storage) -> list[str]:
    return [run.run_id for run in read_head(lake).runs if run.outcome == "published"]


def _check_nothing_unnamed(lake: Storage) -> None:
    assert list(lake.list(layout.STAGING)) == []
    named = {part.key for run in all_runs(lake) for part in read_manifest(lake, run).extract.parts}
    assert {info.key for info in lake.list(layout.BRONZE)} == named
