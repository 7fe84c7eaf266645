from __future__ import annotations

import os
import random
import shutil
import stat
import subprocess
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import pytest

from tests.reliability.conftest import Figure, Scene
from tests.reliability.leftovers import body_of, named_objects, torn
from tests.reliability.processes import Ended

ERRNOS = ("ENOSPC", "EIO", "EACCES", "EDQUOT", "EMFILE")
SHARDS = 2


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


def _sweep(scene: Scene, folder: Path, numbers: Sequence[int], *, sticky: bool) -> None:
    """Let the N-th call fail for each N, four runs in a row on one lake; then an unharmed run makes all good."""
    for start in range(0, len(numbers), 4):
        lake = scene.copy(folder / f"lake-{start}-{sticky}")
        for number in numbers[start : start + 4]:
            fault = {"point": "*", "nth": number, "do": ERRNOS[number % len(ERRNOS)], "sticky": sticky}
            job = scene.job(lake, run_id=f"failing-{number}", fault=fault, environ={"MAX_CONNECTIONS": "1"})
            _check_failure(scene.processes.run(job), lake, fault)
        ended = scene.processes.run(scene.job(lake, step="settle", run_id="after"))
        assert ended.ok() == scene.truth, numbers[start : start + 4]
        shutil.rmtree(lake)


@pytest.fixture(scope="session")
def calls(scene: Scene, scratch: Path) -> int:
    """How many calls to the disk an unharmed run makes."""
    lake = scene.copy(scratch / "counted")
    return scene.processes.run(scene.job(lake, environ={"MAX_CONNECTIONS": "1"})).points["*"]


@pytest.mark.parametrize("sticky", [False, True], ids=["once", "from-then-on"])
def test_the_nth_call_fails_and_the_next_run_makes_it_good(
    scene: Scene, folder: Path, calls: int, figure: Figure, *, sticky: bool
) -> None:
    """B1, B4: a call here and there all through a run fails with ENOSPC, EIO, EACCES, EDQUOT or EMFILE."""
    step = calls // 10
    numbers = list(range(1 + random.Random(calls).randrange(step), calls, step))
    _sweep(scene, folder, numbers, sticky=sticky)
    figure(f"failing_calls_ci_{'sticky' if sticky else 'once'}", len(numbers))


@pytest.mark.nightly
@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("sticky", [False, True], ids=["once", "from-then-on"])
def test_every_call_fails_and_the_next_run_makes_it_good(
    scene: Scene, folder: Path, calls: int, figure: Figure, *, sticky: bool, shard: int
) -> None:
    """B1, B4: every single call of a run fails, one after the other."""
    numbers = list(range(1 + shard, calls + 1, SHARDS))
    _sweep(scene, folder, numbers, sticky=sticky)
    figure(f"failing_calls_nightly_{'sticky' if sticky else 'once'}", len(numbers))


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A small file system of its own, as many MB as the parameter says."""
    mount = tmp_path / "disk"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={request.param}k", "tmpfs", str(mount)], check=True)
    yield mount
    subprocess.run(["umount", "--lazy", str(mount)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
@pytest.mark.parametrize("disk", [1200, 1600, 2000, 2600], indirect=True)
def test_a_full_disk_is_said_and_nothing_is_lost(scene: Scene, disk: Path) -> None:
    """B1, B2: the disk fills up while landing, building or publishing; with space again the run succeeds."""
    lake = scene.copy(disk / "lake")
    filler = disk / "filler"
    filler.touch()
    ended = scene.processes.run(scene.job(lake, run_id="full"))
    if ended.exit:
        assert ended.exit == 4
        assert "No space left" in ended.message
    with filler.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(4096))
        except OSError:
            pass
    refused = scene.processes.run(scene.job(lake, run_id="fuller"))
    assert (refused.exit, "free space" in refused.message) == (4, True), refused
    assert torn(lake) == []
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    assert scene.processes.run(scene.job(lake, step="settle", run_id="after")).ok() == scene.truth


@pytest.mark.parametrize("size", [200, 3000, 9000])
def test_a_limit_on_file_size_is_said(scene: Scene, lake: Path, size: int) -> None:
    """B3: a process that may not write files beyond a size fails as if the disk were full, and harms nothing."""
    scene.copy(lake)
    ended = scene.processes.run(scene.job(lake, run_id="limited", limits={"FSIZE": size}))
    assert ended.exit == 4, ended
    assert torn(lake) == []
    assert scene.processes.run(scene.job(lake, step="settle", run_id="after")).ok() == scene.truth


def test_too_few_open_files_are_said(scene: Scene, lake: Path) -> None:
    """B7: a process that may open hardly any file succeeds or says so; the next one makes it good."""
    scene.copy(lake)
    ended = scene.processes.run(scene.job(lake, run_id="limited", limits={"NOFILE": 24}))
    assert ended.exit in {0, 3, 4}, ended
    assert scene.processes.run(scene.job(lake, step="settle", run_id="after")).ok() == scene.truth


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_a_folder_that_may_not_be_written_is_named(scene: Scene, lake: Path) -> None:
    """B6: another user's run over a read-only lake is refused, names the folder and changes nothing."""
    scene.copy(lake)
    for path in [lake, *lake.rglob("*")]:
        path.chmod(stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH | (0o111 if path.is_dir() else 0))
    for parent in (lake.parent, lake.parent.parent):
        parent.chmod(0o755)
    before = {path: path.stat().st_mtime_ns for path in lake.rglob("*")}
    ended = scene.processes.run(scene.job(lake, run_id="nobody", uid=65534))
    assert ended.exit == 4, ended
    assert str(lake) in ended.message
    assert "Permission denied" in ended.message
    assert {path: path.stat().st_mtime_ns for path in lake.rglob("*")} == before
