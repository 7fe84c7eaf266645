"""What every benchmark shares: a contestant in a process of its own, and a report of all of them."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import click

from benchmarks.charts import Chart, Kind, svg

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks/results"
CHARTS = ROOT / "docs/charts"


@dataclass(frozen=True, slots=True)
class Measured:
    """What one contestant did: wall and CPU seconds of the work itself, peak memory (MiB) of its whole process."""

    name: str
    kind: Kind
    rows: int
    seconds: float
    cpu_seconds: float
    peak_mib: float
    calls: int = 0
    refused: int = 0

    @property
    def rows_per_second(self) -> float:
        """Rows by wall time."""
        return self.rows / self.seconds

    @property
    def cpu_per_row(self) -> float:
        """Microseconds of CPU."""
        return self.cpu_seconds / self.rows * 1e6


@dataclass(frozen=True, slots=True)
class Scene:
    """Contestants under equal conditions; `ceiling` is the most rows a second that the conditions allow."""

    title: str
    ceiling: float
    ceiling_note: str
    results: tuple[Measured, ...]


def in_child(arguments: Sequence[str], *, python: str = sys.executable) -> dict[str, Any]:
    """Run a Python module or script in a process of its own; the JSON object on its last line of output."""
    command = [python, *arguments]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


class Server:
    """A running load server."""

    def __init__(self, url: str) -> None:
        self.url = url

    def stats(self) -> dict[str, float]:
        """What it has counted so far."""
        with urlopen(f"{self.url}/stats") as answer:
            found: dict[str, float] = json.load(answer)
            return found


@contextmanager
def serving(rows: int, *, days: int = 30, latency: float = 0.0, rate: int = 0) -> Iterator[Server]:
    """The load server in a process of its own."""
    arguments = ["--rows", str(rows), "--days", str(days), "--latency", str(latency), "--rate", str(rate)]
    command = [sys.executable, "-m", "benchmarks.load.server", *arguments]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Server(json.loads(process.stdout.readline())["url"])
        finally:
            process.stdin.close()


def conditions(**more: object) -> dict[str, Any]:
    """The machine, its load when the benchmark ends, and the versions of what does the work."""
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("duckdb", "httpx", "msgspec", "pyarrow")},
        **more,
    }


def publish(
    name: str,
    scenes: Sequence[Scene],
    about: Mapping[str, Any],
    *,
    out: Path | None,
    charts: Sequence[Chart],
) -> None:
    """Print every scene as a table; write `<name>.json` and `<name>.svg` into `out`, or where the repository has them."""
    for scene in scenes:
        click.echo(table(scene))
    found = {"conditions": dict(about), "scenes": [_plain(scene) for scene in scenes]}
    write((out or RESULTS) / f"{name}.json", json.dumps(found, indent=2) + "\n")
    write((out or CHARTS) / f"{name}.svg", svg(charts))


def write(path: Path, text: str) -> None:
    """Replace the file, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def table(scene: Scene) -> str:
    """The scene as text: each contestant's speed, its share of the ceiling and its cost."""
    ours = max((each.rows_per_second for each in scene.results if each.kind == "ours"), default=0.0)
    lines = [
        "",
        scene.title,
        f"ceiling {scene.ceiling:,.0f} rows/s ({scene.ceiling_note})",
        f"{'':44}{'rows':>10}{'rows/s':>9}{'ceiling':>9}{'ours is':>9}{'µs/row':>8}{'MiB':>7}{'calls':>8}{'429':>7}",
    ]
    for each in scene.results:
        speed = each.rows_per_second
        refused = each.refused / each.calls if each.calls else 0.0
        lines.append(
            f"{each.kind + ': ' + each.name:44}{each.rows:>10,}{speed:>9,.0f}{speed / scene.ceiling:>9.1%}"
            f"{ours / speed:>8.1f}×{each.cpu_per_row:>8.0f}{each.peak_mib:>7.0f}{each.calls:>8,}{refused:>7.1%}"
        )
    return "\n".join(lines)


def _plain(scene: Scene) -> dict[str, Any]:
    return {
        **asdict(scene),
        "results": [
            {**asdict(each), "rows_per_second": each.rows_per_second, "cpu_us_per_row": each.cpu_per_row}
            for each in scene.results
        ],
    }
