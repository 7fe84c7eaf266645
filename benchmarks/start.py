"""How long a command takes that has nothing to do, beside the bare interpreter. No peers: others have no such command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from benchmarks.charts import Bar, Chart, svg
from benchmarks.measure import CHARTS, RESULTS, conditions, write
from mock_api.api import create_app
from mock_api.server import running, with_history
from mock_api.world import World

_OURS = "import sys; from payments_pipeline.cli import main; sys.argv[0] = 'payments-pipeline'; main()"
_RUN = ("run-pipeline", "--days", "1")


@contextmanager
def served(*, customers_per_day: int) -> Iterator[str]:
    """A simulated account of ninety days, served by this process; its address."""

    def now() -> int:
        return int(time.time())

    start = datetime.now(UTC).date() - timedelta(days=90)
    world = World(seed=42, start=start, customers_per_day=customers_per_day)
    with with_history(world, now()), running(create_app(world, clock=now)) as url:
        yield url


def after_a_run(command: Sequence[str], rounds: int, *, url: str = "") -> float:
    """Seconds of a command in a lake just filled from the account at `url`, or from the one that a run makes for itself."""
    environ = {"MOCK_API_BASE_URL": url} if url else {}
    with tempfile.TemporaryDirectory(prefix="payments-pipeline-bench-") as lake:
        fastest([_OURS, *_RUN, "--lake", lake], 1, **environ)
        return fastest([_OURS, *command, "--lake", lake], rounds, **environ)


def fastest(arguments: Sequence[str], rounds: int, **environ: str) -> float:
    """Seconds of the fastest of some runs; a run that fails ends the benchmark."""
    found = []
    for _ in range(rounds):
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **environ},
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
    floor, usage = fastest(["pass"], rounds), fastest([_OURS, "--help"], rounds)
    with served(customers_per_day=0) as url:
        nothing_new = after_a_run(_RUN, rounds, url=url)
    with served(customers_per_day=10) as url:
        status = after_a_run(["status"], rounds, url=url)
        again = after_a_run(_RUN, rounds, url=url)
    making_it = after_a_run(_RUN, rounds)
    bars = (
        Bar("python -c pass", floor, f"{floor:.2f} s", "floor"),
        Bar("payments-pipeline --help", usage, f"{usage:.2f} s", "ours"),
        Bar("status", status, f"{status:.2f} s", "ours"),
        Bar("run-pipeline, nothing new", nothing_new, f"{nothing_new:.2f} s", "ours"),
        Bar("run-pipeline, run a moment ago", again, f"{again:.2f} s", "ours"),
        Bar("the same, account made first", making_it, f"{making_it:.2f} s", "ours"),
    )
    for bar in bars:
        click.echo(f"{bar.label:32}{bar.value:8.3f} s{bar.value / floor:8.1f} × the interpreter")
    found = {"conditions": conditions(), "seconds": {bar.label: bar.value for bar in bars}}
    write((out or RESULTS) / "start.json", json.dumps(found, indent=2) + "\n")
    write((out or CHARTS) / "start.svg", svg([Chart("From the shell and back", bars)]))


if __name__ == "__main__":
    main()
