from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from mock_api.faults import Poison, Rule, Script
from tests.e2e.harness import Account, Command, account_of, files_of, logged, read_parquet, refusal, run

POISONS = {
    "NaN": ("amount", "NaN"),
    "half a surrogate pair": ("description", '"\\ud800"'),
    "a number that is not whole": ("amount", "1.5"),
    "a number as text": ("amount", '"12"'),
    "a number that no column holds": ("amount", "9" * 30),
    "another kind of object": ("object", '"charge"'),
    "milliseconds": ("created", "1788220800000"),
}


@pytest.mark.parametrize("poison", POISONS)
def test_a_poisoned_record_is_quarantined_whole(lake: Path, poison: str) -> None:
    """What no column can hold is kept byte for byte with its reason, counted, and left out of silver; the rest goes on."""
    field, raw = POISONS[poison]
    rule = Rule(Poison(raw=raw, field=field), path="/v1/refunds")
    with account_of(days=3.4, customers_per_day=3, rules=(rule,)) as account:
        _refund_something(account)
        manifest = run(lake, account, publish=False)
        truth = account.truth()["refunds"]
    lines = [
        json.loads(text)
        for path in lake.glob("quarantine/*/entity=refunds/*/*/*.jsonl")
        for text in path.read_text().splitlines()
    ]
    assert lines
    for line in lines:
        kept = base64.b64decode(line["record_base64"]).decode()
        assert f'"{field}": {raw}' in kept
        assert any(object_id in kept for object_id in truth)
        assert line["reason"]
    assert manifest.extract.entities["refunds"].quarantined == len(lines)


def _refund_something(account: Account) -> None:
    world = account.world
    world.play(account.clock() - 3600)
    charge = next(
        row for row in world.rows("charges") if row["status"] == "succeeded" and not row["refunded"]
    )
    world.create_refund(charge=charge["id"])


def test_too_much_poison_stops_the_run(command: Command, lake: Path) -> None:
    """Above MAX_QUARANTINE_SHARE: exit code 1, nothing published, everything kept; the log counts what was quarantined."""
    rule = Rule(Poison(raw="1.5", field="livemode"), path="/v1/products")
    with account_of(days=2.4, customers_per_day=2, rules=(rule,)) as account:
        url = {"MOCK_API_BASE_URL": account.url}
        done = command("run-pipeline", "--days", "3", MAX_QUARANTINE_SHARE="0", MAX_PAGE_SIZE="1", **url)
        assert "quarantine_share" in refusal(done, 1)
        counted = [line for line in logged(done.stderr) if line["event"] == "records_quarantined"]
        assert sum(line["records"] for line in counted) > 0
        assert not list(lake.glob("silver/**/*.parquet"))
        assert not list(lake.glob("gold/**/*.parquet"))
        assert list(lake.glob("quarantine/*/entity=products/*/*/*.jsonl"))


def test_a_failed_gate_changes_no_published_byte(command: Command, copy: Path) -> None:
    """What is staged and found wrong is not published: exit code 1 names the check, readers see what they saw before."""
    published = files_of(copy, "silver", "gold")
    views = (copy / "lake.duckdb").read_bytes()
    with account_of(days=2.4, customers_per_day=2) as account:
        rule = Rule(Poison(raw="1", field="net"), path="/v1/balance_transactions")
        account.faults.replace(_only(rule))
        account.clock.set(account.clock() + 86_400)
        done = command("run-pipeline", "--days", "3", MOCK_API_BASE_URL=account.url)
        said = refusal(done, 1)
    assert "Nothing was published" in said
    assert files_of(copy, "silver", "gold") == published
    assert (copy / "lake.duckdb").read_bytes() == views


def _only(rule: Rule) -> Script:
    return Script((rule,))


def test_a_tampered_staged_file_is_not_published(command: Command, lake: Path) -> None:
    """A file that changes between the transforms and the audit is noticed: exit code 4, nothing published."""
    command.ok("run-all", "--days", "3", RUN_ID="split")
    command.ok("run-transforms", RUN_ID="split")
    file = min(lake.glob("_staging/run_id=split/**/*gold.fct_payments*.parquet"))
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    refusal(command("run-quality", RUN_ID="split"), 4)
    assert not list(lake.glob("gold/**/*.parquet"))
    command.ok("run-transforms", RUN_ID="split")
    command.ok("run-quality", RUN_ID="split")
    assert list(lake.glob("gold/**/*.parquet"))


def test_a_source_that_was_wrong_is_mended_by_the_next_run(command: Command, lake: Path) -> None:
    """After a refusal the bronze is kept, and a run that sees the right record publishes it without any clean-up."""
    with account_of(days=2.4, customers_per_day=2) as account:
        account.faults.replace(_only(Rule(Poison(raw="1", field="net"), path="/v1/balance_transactions")))
        url = {"MOCK_API_BASE_URL": account.url}
        refusal(command("run-pipeline", "--days", "3", **url), 1)
        account.faults.replace(_only(Rule(Poison(), path="/nowhere")))
        command.ok("run-pipeline", "--days", "3", SAFETY_WINDOW_SECONDS="400000", **url)
        truth = account.truth()["balance_transactions"]
    rows = read_parquet(lake, "silver.balance_transactions")
    assert {row["balance_transaction_id"]: row["net_minor"] for row in rows} == {
        object_id: obj["net"] for object_id, obj in truth.items()
    }
