from __future__ import annotations

import os
import random
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.reliability.conftest import STEADY, Figure, Scene
from tests.reliability.leftovers import body_of, named_objects, torn, unnamed
from tests.reliability.processes import Ended

ERRNOS = ("ENOSPC", "EIO", "EACCES", "EDQUOT", "EMFILE")
SHARDS = 4
CHAIN = 8
"""So many runs in a row fail on one lake: that is harder on it, and one unharmed run settles them all."""


def _readable(lake: Path) -> bool:
    """Whether what is published is complete: the old or the new, unless a publish was announced and not ended."""
    head = lake / "_state/lake.json"
    if body_of(head)["publishing"] is not None:
        return True
    return all(
        sha256((lake / key).read_bytes()).hexdigest() == digest for key, digest in named_objects(lake).items()
    )


def _check_failure(ended: Ended, lake: Path, what: object) -> None:
    """Success, or an error of the storage (or a lease that could not be kept) that says where and what is safe."""
    assert not ended.killed, what
    assert ended.exit in {0, 4, 5}, f"{what}: exit {ended.exit}, {ended.error}: {ended.message}"
    if ended.exit:
        assert ended.message.strip(), what
        assert "again" in ended.message or "Nothing" in ended.message, f"{what}: {ended.message}"
    assert torn(lake) == [], what
    assert _readable(lake), what


class Sweep:
    """Runs of which one call to the disk fails, several in a row on one lake, and what settles that lake."""

    def __init__(self, scene: Scene, folder: Path, *, sticky: bool) -> None:
        self._scene = scene
        self._folder = folder
        self._sticky = sticky
        self._lake = self._fresh()
        self._failed = 0

    def __call__(self, numbers: Sequence[int]) -> int:
        """Let the N-th call fail for each N; how many of them a run has come to."""
        reached = sum(self._fails(number) for number in numbers)
        self._settle()
        return reached

    def _fails(self, number: int) -> bool:
        """Whether the fault took place; on a fresh lake if the runs before have left this one too little to do."""
        if self._failed == CHAIN:
            self._settle()
        fault = {"point": "*", "nth": number, "do": ERRNOS[number % len(ERRNOS)], "sticky": self._sticky}
        fresh = self._failed == 0
        if self._run(fault):
            return True
        self._settle()
        return not fresh and self._run(fault)

    def _run(self, fault: Mapping[str, Any]) -> bool:
        """Whether a run with the fault came to it."""
        job = self._scene.job(self._lake, run_id=f"failing-{fault['nth']}", fault=fault, **STEADY)
        ended = self._scene.processes.run(job)
        _check_failure(ended, self._lake, fault)
        self._failed += 1
        return bool(ended.points["*"] >= fault["nth"])

    def _settle(self) -> None:
        """An unharmed run makes all good."""
        ended = self._scene.processes.run(self._scene.job(self._lake, step="settle", run_id="after"))
        assert ended.ok() == self._scene.truth, self._lake
        shutil.rmtree(self._lake)
        self._lake, self._failed = self._fresh(), 0

    def _fresh(self) -> Path:
        return self._scene.copy(Path(tempfile.mkdtemp(dir=self._folder)) / "lake")


@pytest.fixture(scope="session")
def calls(small_scene: Scene, scratch: Path) -> int:
    """How many calls to the disk an unharmed run makes."""
    lake = small_scene.copy(scratch / "counted")
    return small_scene.processes.run(small_scene.job(lake, **STEADY)).points["*"]


@pytest.mark.parametrize("sticky", [False, True], ids=["once", "from-then-on"])
def test_the_nth_call_fails_and_the_next_run_makes_it_good(
    small_scene: Scene, folder: Path, calls: int, figure: Figure, *, sticky: bool
) -> None:
    """B1, B4: a call here and there all through a run fails with ENOSPC, EIO, EACCES, EDQUOT or EMFILE."""
    step = calls // 10
    numbers = list(range(1 + random.Random(calls).randrange(step), calls, step))
    assert Sweep(small_scene, folder, sticky=sticky)(numbers) == len(numbers)
    figure(f"failing_calls_ci_{'sticky' if sticky else 'once'}", len(numbers))


@pytest.mark.nightly
@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("sticky", [False, True], ids=["once", "from-then-on"])
def test_every_call_fails_and_the_next_run_makes_it_good(
    small_scene: Scene, folder: Path, calls: int, figure: Figure, *, sticky: bool, shard: int
) -> None:
    """B1, B4: every single call of a run fails, one after the other."""
    numbers = list(range(1 + shard, calls + 1, SHARDS))
    reached = Sweep(small_scene, folder, sticky=sticky)(numbers)
    assert reached >= len(numbers) - 2, "a run makes a call more or less"
    figure(f"failing_calls_nightly_{'sticky' if sticky else 'once'}", reached)


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """A folder on a file system of its own; who may not mount one has every call fail from the `last` one on."""

    folder: Path
    mounted: bool
    last: int

    def full(self) -> dict[str, object]:
        """What a job needs to find the disk filling up while it works."""
        fault = {"point": "*", "nth": self.last, "do": "ENOSPC", "sticky": True}
        return {} if self.mounted else {"fault": fault, **STEADY}

    def fill(self) -> None:
        """Leave not a byte."""
        if self.mounted:
            with (self.folder / "filler").open("wb", buffering=0) as stream, suppress(OSError):
                while True:
                    stream.write(bytes(4096))

    def widen(self) -> None:
        """Have space again."""
        if self.mounted:
            (self.folder / "filler").unlink()
            subprocess.run(["mount", "-o", "remount,size=64m", str(self.folder)], check=True)


