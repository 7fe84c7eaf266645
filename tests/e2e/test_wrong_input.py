from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mock_api.faults import Answer, Rule, Script
from tests.e2e.harness import (
    Account,
    Command,
    account_of,
    contents,
    files_of,
    refusal,
)

BOOKKEEPING = {"_state/lease.json", "_state/lake.json"}


@pytest.fixture
def shell(copy: Path, command: Command) -> Command:
    """The command, over a lake that is loaded already."""
    assert command.environ["LOCAL_DATA_DIR"] == str(copy)
    return command


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run-batch", "--entity", "chargse"), "chargse"),
        (("run-batch",), "--entity"),
        (("run-pipeline", "--from", "yesterday"), "yesterday"),
        (("run-pipeline", "--from", "2026-02-30"), "2026-02-30"),
        (("run-pipeline", "--from", "2026-09-02T00:00:00+02:00"), "no date or time of UTC; write"),
        (("reconcile", "--from", "2026-09-02T00:00+02:00"), "no date or time of UTC; write"),
        (("run-pipeline", "--from", "2026-09-03", "--to", "2026-09-02"), "2026-09-03"),
        (("run-pipeline", "--from", "2026-09-02", "--to", "2026-09-02"), "2026-09-02"),
        (("run-pipeline", "--to", "2026-09-02"), "--from"),
        (("run-pipeline", "--days", "1", "--from", "2026-09-02"), "--days"),
        (("run-pipeline", "--days", "0"), "--days"),
        (("run-pipeline", "--days", "many"), "many"),
        (("run-pipeline", "--days", "1", "--days", "x"), "--days"),
        (("run-all", "--entity", "charges"), "--entity"),
        (("run-everything",), "run-everything"),
        (("query", "selekt 1"), "selekt"),
        (("query", "select * from gold.no_such_model"), "no_such_model"),
        (("query", "select count(*) from bronze.charges"), "silver, gold and marts only"),
        (("query", "describe links.charges"), "links.charges"),
        (("query", "select * from read_csv('/etc/passwd')"), "passwd"),
        (("query", "select * from '/etc/passwd'"), "passwd"),
        (("query", "copy (select 1) to '/tmp/stolen.csv'"), "SELECT"),
        (("query", "select 1", "--format", "xml"), "xml"),
        (("run-pipelin",), "Did you mean run-pipeline?"),
        (("models", "describe", "gold.no_such_model"), "no_such_model"),
        (("models", "lineage", "no_such_model"), "no_such_model"),
        (("gc", "--min-age-hours", "-1"), "--min-age-hours"),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, tuple) else "",
)
def test_a_wrong_argument_gets_one_line_and_changes_nothing(
    shell: Command, copy: Path, arguments: tuple[str, ...], said: str
) -> None:
    """Exit code 2, one line that names what is wrong, and a lake that is byte for byte as it was."""
    before = files_of(copy)
    assert said in refusal(shell(*arguments), 2)
    assert files_of(copy) == before


def test_a_wrong_option_is_answered_with_where_to_look(command: Command) -> None:
    """The help of the command that was asked for; without any command, the help itself."""
    assert refusal(command("status", "--lak", "x"), 2).endswith("See payments-pipeline status --help.")
    assert refusal(command("--lake", "x", "status"), 2).endswith("See payments-pipeline --help.")
    alone = command()
    assert (alone.returncode, alone.stdout) == (2, "")
    assert alone.stderr.startswith("Usage: payments-pipeline")


