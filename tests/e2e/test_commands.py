from __future__ import annotations

import json
import os
import pty
import re
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import httpx
import pytest

from payments_pipeline import layout
from payments_pipeline.entities import ENTITIES
from payments_pipeline.state.coverage import read_coverage
from payments_pipeline.state.head import read_head
from payments_pipeline.storage import LocalStorage
from tests.e2e.harness import Account, Command, command_in, contents, files_of, logged, refusal, spoken

EVENTS = [
    "bronze_write_complete",
    "extract_complete",
    "transform_complete",
    "quality_passed",
    "publish_complete",
]


@pytest.fixture
def shell(copy: Path, command: Command) -> Command:
    """The command, over a lake that is loaded already."""
    assert command.environ["LOCAL_DATA_DIR"] == str(copy)
    return command


def test_run_pipeline_leaves_every_promised_artifact(command: Command, lake: Path) -> None:
    """One run writes bronze, silver, gold, watermarks, its manifest and the views, where users were told to look."""
    command.ok("run-pipeline", "--days", "3", RUN_ID="my-run-001")
    day = r"\d{4}-\d\d-\d\d"
    for pattern in (
        rf"bronze/source=stripe/entity=charges/dt={day}/run_id=my-run-001/part-[^/]+\.jsonl",
        rf"silver/source=stripe/entity=charges/dt={day}/data\.parquet",
        rf"gold/model=fct_payments/dt={day}/data\.parquet",
        r"_state/watermarks/charges\.json",
        r"_state/manifests/run_my-run-001\.json",
        r"_state/manifests/_latest/gold\.fct_payments\.json",
        r"lake\.duckdb",
    ):
        assert any(re.fullmatch(pattern, key) for key in files_of(lake)), pattern
    assert {path.stem for path in (lake / "_state/watermarks").iterdir()} == set(ENTITIES)
    assert not [path for path in (lake / "_staging").rglob("*") if path.is_file()]


def test_a_run_logs_its_story_in_json(command: Command) -> None:
    """Every line on standard error is JSON with the run's id; the promised events come in order, with their counts."""
    done = command.ok("run-pipeline", "--days", "3", RUN_ID="my-run-001")
    lines = logged(done.stderr)
    assert spoken(done.stderr) == []
    assert {line["run_id"] for line in lines} == {"my-run-001"}
    seen = [line["event"] for line in lines]
    assert [event for event in dict.fromkeys(seen) if event in EVENTS] == EVENTS
    extracted = lines[seen.index("extract_complete")]
    assert extracted["records"] > 0
    assert extracted["api_calls"] > len(ENTITIES)
    assert (extracted["retries"], extracted["failures"]) == (0, 0)
    assert all(
        line["records"] > 0 and line["entity"] in ENTITIES for line in lines if line["event"] == EVENTS[0]
    )


def test_a_run_says_first_what_it_reads(command_for: Callable[..., Command], lake: Path) -> None:
    """Nobody who forgot a key takes the simulated account's figures for their own."""
    done = command_for(LOCAL_DATA_DIR=str(lake)).ok("run-batch", "--entity", "products", "--days", "1")
    first = logged(done.stderr)[0]
    assert (first["event"], first["livemode"]) == ("source_opened", False)
    assert "simulated account" in first["source"]
    assert first["account"].startswith("acct_")


def test_a_second_run_publishes_nothing_new(command: Command, lake: Path) -> None:
    """Running the same command twice leaves the published files as they are."""
    command.ok("run-pipeline", "--days", "3")
    before = files_of(lake, "silver", "gold")
    done = command.ok("run-pipeline", "--days", "3")
    assert files_of(lake, "silver", "gold") == before
    assert logged(done.stderr)[-1]["partitions"] == 0


