"""How fast an account is listed: our extraction, up to committed bronze, beside floors and peers.

The floors keep nothing and check nothing: what our side does beyond them is in its own figure.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.charts import Bar, Chart, Kind
from benchmarks.measure import Measured, Scene, conditions, in_child, publish, serving
from benchmarks.peers import VERSIONS, python_of

_LATENCY, _RATE, _PAGE = 0.1, 100, 100
_LABELS = {
    "server": "8 connections, bytes dropped",
    "one-connection": "1 connection, decoded",
    "paced": "20 connections, paced, decoded",
    "ours": "payments-pipeline",
    "ours-paced": "payments-pipeline",
}
_PEERS = {"sdk": ("stripe", "official SDK"), "dlt": ("dlt", "dlt rest_api")}


@dataclass(frozen=True, slots=True)
class Terms:
    """What is served to the contestants: seconds of latency, calls a second (0: any number)."""

    latency: float = 0.0
    rate: int = 0


def scene(title: str, terms: Terms, contestants: Sequence[tuple[str, int]], *, rounds: int) -> Scene:
    """The contestants (name, charges to list) in turns, the fastest round of each."""
    best: dict[str, Measured] = {}
    for _ in range(rounds):
        for name, rows in contestants:
            found = measured(name, terms, rows)
            if found is not None and (name not in best or found.seconds < best[name].seconds):
                best[name] = found
    if terms.rate:
        ceiling, note = float(terms.rate * _PAGE), f"{terms.rate} calls/s of {_PAGE} charges"
    else:
        ceiling, note = best["server"].rows_per_second, "the load server's own"
    return Scene(title, ceiling, note, tuple(best.values()))


def measured(name: str, terms: Terms, rows: int) -> Measured | None:
    """One contestant against a fresh load server; None if it cannot be installed."""
    python: str | None = sys.executable
    kind: Kind = "ours" if name.startswith("ours") else "floor"
    label = _LABELS.get(name, "")
    if name in _PEERS:
        library, what = _PEERS[name]
        python, kind, label = python_of(library), "peer", f"{what} {VERSIONS[library]}"
    if python is None:
        return None
    with serving(rows, latency=terms.latency, rate=terms.rate) as server:
        found = in_child(["-m", "benchmarks.load.contestants", name, server.url], python=python)
        stats = server.stats()
    if found["rows"] != rows:
        raise click.ClickException(f"{label} read {found['rows']} of {rows} charges")
    return Measured(label, kind, calls=int(stats["requests"]), refused=int(stats["refused"]), **found)


def chart(found: Scene) -> Chart:
    """The scene's speeds; a ceiling that the conditions set is drawn."""
    shown = [each for each in found.results if each.name != _LABELS["server"]]
    bars = [
        Bar(each.name, each.rows_per_second, f"{each.rows_per_second:,.0f} rows/s", each.kind)
        for each in sorted(shown, key=lambda each: -each.rows_per_second)
    ]
    return Chart(found.title, tuple(bars), found.ceiling if shown == list(found.results) else None)


@click.command()
@click.option("--rows", default=50_000, show_default=True, help="Charges to list.")
@click.option("--peer-rows", default=5_000, show_default=True, help="Charges for the peers; 0: no peers.")
@click.option("--rounds", default=1, show_default=True, help="Rounds; the fastest of each counts.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for JSON and chart [default: the repository's]."
)
def main(*, rows: int, peer_rows: int, rounds: int, out: Path | None) -> None:
    """Measure, print, and write extract.json and extract.svg."""
    peers = [(name, peer_rows) for name in _PEERS if peer_rows]
    floors = [("server", rows), ("one-connection", rows)]
    scenes = [
        scene("Without latency", Terms(), [*floors, ("ours", rows), *peers], rounds=rounds),
        scene(
            f"{_LATENCY * 1000:.0f} ms of latency, {_RATE} calls/s",
            Terms(_LATENCY, _RATE),
            [("paced", rows), ("ours-paced", rows), *peers],
            rounds=rounds,
        ),
    ]
    publish("extract", scenes, conditions(), out=out, charts=[chart(each) for each in scenes])


if __name__ == "__main__":
    main()