@pytest.mark.parametrize("start", ["2026-09-03T09:36:00", "2026-09-04", "2100-01-01"])
@pytest.mark.parametrize("name", ["run-pipeline", "backfill"])
def test_a_range_that_has_not_begun_is_refused(
    shell: Command, copy: Path, small: Account, name: str, start: str
) -> None:
    """Exit code 2 and both times; nothing waits for a gate to find that nothing is covered, no run is noted."""
    assert f"{small.now():%Y-%m-%d %H:%M:%S}" == "2026-09-03 09:36:00"
    before = files_of(copy)
    said = refusal(shell(name, "--from", start, "--to", "2100-01-02"), 2)
    assert start[:10] in said
    assert "2026-09-03 09:36:00" in said
    after = files_of(copy)
    assert before.keys() == after.keys()
    assert {key for key in before if before[key] != after[key]} <= BOOKKEEPING


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RUN_ID", "../../etc"),
        ("RUN_ID", "a/b"),
        ("RUN_ID", "x" * 65),
        ("MAX_PAGE_SIZE", "101"),
        ("MAX_PAGE_SIZE", "ten"),
        ("MAX_CONNECTIONS", "0"),
        ("SAFETY_WINDOW_SECONDS", "-1"),
        ("MAX_QUARANTINE_SHARE", "2"),
        ("DUCKDB_MEMORY_LIMIT", "plenty"),
        ("DUCKDB_THREADS", "0"),
        ("MOCK_API_BASE_URL", "ftp://127.0.0.1"),
        ("MOCK_API_BASE_URL", "http://api.example.com"),
        ("PIPELINE_ENV", "MOON"),
    ],
)
def test_a_wrong_setting_gets_one_line_that_names_it(
    shell: Command, copy: Path, name: str, value: str
) -> None:
    """Exit code 2, one line with the variable's name, and nothing read or written."""
    before = files_of(copy)
    assert name in refusal(shell("run-pipeline", **{name: value}), 2)
    assert files_of(copy) == before


@pytest.mark.parametrize("command_name", ["status", "verify", "gc", "run-transforms", "rebuild"])
def test_a_lake_that_is_not_there_is_said_to_be_missing(
    command: Command, lake: Path, command_name: str
) -> None:
    """Commands that need a lake say that there is none, where, and what makes one; they leave nothing behind."""
    assert str(lake) in refusal(command(command_name), 4)
    assert not lake.exists()


def test_a_question_to_a_lake_that_is_not_there_leaves_nothing(command: Command, lake: Path) -> None:
    """So does `query`; `run-quality` says that nothing is staged."""
    assert str(lake) in refusal(command("query", "select 1"), 4)
    assert "staged" in refusal(command("run-quality"), 2)
    assert not lake.exists()


def test_a_file_where_the_lake_should_be_is_left_alone(command: Command, lake: Path) -> None:
    """Exit code 4 names the file, which is as it was."""
    lake.write_text("precious")
    assert str(lake) in refusal(command("run-pipeline", "--days", "3"), 4)
    assert lake.read_text() == "precious"


def test_a_read_only_folder_is_named(command: Command, copy: Path) -> None:
    """Who may not write there gets exit code 4 and the path, and nothing has changed."""
    before = files_of(copy)
    with _modes(copy, 0o500):
        assert str(copy) in refusal(_without_privilege(command, "run-pipeline", "--days", "3"), 4)
    assert files_of(copy) == before


def test_a_read_only_lake_answers_questions(command: Command, copy: Path) -> None:
    """Who may only read the lake can ask it and verify it, and not one byte of it changes."""
    before = files_of(copy)
    with _modes(copy, 0o500):
        for arguments in (("query", "select count(*) from gold.fct_payments"), ("status",), ("verify",)):
            done = _without_privilege(command, *arguments)
            assert done.returncode == 0, done.stderr
    assert files_of(copy) == before


@pytest.mark.parametrize(
    "arguments", [("status",), ("query", "select 1"), ("run-pipeline", "--days", "3")], ids=" ".join
)
def test_an_unreadable_folder_is_named(command: Command, copy: Path, arguments: tuple[str, ...]) -> None:
    """Who may not read the lake gets exit code 4 and the path, not an empty lake."""
    with _modes(copy, 0o000):
        assert str(copy) in refusal(_without_privilege(command, *arguments), 4)