@pytest.fixture
def disk(folder: Path, request: pytest.FixtureRequest) -> Iterator[SmallDisk]:
    """A small disk: so many kB, or so many calls, as the parameter says."""
    size, last = request.param
    mount = folder / "disk"
    mount.mkdir()
    mounted = os.geteuid() == 0
    if mounted:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(mount)], check=True)
    yield SmallDisk(mount, mounted, last)
    if mounted:
        subprocess.run(["umount", "--lazy", str(mount)], check=True)


@pytest.mark.parametrize("disk", [(1200, 30), (1600, 200), (2000, 500), (2600, 900)], indirect=True)
def test_a_full_disk_is_said_and_nothing_is_lost(scene: Scene, disk: SmallDisk) -> None:
    """B1, B2: the disk fills up while landing, building or publishing; with space again the run succeeds."""
    lake = scene.copy(disk.folder / "lake")
    ended = scene.processes.run(scene.job(lake, run_id="full", **disk.full()))
    if ended.exit:
        assert ended.exit == 4
        assert "No space left" in ended.message
    disk.fill()
    refused = scene.processes.run(scene.job(lake, run_id="fuller", **disk.full()))
    assert (refused.exit, "free space" in refused.message) == (4, True), refused
    assert torn(lake) == []
    disk.widen()
    assert scene.processes.run(scene.job(lake, step="settle", run_id="after")).ok() == scene.truth


@pytest.mark.parametrize("size", [2000, 4000, 6000])
def test_duckdb_without_space_is_said(scene: Scene, lake: Path, size: int) -> None:
    """B2: DuckDB cannot finish a draft: the run says so, nothing is published and no draft stays; with space it goes on."""
    scene.copy(lake)
    scene.processes.run(scene.job(lake, step="extract", run_id="small")).ok()
    published = named_objects(lake)
    ended = scene.processes.run(scene.job(lake, run_id="small", limits={"FSIZE": size}))
    assert (ended.exit, "Nothing was published; free space" in ended.message) == (4, True), ended
    assert ".parquet" in ended.message
    assert _readable(lake)
    assert published.items() <= named_objects(lake).items()
    assert scene.processes.run(scene.job(lake, step="settle", run_id="small")).ok() == scene.truth
    assert unnamed(lake) == []


@pytest.mark.parametrize("size", [200, 3000, 9000])
def test_a_limit_on_file_size_is_said(scene: Scene, lake: Path, size: int) -> None:
    """B3: a process that may not write files beyond a size fails as if the disk were full, and harms nothing."""
    scene.copy(lake)
    ended = scene.processes.run(scene.job(lake, run_id="limited", limits={"FSIZE": size}))
    assert ended.exit == 4, ended
    assert torn(lake) == []
    assert scene.processes.run(scene.job(lake, step="settle", run_id="after")).ok() == scene.truth


@pytest.mark.parametrize("limit", [8, 24])
def test_too_few_open_files_are_said(scene: Scene, lake: Path, limit: int) -> None:
    """B7: too few for the storage, or for DuckDB: the run says which limit to raise, publishes nothing, and is made good."""
    scene.copy(lake)
    published = named_objects(lake)
    ended = scene.processes.run(scene.job(lake, run_id="limited", limits={"NOFILE": limit}))
    assert (ended.exit, "Too many open files" in ended.message) == (4, True), ended
    assert "raise the limit on open files (ulimit -n) and run again" in ended.message
    assert published.items() <= named_objects(lake).items()
    assert torn(lake) == []
    assert scene.processes.run(scene.job(lake, step="settle", run_id="after")).ok() == scene.truth


def test_a_limit_of_open_files_that_does_is_enough(scene: Scene, lake: Path) -> None:
    """B7: a quarter of the 256 that the strictest systems give by default does for a small lake."""
    scene.copy(lake)
    ended = scene.processes.run(scene.job(lake, step="settle", limits={"NOFILE": 64}))
    assert ended.ok() == scene.truth


def test_a_folder_that_may_not_be_written_is_named(scene: Scene, lake: Path) -> None:
    """B6: a run over a lake that its user may only read is refused, names the folder and changes nothing."""
    scene.copy(lake)
    for path in [lake, *lake.rglob("*")]:
        path.chmod(stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH | (0o111 if path.is_dir() else 0))
    for parent in (lake.parent, lake.parent.parent):
        parent.chmod(0o755)
    before = {path: path.stat().st_mtime_ns for path in lake.rglob("*")}
    uid = 65534 if os.geteuid() == 0 else None  # root may write anywhere
    ended = scene.processes.run(scene.job(lake, run_id="nobody", uid=uid))
    assert ended.exit == 4, ended
    assert str(lake) in ended.message
    assert "Permission denied" in ended.message
    assert {path: path.stat().st_mtime_ns for path in lake.rglob("*")} == before
