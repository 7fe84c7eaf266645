"""Every command works on a lake in a bucket as it does on a disk, and needs nothing that an earlier one left behind."""

from __future__ import annotations

import json
import re
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from payments_pipeline.state.head import read_head
from payments_pipeline.state.manifest import Manifest, all_runs, read_manifest
from payments_pipeline.storage import LocalStorage, Storage, open_storage
from tests.e2e.harness import CHECKOUT, Account, Command, command_in, digest_of, logged
from tests.seaweed import BUCKET, Seaweed

QUESTION = "select currency, count(*), sum(amount_minor) from gold.fct_payments group by all order by all"


class Runner:
    """Runs each command on a machine of its own: an empty home, an empty folder, no temporary file from before."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self._folder = folder
        self._environ = environ

    def __call__(self, line: str, **environ: str) -> str:
        """What the command prints; it must succeed, and leave nothing on the machine."""
        with tempfile.TemporaryDirectory(dir=self._folder) as made:
            machine = Path(made)
            (machine / "tmp").mkdir()
            command = command_in(machine, TMPDIR=str(machine / "tmp"), **self._environ)
            done = command.ok(*line.split(" ", maxsplit=1 if line.startswith("query") else -1), **environ)
            assert sorted(path.name for path in machine.rglob("*")) == ["home", "tmp"], line
        assert all("secret" not in str(entry) for entry in logged(done.stderr))
        return done.stdout


@pytest.fixture
def runner(folder: Path, on_seaweed: str, seaweed: Seaweed, small: Account) -> Runner:
    """Machines that are told of the account and of the bucket."""
    prefix = on_seaweed.removeprefix(f"s3://{BUCKET}/")
    lake = {"PIPELINE_ENV": "AWS", "S3_BUCKET": BUCKET, "S3_PREFIX": prefix}
    return Runner(folder, MOCK_API_BASE_URL=small.url, **lake, **seaweed.environ())


def _last(storage: Storage) -> Manifest:
    published = read_head(storage).published
    assert published is not None
    return read_manifest(storage, published)


def test_a_whole_life_of_commands_gives_what_one_run_on_a_disk_gives(
    runner: Runner, on_seaweed: str, loaded: Path, command: Command
) -> None:
    """Runs, steps, backfill, rebuild, gc, verify, status and query; the content digest is that of the local lake."""
    runner("run-pipeline --days 1", RUN_ID="one")
    runner("backfill --from 2026-09-01 --to 2026-09-02")
    for step in ("run-all --days 3", "run-transforms", "run-quality"):
        runner(step, RUN_ID="steps")
    with closing(LocalStorage(loaded)) as local, closing(open_storage(on_seaweed)) as remote:
        assert digest_of(_last(remote)) == digest_of(_last(local))
        remote.put("_staging/run_id=lost/000009-gold.fct_refunds-2026-09-01.parquet", b"left over")
        runner("rebuild")
        assert digest_of(_last(remote)) == digest_of(_last(local))
        assert "_staging: 1 removed" in runner("gc --min-age-hours 0")
        assert not list(remote.list("_staging/"))
        transfers = [read_manifest(remote, run).transfers for run in all_runs(remote)]
    assert all(each.bytes_written > 0 for found in transfers for each in found.values())
    assert "objects are as recorded" in runner("verify")
    status = json.loads(runner("status --json"))
    assert status["lake"] == on_seaweed
    assert [run["run_id"] for run in status["runs"] if run["run_id"] in {"one", "steps"}] == ["steps", "one"]
    assert runner(f"query {QUESTION}") == command.ok("query", QUESTION, LOCAL_DATA_DIR=str(loaded)).stdout


def test_the_documented_lambda_handler_reads_what_its_environment_names(
    on_seaweed: str, small: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code in docs/deploy.md fills the bucket from the account that the function's variables name, not a simulated one."""
    for name, value in {
        "PIPELINE_ENV": "AWS",
        "S3_BUCKET": BUCKET,
        "S3_PREFIX": on_seaweed.removeprefix(f"s3://{BUCKET}/"),
        "MOCK_API_BASE_URL": small.url,
        "STRIPE_API_KEY": "sk_test_of_lambda",
    }.items():
        monkeypatch.setenv(name, value)
    [code] = re.findall(r"```python\n(.*?)```", (CHECKOUT / "docs/deploy.md").read_text(), re.DOTALL)
    scope: dict[str, Any] = {}
    exec(code, scope)  # noqa: S102 - our own page
    answer = scope["handler"]({}, None)
    with closing(open_storage(on_seaweed)) as storage:
        head = read_head(storage)
        assert (head.published, head.account, head.livemode) == tuple(answer.values())
        assert head.world is None