@contextmanager
def _modes(lake: Path, mode: int) -> Iterator[None]:
    """Give every folder of the lake that mode for a while."""
    folders = [lake, *(path for path in lake.rglob("*") if path.is_dir())]
    for each in reversed(folders):
        each.chmod(mode)
    try:
        yield
    finally:
        for each in folders:
            each.chmod(0o700)


def _without_privilege(command: Command, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it so that files' modes count, also for root."""
    lowered = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    return subprocess.run(
        [*lowered, sys.executable, "-m", "payments_pipeline", *arguments],
        cwd=command.folder,
        env=dict(command.environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_wrong_key_fails_at_once(shell: Command, copy: Path) -> None:
    """A key that Stripe refuses: exit code 3, Stripe's own message and request id, no retries, the key nowhere."""
    before = files_of(copy)
    done = shell("run-pipeline", "--days", "3", STRIPE_API_KEY="wrong_key_123")
    said = refusal(done, 3)
    assert "401" in said
    assert "req_" in said
    assert "wrong_key_123" not in done.stderr
    assert files_of(copy) == before


@pytest.mark.nightly
def test_an_api_that_cannot_be_reached_is_named(command: Command, lake: Path) -> None:
    """Nobody listens: exit code 3 names the address, after half a minute of attempts."""
    said = refusal(command("run-batch", "--entity", "products", MOCK_API_BASE_URL="http://127.0.0.1:9"), 3)
    assert "http://127.0.0.1:9" in said


def test_an_html_server_is_not_taken_for_an_api(command: Command, lake: Path) -> None:
    """An answer that is not JSON: exit code 3 says what answered instead, and where."""
    rules = (Rule(Answer(200, body="<html>Welcome to the hotel</html>")),)
    with account_of(days=1, customers_per_day=1, rules=rules) as hotel:
        said = refusal(command("run-pipeline", MOCK_API_BASE_URL=hotel.url), 3)
    assert "text/html" in said
    assert hotel.url in said


def test_a_refusal_midway_keeps_what_was_landed(command: Command, lake: Path, loaded: Path) -> None:
    """One endpoint without permission: exit code 3 names it, the next run continues and ends in the same content."""
    with account_of(days=2.4, customers_per_day=2) as account:
        account.faults.replace(Script((Rule(Answer(403), path="/v1/payouts"),)))
        said = refusal(command("run-pipeline", "--days", "3", MOCK_API_BASE_URL=account.url), 3)
        assert "payouts" in said
        account.faults.replace(Script())
        command.ok("run-pipeline", "--days", "3", MOCK_API_BASE_URL=account.url)
    assert contents(lake) == contents(loaded)


def test_a_run_id_belongs_to_its_request(shell: Command, copy: Path) -> None:
    """A RUN_ID that was used for another request is refused; the first run's record stays."""
    before = files_of(copy)
    assert "first" in refusal(shell("run-pipeline", "--days", "2", RUN_ID="first"), 2)
    assert {key: sha for key, sha in files_of(copy).items() if key not in BOOKKEEPING} == {
        key: sha for key, sha in before.items() if key not in BOOKKEEPING
    }


def test_a_lake_takes_one_account_only(shell: Command, copy: Path) -> None:
    """Another account's data is not mixed in: exit code 2 names both accounts."""
    before = files_of(copy)
    with account_of(days=1, customers_per_day=1, seed=8) as other:
        said = refusal(shell("run-pipeline", MOCK_API_BASE_URL=other.url), 2)
    assert "acct_mock7x" in said
    assert "acct_mock8x" in said
    assert {key: sha for key, sha in files_of(copy).items() if key not in BOOKKEEPING} == {
        key: sha for key, sha in before.items() if key not in BOOKKEEPING
    }


def test_nothing_staged_cannot_be_audited(shell: Command) -> None:
    """`run-quality` without anything staged says which command comes first."""
    assert "run-transforms" in refusal(shell("run-quality"), 2)
    assert "run-transforms" in refusal(shell("run-quality", RUN_ID="never-seen"), 2)
