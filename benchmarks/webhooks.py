"""How many webhooks a receiver acknowledges, beside the floor: the same receiver without a single sync.

The senders share the machine's cores with the receiver. Both receivers take turns, so that whatever else the machine
does hits both; every round starts with an empty lake on the disk that holds the temporary folder.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from benchmarks.measure import RESULTS, conditions, write
from benchmarks.senders import Sent, kept, kill_loop, run, start


@dataclass(frozen=True, slots=True)
class Round:
    """One receiver's round: acknowledgements a second, and how long a sender waited (milliseconds)."""

    receiver: str
    connections: int
    per_second: float
    p50: float
    p99: float
    load: float


def measured(name: str, *, connections: int, seconds: float) -> Round:
    """A receiver's round: a second to warm up, then the measurement. Every acknowledged event must be there."""
    with tempfile.TemporaryDirectory(prefix="payments-pipeline-") as folder:
        lake = Path(folder) / "lake"
        process, port = start(lake, is_synced=name == "synced")
        try:
            warm = run(port, "warm", connections=connections, seconds=1)
            began = time.perf_counter()
            sent: Sent = run(port, "hot", connections=connections, seconds=seconds)
            took = time.perf_counter() - began
        finally:
            process.kill()
            process.communicate()
        assert {*warm.acknowledged, *sent.acknowledged} <= set(kept(lake)), "an acknowledged event is lost"
    return Round(
        receiver=name,
        connections=connections,
        per_second=round(len(sent.acknowledged) / took, 1),
        p50=round(sent.quantile(0.5), 2),
        p99=round(sent.quantile(0.99), 2),
        load=round(os.getloadavg()[0], 2),
    )


@click.command()
@click.option("--connections", default=64, show_default=True, help="Senders at the same time.")
@click.option("--seconds", default=2.0, show_default=True, help="Length of a round.")
@click.option("--rounds", default=2, show_default=True, help="Rounds of each receiver.")
@click.option("--kills", default=0, show_default=True, help="Then kill a receiver so often.")
@click.option(
    "--events", default=200_000, show_default=True, help="Events to be acknowledged between the kills."
)
def main(*, connections: int, seconds: float, rounds: int, kills: int, events: int) -> None:
    """Measure, print and write benchmarks/results/webhooks.json."""
    found = [
        measured(name, connections=connections, seconds=seconds)
        for _ in range(rounds)
        for name in ("synced", "floor")
    ]
    for each in found:
        click.echo(
            f"{each.receiver:7} {each.per_second:8.0f} acks/s  p50 {each.p50:6.1f} ms  p99 {each.p99:6.1f} ms"
            f"  ({each.connections} connections, load {each.load})"
        )
    best = {
        name: max((each for each in found if each.receiver == name), key=lambda each: each.per_second)
        for name in ("synced", "floor")
    }
    ratio = round(best["synced"].per_second / best["floor"].per_second, 3)
    click.echo(f"synced to floor: {ratio:.2f} (best rounds; {os.cpu_count()} cores shared with the senders)")
    result: dict[str, object] = {
        "conditions": conditions(),
        "ratio": ratio,
        "rounds": [asdict(each) for each in found],
    }
    if kills:
        result["kills"] = _killed(kills, events)
    write(RESULTS / "webhooks.json", json.dumps(result, indent=2) + "\n")


def _killed(kills: int, events: int) -> dict[str, int]:
    """Acknowledged, lost and doubled events over the kills."""
    with tempfile.TemporaryDirectory(prefix="payments-pipeline-") as folder:
        lake = Path(folder) / "lake"
        acknowledged = kill_loop(lake, kills=kills, least=-(-events // kills))
        ids = kept(lake)
    counts = {
        "kills": kills,
        "acknowledged": len(acknowledged),
        "lost": len(acknowledged - set(ids)),
        "doubled": len(ids) - len(set(ids)),
    }
    click.echo(", ".join(f"{number} {name}" for name, number in counts.items()))
    return counts


if __name__ == "__main__":
    main()
