"""What building costs: silver of all charges beside DuckDB's own floor, and a day's run on ever longer histories.

Our figure is everything that `rebuild` does: checksums, all entities, gold, marts, audit and publication.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from operator import itemgetter
from pathlib import Path

import click

from benchmarks.charts import Bar, Chart, Kind
from benchmarks.load.server import END
from benchmarks.measure import Measured, Scene, conditions, in_child, publish, serving
from payments_pipeline.state.manifest import all_runs, read_manifests
from payments_pipeline.storage.local import LocalStorage

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
    """Seconds after the extraction of a run for one more day; of the whole of a run that finds nothing new; of a rebuild.

    `build` and `rebuild_build` are what the step that builds takes of a day and of a rebuild: the rest is audit,
    publication and state.
    """

    days: int
    rows: int
    one_day: float
    build: float
    nothing_new: float
    rebuild: float
    rebuild_build: float


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
    """A lake of that many days: the last ones one by one, nothing more, and all of it anew."""
    rows = per_day * days
    with (
        tempfile.TemporaryDirectory(prefix="payments-pipeline-bench-") as folder,
        serving(rows, days=days) as server,
    ):
        storage = LocalStorage(Path(folder))

        def fill(start: int, end: int) -> dict[str, float]:
            window = [str(END - start * _DAY), str(END - end * _DAY)]
            return in_child(["-m", "benchmarks.load.builds", "fill", server.url, folder, *window])

        fill(days, rounds)
        one_day = min(
            (fill(left, left - 1) for left in range(rounds, 0, -1)), key=itemgetter("after_extract")
        )
        nothing = fill(1, 0)["seconds"]
        results = built(Path(folder), rounds)
        steps = [
            run.transform for run in read_manifests(storage, all_runs(storage)).values() if run.transform
        ]
    ours = next(each for each in results if each.name == _LABELS["ours"][0])
    rebuilt = min(step.seconds for step in steps if step.anew)
    scene = Scene(f"{rows:,} charges of {days} days", results[0].rows_per_second, "the floor", tuple(results))
    found = History(days, rows, one_day["after_extract"], one_day["build"], nothing, ours.seconds, rebuilt)
    return found, scene


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
        "\nOne more day after its extraction, beside a rebuild; of both only the build; all of a run that finds nothing new"
    )
    for each in histories:
        click.echo(
            f"{each.days:>5} days {each.one_day:8.2f} s of {each.rebuild:8.2f} s {each.one_day / each.rebuild:8.1%}"
            f"{each.build:8.2f} s of {each.rebuild_build:8.2f} s {each.build / each.rebuild_build:8.1%}"
            f"{each.nothing_new:8.2f} s"
        )


if __name__ == "__main__":
    main()
