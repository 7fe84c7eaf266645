"""How long a command takes that has nothing to do, beside the bare interpreter. No peers: others have no such command."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks.charts import Bar, Chart, svg
from benchmarks.measure import CHARTS, RESULTS, conditions, write

_OURS = "import sys; from payments_pipeline.cli import main; sys.argv[0] = 'payments-pipeline'; main()"


def fastest(arguments: Sequence[str], rounds: int) -> float:
    """Seconds of the fastest of some runs; a run that fails ends the benchmark."""
    found = []
    for _ in range(rounds):
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        found.append(time.perf_counter() - started)
    return min(found)


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Rounds; the fastest of each counts.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for JSON and chart [default: the repository's]."
)
def main(*, rounds: int, out: Path | None) -> None:
    """Measure, print, and write start.json and start.svg."""
    with tempfile.TemporaryDirectory(prefix="payments-pipeline-bench-") as lake:
        run = [_OURS, "run-pipeline", "--days", "1", "--lake", lake]
        floor, usage = fastest(["pass"], rounds), fastest([_OURS, "--help"], rounds)
        fastest(run, 1)
        status, again = fastest([_OURS, "status", "--lake", lake], rounds), fastest(run, rounds)
    bars = (
        Bar("python -c pass", floor, f"{floor:.2f} s", "floor"),
        Bar("payments-pipeline --help", usage, f"{usage:.2f} s", "ours"),
        Bar("status", status, f"{status:.2f} s", "ours"),
        Bar("run-pipeline, run a moment ago", again, f"{again:.2f} s", "ours"),
    )
    for bar in bars:
        click.echo(f"{bar.label:32}{bar.value:8.3f} s{bar.value / floor:8.1f} × the interpreter")
    found = {"conditions": conditions(), "seconds": {bar.label: bar.value for bar in bars}}
    write((out or RESULTS) / "start.json", json.dumps(found, indent=2) + "\n")
    write((out or CHARTS) / "start.svg", svg([Chart("From the shell and back", bars)]))


if __name__ == "__main__":
    main()
