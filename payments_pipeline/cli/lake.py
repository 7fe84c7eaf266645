"""Commands that look at a lake, or tidy it."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, TextIO

import click

from payments_pipeline import api
from payments_pipeline.cli.context import lake_option, settings_of
from payments_pipeline.cli.terminal import answering, print_answer, table_of
from payments_pipeline.errors import StorageError
from payments_pipeline.flow import Quiet
from payments_pipeline.inspect import Status, read_status, run_query
from payments_pipeline.maintenance import collect_garbage
from payments_pipeline.retention import Retention
from payments_pipeline.session import now, open_existing, open_for_reading
from payments_pipeline.state.head import read_head
from payments_pipeline.transform.engine import Result


@click.command(epilog="Example: payments-pipeline status")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@lake_option
@click.pass_context
def status(context: click.Context, lake: str | None, as_json: bool) -> None:
    """Show coverage, freshness and the last runs."""
    with open_for_reading(settings_of(context, lake)) as opened:
        found = read_status(opened.storage, now())
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=2))
    else:
        _print_status(found)


@click.command(
    epilog='Example: payments-pipeline query "select currency, net_minor from marts.revenue_daily where revenue_date = today()"'
)
@click.argument("sql")
@click.option(
    "--format",
    "shape",
    type=click.Choice(["table", "csv", "json", "markdown"]),
    default="table",
    show_default=True,
)
@lake_option
@click.pass_context
def query(context: click.Context, sql: str, shape: str, lake: str | None) -> None:
    """Ask the lake a question in SQL.

    There is a view for every model: silver.<entity>, gold.<model>, marts.<mart>. Only what is published and
    whose checksum is right is read; the query can reach nothing outside the lake.
    """
    with open_for_reading(settings_of(context, lake)) as opened:
        if read_head(opened.storage).published is None:
            click.echo("nothing is published in this lake yet: every model is empty.", err=True)
        _WRITERS[shape](run_query(opened, sql), sys.stdout)


@click.command(epilog="Example: payments-pipeline verify")
@lake_option
@click.pass_context
def verify(context: click.Context, lake: str | None) -> None:
    """Compare every file with its recorded checksum.

    Reads all of bronze, silver, gold and the state. Exit code 4 names what is damaged or missing.
    """
    count = api.verify(settings_of(context, lake))
    click.echo(f"{count} objects are as recorded.")


@click.command(epilog="Example: payments-pipeline gc --dry-run")
@click.option("--dry-run", is_flag=True, help="Only name what would be removed.")
@click.option(
    "--min-age-hours",
    type=click.FloatRange(0),
    default=24.0,
    show_default=True,
    help="Leave younger objects alone.",
)
@click.option(
    "--bronze-days",
    type=click.IntRange(1),
    metavar="N",
    help="Forget bronze older than N days [default: keep it for good].",
)
@click.option(
    "--quarantine-days",
    type=click.IntRange(1),
    metavar="N",
    help="Forget quarantined records older than N days [default: keep them for good].",
)
@click.option(
    "--staging-days",
    type=click.IntRange(1),
    metavar="N",
    help="Forget builds that were not published within N days [default: wait for their audit].",
)
@lake_option
@click.pass_context
def gc(context: click.Context, /, dry_run: bool, min_age_hours: float, lake: str | None, **days: Any) -> None:
    """Remove what no manifest names.

    Left-overs of killed runs and of replaced models; never bronze that a manifest names, never what is published.

    With an age, manifests first forget what is older. Bronze is only forgotten once a publication has merged it
    and while every file of silver is whole; silver and gold stay as they are. A later rebuild keeps the rows that
    have no bronze any more, but can no longer make them again if their file is damaged.

    A dry run changes nothing and waits for nobody: without a minimum age it may also name what a run that is at work has
    not noted yet.
    """
    retention = Retention(**{name.removesuffix("_days"): value for name, value in days.items()})
    settings = settings_of(context, lake)
    with open_for_reading(settings) if dry_run else open_existing(settings, now, Quiet()) as opened:
        if not dry_run and opened.clock() - now() > timedelta(minutes=1):
            raise StorageError(
                f"{opened.storage.url} was last written at {opened.clock():%Y-%m-%d %H:%M} UTC, which has not come by this "
                "machine's clock: one of the two clocks was wrong, and what is old cannot be told. Nothing was removed; "
                "set the clock if it is this one, or wait until then ('status' lists the runs; docs/runbook.md)."
            )
        removed = collect_garbage(
            opened, min_age_seconds=min_age_hours * 3600, dry_run=dry_run, retention=retention
        )
    layers = Counter(key.partition("/")[0] for key in removed)
    for line in removed if dry_run else (f"{layer}: {count} removed" for layer, count in layers.items()):
        click.echo(line)
    click.echo(f"{len(removed)} objects {'would be' if dry_run else 'were'} removed.", err=True)


def _print_status(found: Status) -> None:
    console = answering()
    console.print(f"lake {found.url}, account {found.account or 'unknown'}", highlight=False)
    if found.publishing:
        console.print(f"run {found.publishing} was interrupted while publishing; the next run finishes it")
    coverage = [
        (line.entity, line.since, line.watermark, line.behind, ", ".join(line.gaps))
        for line in found.coverage
    ]
    console.print(table_of(("entity", "covered from", "to (watermark)", "behind", "gaps"), coverage))
    runs = [(line.run_id, line.outcome, f"{line.at:%Y-%m-%d %H:%M:%S}", line.rows) for line in found.runs]
    console.print(table_of(("run", "outcome", "at (UTC)", "records"), runs))
    if found.webhooks is not None:
        console.print(
            f"webhook events received: {found.webhooks.events}, waiting for the next run: {found.webhooks.waiting}",
            highlight=False,
        )


def _write_table(result: Result, stream: TextIO) -> None:
    print_answer(answering(stream), result.columns, result.rows)


def _write_csv(result: Result, stream: TextIO) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(result.columns)
    writer.writerows(result.rows)


def _write_json(result: Result, stream: TextIO) -> None:
    rows = [dict(zip(result.columns, map(_json_value, row), strict=True)) for row in result.rows]
    stream.write(json.dumps(rows, indent=2, default=str, allow_nan=False) + "\n")


def _json_value(value: object) -> object:
    """What JSON has for a value of DuckDB's: null for a number that is none, hexadecimal digits for bytes."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(key): _json_value(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(inner) for inner in value]
    return value


def _write_markdown(result: Result, stream: TextIO) -> None:
    def line(cells: tuple[object, ...]) -> str:
        texts = ("" if cell is None else str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells)
        return f"| {' | '.join(texts)} |\n"

    stream.write(line(result.columns) + line(("---",) * len(result.columns)))
    stream.writelines(line(row) for row in result.rows)


_WRITERS: Mapping[str, Callable[[Result, TextIO], None]] = {
    "table": _write_table,
    "csv": _write_csv,
    "json": _write_json,
    "markdown": _write_markdown,
}
