"""What a command prints is for whoever reads it: a person, a pipe, or a program."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.harness import Command, command_in, refusal

AWKWARD = "select 'a,b' as comma, 'c\nd' as \"new\nline\", 'e|f' as pipe, 'Zoë 日本 🎉' as text, null as none, 'say \"x\"' as quoted"


@pytest.fixture
def shell(copy: Path, command: Command) -> Command:
    """The command, over a lake that is loaded already."""
    assert command.environ["LOCAL_DATA_DIR"] == str(copy)
    return command


def test_query_writes_csv(shell: Command) -> None:
    """Commas, line breaks, quotes and any script survive CSV."""
    rows = list(csv.reader(io.StringIO(shell.ok("query", AWKWARD, "--format", "csv").stdout)))
    assert rows[0] == ["comma", "new\nline", "pipe", "text", "none", "quoted"]
    assert rows[1] == ["a,b", "c\nd", "e|f", "Zoë 日本 🎉", "", 'say "x"']


def test_query_writes_json(shell: Command) -> None:
    """They survive JSON, where null is null and numbers are numbers."""
    (row,) = json.loads(shell.ok("query", AWKWARD, "--format", "json").stdout)
    assert row["new\nline"] == "c\nd"
    assert row["text"] == "Zoë 日本 🎉"
    assert row["none"] is None
    (counted,) = json.loads(
        shell.ok("query", "select count(*) as n from silver.charges", "--format", "json").stdout
    )
    assert isinstance(counted["n"], int)


def test_query_writes_markdown(shell: Command) -> None:
    """A pipe or a line break in a value, or in a name, does not break a Markdown table."""
    lines = shell.ok("query", AWKWARD, "--format", "markdown").stdout.splitlines()
    assert len(lines) == 3
    assert len({len(re.split(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert "Zoë 日本 🎉" in lines[2]


def test_query_draws_a_table(shell: Command) -> None:
    """Without --format a table is drawn that holds every value."""
    said = shell.ok("query", "select 'a,b' as comma, 'Zoë 日本 🎉' as text, '[red]x[/red]' as markup").stdout
    assert all(text in said for text in ("a,b", "Zoë 日本 🎉", "[red]x[/red]"))


@pytest.mark.parametrize("shape", ["csv", "json", "markdown", "table"])
def test_query_answers_with_no_rows(shell: Command, shape: str) -> None:
    """A question without answers is no error in any format."""
    said = shell.ok("query", "select charge_id from silver.charges where false", "--format", shape).stdout
    assert said.strip() == "[]" if shape == "json" else "charge_id" in said


def test_json_holds_only_what_json_can(shell: Command) -> None:
    """No NaN or Infinity, at any depth, and bytes as hexadecimal digits."""
    values = "'nan'::double as a, ['-inf'::double, 1.5] as b, {'x': 'inf'::float} as c, '\\xAB'::blob as d, map{1: 2} as e"
    said = shell.ok("query", f"select {values}", "--format", "json").stdout
    (row,) = json.loads(said, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert row == {"a": None, "b": [None, 1.5], "c": {"x": None}, "d": "ab", "e": {"1": 2}}


def test_a_pipe_gets_every_row_on_one_line(shell: Command) -> None:
    """However long: whoever reads lines is not told the width of a terminal that is not there."""
    long = "x" * 300
    assert any(long in line for line in shell.ok("query", f"select '{long}' as long").stdout.splitlines())
    lines = shell.ok("models", "list").stdout.splitlines()
    assert sum(line.startswith("│ gold.") for line in lines) == 8


def test_a_question_before_anything_is_published(tmp_path: Path) -> None:
    """It has an answer, and a line beside it says why that is empty."""
    command = command_in(tmp_path)
    command.ok("run-batch", "--entity", "products")
    asked = command.ok("query", "select count(*) as n from gold.fct_payments", "--format", "csv")
    assert asked.stdout == "n\n0\n"
    assert "nothing is published" in asked.stderr


def test_a_question_that_is_no_text_is_refused(shell: Command) -> None:
    """Bytes that are not UTF-8."""
    assert "UTF-8" in refusal(shell("query", "select '\udcff'"), 2)


def test_days_of_the_environment_give_way_to_a_window(shell: Command) -> None:
    """As they do to --days; on the command line the two exclude each other."""
    window = ("--from", "2020-09-01", "--to", "2020-09-02")

    def begins(*arguments: str, days: str) -> int:
        said = shell.ok("plan", "--entity", "charges", *arguments, "--json", DAYS=days).stdout
        return int(json.loads(said)["entities"][0]["windows"][0][0])

    assert begins(*window, days="") == begins(*window, days="3") == 1598918400
    assert begins(days="3") > 1598918400
    assert "--days" in refusal(shell("plan", *window, "--days", "3"), 2)


def test_another_request_under_the_same_run_id_is_told_what_the_first_was(shell: Command) -> None:
    """In words."""
    shell.ok("run-batch", "--entity", "products", "--days", "2", RUN_ID="mine")
    said = refusal(shell("run-batch", "--entity", "charges", RUN_ID="mine"), 2)
    assert "(products: last 2 day(s))" in said


def test_a_failure_of_our_own_is_no_failed_gate() -> None:
    """Exit code 70 and the trace: 1 would say that the data is wrong."""
    broken = "import payments_pipeline.cli as cli; cli.run = None; cli.main()"
    done = subprocess.run([sys.executable, "-c", broken], capture_output=True, text=True, check=False)
    assert done.returncode == 70
    assert "TypeError" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: payments-pipeline has failed")
