from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from payments_pipeline import layout
from payments_pipeline.state.head import Head
from payments_pipeline.state.lease import LeaseRecord
from payments_pipeline.storage import open_storage
from tests.e2e.harness import Account, Command, contents, files_of, refusal, run

STATE = {
    "head": "_state/lake.json",
    "manifest": "_state/manifests/run_first.json",
    "watermark": "_state/watermarks/charges.json",
    "latest": "_state/manifests/_latest/silver.charges.json",
}
READER = {
    "head": ("run-pipeline", "--days", "3"),
    "manifest": ("rebuild",),
    "watermark": ("run-pipeline", "--days", "3"),
    "latest": ("run-pipeline", "--days", "3"),
}
"""State files, and a command that has to read each."""


@pytest.fixture
def shell(copy: Path, command: Command) -> Command:
    """The command, over a lake that is loaded already."""
    assert command.environ["LOCAL_DATA_DIR"] == str(copy)
    return command


def _cut(text: str) -> str:
    return text[: len(text) // 2]


def _emptied(_: str) -> str:
    return ""


def _altered(text: str) -> str:
    """One digit of the body is another one: still JSON, and still of the right shape."""
    document = json.loads(text)
    body = json.dumps(document["body"])
    at = next(at for at, letter in enumerate(body) if letter.isdigit())
    document["body"] = json.loads(body[:at] + str((int(body[at]) + 1) % 10 or 1) + body[at + 1 :])
    return json.dumps(document)


def _newer(text: str) -> str:
    return json.dumps({**json.loads(text), "schema_version": 99})


@pytest.mark.parametrize("damage", [_cut, _emptied, _altered], ids=["cut", "emptied", "altered"])
@pytest.mark.parametrize("name", STATE)
def test_a_damaged_state_file_is_noticed_and_nothing_is_lost(
    shell: Command, copy: Path, name: str, damage: Callable[[str], str]
) -> None:
    """Exit code 4 names the file; no published byte and no bronze changes; with the file restored, all is well."""
    path = copy / STATE[name]
    whole = path.read_text()
    before = files_of(copy, "bronze", "silver", "gold")
    path.write_text(damage(whole))
    assert str(path) in refusal(shell(*READER[name]), 4)
    assert files_of(copy, "bronze", "silver", "gold") == before
    path.write_text(whole)
    shell.ok("verify")


@pytest.mark.parametrize("name", STATE)
def test_state_of_a_newer_version_is_left_alone(shell: Command, copy: Path, name: str) -> None:
    """A file written by a newer release: exit code 4 says to upgrade, and the file is as it was."""
    path = copy / STATE[name]
    path.write_text(_newer(path.read_text()))
    before = path.read_bytes()
    said = refusal(shell(*READER[name]), 4)
    assert str(path) in said
    assert "newer" in said
    assert path.read_bytes() == before


def test_a_lost_watermark_is_made_again(shell: Command, copy: Path, loaded: Path) -> None:
    """Without its watermark an entity is not fetched anew for ever: a run restores it, and the content is the same."""
    (copy / STATE["watermark"]).unlink()
    shell.ok("run-pipeline", "--days", "3")
    assert contents(copy) == contents(loaded)
    assert (copy / STATE["watermark"]).is_file()


def test_damaged_bronze_is_never_built_from(shell: Command, copy: Path) -> None:
    """A changed bronze part stops a rebuild with exit code 4 and its name; what is published stays."""
    part = min(copy.glob("bronze/*/entity=charges/*/*/*.jsonl"))
    before = files_of(copy, "silver", "gold")
    part.write_bytes(part.read_bytes().replace(b'"amount":', b'"amount":9', 1))
    assert str(part.relative_to(copy)) in refusal(shell("rebuild"), 4)
    assert files_of(copy, "silver", "gold") == before


def test_damaged_gold_is_never_served(shell: Command, copy: Path) -> None:
    """A changed published file: a question that needs it gets exit code 4 instead of an answer."""
    file = min(copy.glob("gold/model=fct_payments/*/data.parquet"))
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    said = refusal(shell("query", "select count(*) from gold.fct_payments"), 4)
    assert str(file) in said


def test_a_second_run_finds_the_lake_taken(shell: Command, copy: Path) -> None:
    """While a living run holds the lease another one exits with 5, naming the run, and changes nothing."""
    storage = open_storage(str(copy))
    now = datetime.now(UTC)
    record = LeaseRecord(
        epoch=40,
        run_id="busy",
        host=socket.gethostname(),
        pid=os.getpid(),
        since=now,
        expires_at=now + timedelta(seconds=60),
    )
    storage.put(layout.LEASE, record.sealed())
    before = files_of(copy)
    for arguments in (("run-pipeline",), ("run-transforms",), ("rebuild",), ("gc",)):
        assert "busy" in refusal(shell(*arguments), 5)
    assert files_of(copy) == before
    shell.ok("query", "select 1")
    shell.ok("gc", "--dry-run")
    assert files_of(copy) == before


def test_a_run_that_was_overtaken_commits_nothing(small: Account, copy: Path) -> None:
    """Once a newer epoch has written the head, an older holder is refused."""
    storage = open_storage(str(copy))
    head = Head.unsealed(storage.read(layout.HEAD), where="head")
    storage.put(layout.HEAD, head.model_copy(update={"epoch": 1000}).sealed())
    before = files_of(copy, "bronze", "silver", "gold")
    with pytest.raises(Exception, match="newer run"):
        run(copy, small)
    assert files_of(copy, "bronze", "silver", "gold") == before