def test_the_split_flow_shares_a_run_id(command: Command, lake: Path, loaded: Path) -> None:
    """run-all, run-transforms and run-quality under one RUN_ID are one run: all log it, and its content is a whole run's."""
    for step in (("run-all", "--days", "3"), ("run-transforms",), ("run-quality",)):
        done = command.ok(*step, RUN_ID="demo-run-001")
        assert {line["run_id"] for line in logged(done.stderr)} == {"demo-run-001"}
    assert contents(lake) == contents(loaded)
    assert len(list((lake / "_state/manifests").glob("run_*.json"))) == 1


def test_a_later_run_may_be_split_too(command: Command, lake: Path, loaded: Path) -> None:
    """Each step is a process that knows only the lake, also where a model gets its first rows."""
    command.ok("run-batch", "--entity", "products", "--days", "3")
    command.ok("run-transforms")
    command.ok("run-quality")
    for step in (("run-all", "--days", "3"), ("run-transforms",), ("run-quality",)):
        command.ok(*step)
    assert contents(lake) == contents(loaded)


def test_the_split_flow_works_without_a_run_id(command: Command, lake: Path, loaded: Path) -> None:
    """Without RUN_ID each step is a run of its own, and they still end in the same content."""
    command.ok("run-all", "--days", "3")
    command.ok("run-transforms")
    assert not (lake / "gold").exists()
    command.ok("run-quality")
    assert contents(lake) == contents(loaded)


def test_entities_may_be_fetched_one_by_one(command: Command, lake: Path, loaded: Path) -> None:
    """run-batch lands one entity; nothing is published before the transforms and the gates have run."""
    command.ok("run-batch", "--entity", "charges", "--days", "3")
    coverage = read_coverage(LocalStorage(lake), ENTITIES)
    assert {name for name, covered in coverage.items() if covered.intervals} == {"charges"}
    assert not (lake / "silver").exists()
    command.ok("run-pipeline", "--days", "3")
    assert contents(lake) == contents(loaded)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/Los_Angeles", "Australia/Lord_Howe"])
def test_the_time_zone_of_the_machine_does_not_matter(
    command: Command, lake: Path, loaded: Path, zone: str
) -> None:
    """Dates and times are UTC wherever the command runs."""
    command.ok("run-pipeline", "--from", "2026-09-01", TZ=zone)
    assert contents(lake) == contents(loaded)
    assert files_of(lake, "silver").keys() == files_of(loaded, "silver").keys()


def test_status_speaks_to_people(shell: Command) -> None:
    """`status` shows the account, every entity's coverage, and the last runs."""
    said = shell.ok("status", COLUMNS="160").stdout
    assert "acct_mock7" in said
    assert "first" in said
    assert all(entity in said for entity in ENTITIES)


def test_status_speaks_json(shell: Command) -> None:
    """`status --json` is one JSON document with the same facts."""
    found = json.loads(shell.ok("status", "--json").stdout)
    assert found["published"] == "first"
    assert [line["entity"] for line in found["coverage"]] == list(ENTITIES)
    assert all(line["watermark"].startswith("2026-09-03") for line in found["coverage"])
    assert [run["run_id"] for run in found["runs"]] == ["first"]
    assert found["pending"] == []


def test_every_model_can_be_asked(shell: Command) -> None:
    """There is a view for every model that `models list` names, and asking changes no file."""
    listed = shell.ok(
        "query",
        "select table_schema || '.' || table_name as model from information_schema.tables",
        "--format",
        "csv",
    )
    models = [
        line for line in listed.stdout.splitlines()[1:] if line.split(".")[0] in {"silver", "gold", "marts"}
    ]
    assert len(models) > 20
    counts = " union all ".join(f"select '{model}' as model, count(*) as n from {model}" for model in models)
    assert len(json.loads(shell.ok("query", counts, "--format", "json").stdout)) == len(models)


def test_models_lists_describes_and_traces(command: Command) -> None:
    """The models can be listed, described and drawn without any lake."""
    assert "gold.fct_payments" in command.ok("models", "list").stdout
    described = command.ok("models", "describe", "gold.fct_payments").stdout
    assert "grain: " in described
    assert "currency" in described
    assert command.ok("models", "describe", "fct_payments").stdout == described
    graph = command.ok("models", "lineage", "gold.fct_refunds").stdout
    assert graph.startswith("graph LR")
    assert "silver.refunds --> gold.fct_refunds" in graph
    assert "fct_invoices" not in graph


