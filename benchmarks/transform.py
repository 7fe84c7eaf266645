"""What building costs: silver of all charges beside DuckDB's own floor, and a day's run on ever longer histories.

Our figure is everything that `rebuild` does: checksums, all entities, gold, marts, audit and publication.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from benchmarks.charts import Bar, Chart, Kind
from benchmarks.load.server import END
from benchmarks.measure import Measured, Scene, conditions, in_child, publish, serving

_DAY = 86_400
_LABELS: dict[str, tuple[str, Kind]] = {
    "floor": ("one DuckDB statement, silver", "floor"),
    "floor-of-all": ("DuckDB statements, silver and gold", "floor"),
    "unsorted": ("the same, rows in any order", "floor"),
    "our-silver": ("payments-pipeline, silver", "ours"),
    "ours": ("payments-pipeline, all of it", "ours"),
    "inferred": ("DuckDB, inferred columns", "peer"),
}


@dataclass(frozen=True, slots=True)
class History:
    """Seconds after the extraction of a run for one more day; of the whole of a run that finds nothing new; of a rebuild."""

    days: int
    rows: int
    one_day: float
    nothing_new: float
    rebuild: float


def built(lake: Path, rounds: int) -> list[Measured]:
    """Each contestant on the same bronze, the fastest round of each; they take turns, as the machine has its moods."""
    runs = [
        {name: in_child(["-m", "benchmarks.load.builds", "build", name, str(lake)]) for name in _LABELS}
        for _ in range(rounds)
    ]
    return [
        Measured(*label, **min((run[name] for run in runs), key=lambda run: float(run["seconds"])))
        for name, label in _LABELS.items()
    ]


def history(days: int, *, per_day: int, rounds: int) -> tuple[History, Scene]:
    """A lake of that many days, one day more, nothing more, and all of it anew."""
    rows = per_day * days
    with (
        tempfile.TemporaryDirectory(prefix="payments-pipeline-bench-") as folder,
        serving(rows, days=days) as server,
    ):
        start, last = str(END - days * _DAY), str(END - _DAY)
        fill = ["-m", "benchmarks.load.builds", "fill", server.url, folder]
        in_child([*fill, start, last])
        one_day = in_child([*fill, last, str(END)])["after_extract"]
        nothing = in_child([*fill, last, str(END)])["seconds"]
        results = built(Path(folder), rounds)
    ours = next(each for each in results if each.name == _LABELS["ours"][0])
    scene = Scene(f"{rows:,} charges of {days} days", results[0].rows_per_second, "the floor", tuple(results))
    return History(days, rows, one_day, nothing, ours.seconds), scene


def chart(histories: list[History]) -> Chart:
    """What one more day costs."""
    bars = [Bar(f"on {each.days} days", each.one_day, f"{each.one_day:.2f} s", "ours") for each in histories]
    return Chart("Build, audit and publish one more day", tuple(bars))


@click.command()
@click.option(
    "--days", "lengths", default=(30, 90), multiple=True, show_default=True, help="Of history; repeat."
)
@click.option("--per-day", default=500, show_default=True, help="Charges a day.")
@click.option("--rounds", default=1, show_default=True, help="Rounds; the fastest of each counts.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for JSON and chart [default: the repository's]."
)
def main(*, lengths: tuple[int, ...], per_day: int, rounds: int, out: Path | None) -> None:
    """Measure, print, and write transform.json and transform.svg."""
    histories, scenes = [], []
    for days in lengths:
        found, scene = history(days, per_day=per_day, rounds=rounds)
        histories.append(found)
        scenes.append(scene)
    bars = [Bar(each.name, each.seconds, f"{each.seconds:.2f} s", each.kind) for each in scenes[-1].results]
    charts = [Chart(f"Build {scenes[-1].title}", tuple(bars)), chart(histories)]
    about = conditions(histories=[asdict(each) for each in histories])
    publish("transform", scenes, about, out=out, charts=charts)
    for scene in scenes:
        seconds = {each.name: each.seconds for each in scene.results}
        floor, floor_of_all, unsorted, silver, ours = (
            seconds[_LABELS[name][0]] for name in ("floor", "floor-of-all", "unsorted", "our-silver", "ours")
        )
        click.echo(
            f"\n{scene.title}: silver alone takes {silver / floor:.2f} of its floor, all {ours / floor_of_all:.2f} "
            f"({ours / unsorted:.2f} of the floor if it did not sort)"
        )
    click.echo(
        "\nAfter the extraction of one more day; the whole of a run that finds nothing new; a full rebuild"
    )
    for each in histories:
        share = each.one_day / each.rebuild
        click.echo(
            f"{each.days:>5} days {each.one_day:8.2f} s {each.nothing_new:8.2f} s {each.rebuild:8.2f} s {share:8.1%}"
        )


if __name__ == "__main__":
    main()