def test_rebuild_publishes_nothing_when_nothing_is_wrong(shell: Command, copy: Path) -> None:
    """`rebuild` makes everything from bronze again, and finds it as it is."""
    before = files_of(copy, "silver", "gold")
    done = shell.ok("rebuild")
    assert files_of(copy, "silver", "gold") == before
    assert logged(done.stderr)[-1]["partitions"] == 0


def test_verify_counts_what_it_compared(shell: Command, copy: Path) -> None:
    """`verify` passes an intact lake and says how many objects it read: all of bronze, silver, gold and links."""
    read = ("bronze/", "silver/", "gold/", "_state/links/")
    files = [key for key in files_of(copy) if key.startswith(read)]
    assert shell.ok("verify").stdout.startswith(f"{len(files)} ")


def test_gc_removes_only_what_nothing_names(shell: Command, copy: Path) -> None:
    """`gc` names left-overs on a dry run, removes just those, counts them, and leaves a lake that verifies."""
    before = files_of(copy)
    stray = min(copy.glob("bronze/*/entity=charges/*/run_id=first")) / "part-000009-00001.jsonl"
    stray.write_text("{}\n")
    named = shell.ok("gc", "--dry-run", "--min-age-hours", "0")
    assert named.stdout.split() == [str(stray.relative_to(copy))]
    assert stray.exists()
    assert shell.ok("gc", "--min-age-hours", "0").stdout == "bronze: 1 removed\n"
    assert not stray.exists()
    bookkeeping = {"_state/lease.json", "_state/lake.json"}
    assert {key: sha for key, sha in files_of(copy).items() if key not in bookkeeping} == {
        key: sha for key, sha in before.items() if key not in bookkeeping
    }
    shell.ok("verify")


def test_gc_keeps_bronze_whose_manifest_is_lost(shell: Command, copy: Path) -> None:
    """Bronze of a run that no manifest is left of may be the only copy: it is not garbage."""
    stray = copy / "bronze/source=stripe/entity=charges/dt=2026-09-01/run_id=lost/part-1.jsonl"
    stray.parent.mkdir(parents=True)
    stray.write_text("{}\n")
    assert shell.ok("gc", "--min-age-hours", "0").stdout == ""
    assert stray.exists()


def test_gc_tells_no_age_by_a_clock_that_was_wrong(shell: Command, copy: Path) -> None:
    """A run by a clock that was a year ahead would make all bronze a year old: nothing is removed."""
    with closing(LocalStorage(copy)) as storage:
        head = read_head(storage)
        later = head.runs[-1].model_copy(update={"at": datetime.now(UTC) + timedelta(days=365)})
        storage.put(layout.HEAD, head.noted(later).sealed())
    before = files_of(copy, "bronze")
    assert "has not come by this machine" in refusal(
        shell("gc", "--bronze-days", "90", "--min-age-hours", "0"), 4
    )
    assert files_of(copy, "bronze") == before


def test_gc_leaves_young_files_alone(shell: Command, copy: Path) -> None:
    """What was written a moment ago may belong to somebody: by default it stays."""
    stray = copy / "gold/model=gone/dt=2026-09-01/data.parquet"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"?")
    assert shell.ok("gc").stdout == ""
    assert stray.exists()


def test_duckdb_opens_the_views_from_anywhere(
    command: Command, lake: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`duckdb lake.duckdb` answers at once, read-only and from another working directory."""
    command.ok("run-pipeline", "--days", "3")
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    with duckdb.connect(str(lake / "lake.duckdb"), read_only=True) as connection:
        [(rows, days)] = connection.execute(
            "select count(*), count(distinct dt) from gold.fct_balance_transactions"
        ).fetchall()
        [(published,)] = connection.execute("select count(*) from silver.balance_transactions").fetchall()
    assert rows == published > 0
    assert days == len(list(lake.glob("gold/model=fct_balance_transactions/dt=*")))


def test_views_that_are_missing_are_written_by_any_run(shell: Command, copy: Path) -> None:
    """Also by one that publishes nothing."""
    (copy / "lake.duckdb").unlink()
    shell.ok("rebuild")
    with duckdb.connect(str(copy / "lake.duckdb"), read_only=True) as views:
        assert views.execute("select count(*) > 0 from gold.fct_payments").fetchone() == (True,)


def test_the_default_lake_is_in_the_working_directory(
    command_for: Callable[..., Command], folder: Path, small: Account
) -> None:
    """Without LOCAL_DATA_DIR the lake is ./_local_data, and --lake names another."""
    bare = command_for(MOCK_API_BASE_URL=small.url)
    bare.ok("run-batch", "--entity", "products", "--days", "3")
    assert (folder / "_local_data/_state/watermarks/products.json").is_file()
    bare.ok("run-batch", "--entity", "products", "--days", "3", "--lake", "other")
    kept = (folder / "other/_state/watermarks").iterdir()
    assert {path.stem for path in kept} == set(ENTITIES), (
        "else each run reads every manifest for those it never fetched"
    )


@contextmanager
def _mock_api(command: Command) -> Iterator[str]:
    """`mock-api` on a free port in a process of its own, stopped by Ctrl-C."""
    with httpx.Client() as client:
        port = _free_port()
        process = command.start("mock-api", "--days", "3", "--customers-per-day", "1", "--port", str(port))
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(200):
                try:
                    assert client.get(f"{url}/health").json() == {"status": "ok"}
                    break
                except httpx.TransportError:
                    assert process.poll() is None, process.communicate()
                    select.select([], [], [], 0.1)
            yield url
        finally:
            process.send_signal(2)
            _, said = process.communicate(timeout=20)
    assert process.returncode == 130, said
    assert "Traceback" not in said


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_mock_and_pipeline_work_in_two_terminals(command: Command, lake: Path) -> None:
    """`mock-api` in one process serves `run-pipeline` in another; its documentation is at /docs."""
    with _mock_api(command) as url:
        assert "swagger" in httpx.get(f"{url}/docs").text.lower()
        command.ok("run-pipeline", "--days", "1", MOCK_API_BASE_URL=url)
    assert (lake / "lake.duckdb").is_file()


def test_without_an_address_or_a_key_the_mock_is_embedded(
    command_for: Callable[..., Command], lake: Path
) -> None:
    """With neither MOCK_API_BASE_URL nor STRIPE_API_KEY, one command simulates, fetches and publishes a day."""
    alone = command_for(LOCAL_DATA_DIR=str(lake))
    alone.ok("run-pipeline", "--days", "1")
    assert (
        json.loads(alone.ok("query", "select count(*) as n from silver.charges", "--format", "json").stdout)[
            0
        ]["n"]
        > 0
    )


def test_a_terminal_sees_a_table(folder: Path, lake: Path, small: Account) -> None:
    """On a terminal a run draws what it did, and ends in a summary table instead of JSON."""
    shell = command_in(
        folder, LOCAL_DATA_DIR=str(lake), MOCK_API_BASE_URL=small.url, TERM="xterm", COLUMNS="120"
    )
    code, said = _on_terminal(shell, "run-pipeline", "--days", "3")
    assert code == 0, said
    assert f"reading the API at {shell.environ['MOCK_API_BASE_URL']}, account acct_" in said
    assert "charges" in said
    assert "checks passed" in said
    assert "rows in silver" in said
    assert '"event"' not in said


def _on_terminal(shell: Command, *arguments: str) -> tuple[int, str]:
    """Exit code and everything the command wrote on a pseudo-terminal of 120 columns."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "payments_pipeline", *arguments],
        cwd=shell.folder,
        env=dict(shell.environ),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    written = b""
    try:
        while piece := os.read(ours, 65536):
            written += piece
    except OSError:  # Linux says EIO when the other end is closed
        pass
    finally:
        os.close(ours)
    return process.wait(timeout=20), written.decode()
