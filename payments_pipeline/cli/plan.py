"""The command that says what a run would cost."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

import click

from payments_pipeline.cli.context import lake_option, settings_of
from payments_pipeline.cli.runs import window_options
from payments_pipeline.cli.terminal import answering, table_of
from payments_pipeline.entities import ENTITIES, entity
from payments_pipeline.forecast import Forecast, forecast
from payments_pipeline.session import now, open_source, storage_of
from payments_pipeline.state.manifest import Request


@click.command(epilog="Example: payments-pipeline plan --days 30")
@click.option(
    "--entity", "names", multiple=True, help="Its name, e.g. charges; repeat for more [default: all]."
)
@window_options
@click.option("--json", "as_text", is_flag=True, help="Print JSON.")
@lake_option
@click.pass_context
def plan(
    context: click.Context, /, names: tuple[str, ...], as_text: bool, lake: str | None, **window: Any
) -> None:
    """Show what a run would list, and about the calls and minutes it takes.

    Counted from what earlier runs have found in a day, and where none has looked, from a few pages of the account.
    Nothing is written.
    """
    settings = settings_of(context, lake)
    chosen = tuple(entity(name).name for name in dict.fromkeys(names)) or tuple(ENTITIES)
    request = Request.of(chosen, **window)
    with storage_of(settings) as storage, ExitStack() as stack:
        count = None
        if not settings.uses_embedded_mock:
            count = stack.enter_context(open_source(settings, storage, now)).client.count
        found = forecast(storage, settings, request, int(now().timestamp()), count=count)
    if as_text:
        click.echo(json.dumps(found.as_json(), indent=2))
    else:
        _print(found)


def _print(found: Forecast) -> None:
    console = answering()
    rows = [
        (
            each.entity,
            len(each.windows),
            f"{each.days:.1f}",
            "unknown" if each.objects is None else f"{each.objects:,}",
            f"{'at least ' if each.objects is None else ''}{each.calls:,}",
        )
        for each in found.entities
    ]
    console.print(table_of(("entity", "windows", "days", "objects", "calls"), rows))
    if found.relist:
        console.print(f"everything covered is listed again: {found.relist}", highlight=False)
    about = "at least" if found.unknown else "about"
    console.print(
        f"{about} {found.calls:,} calls to list, {found.minutes:.1f} minutes at {found.rate:g} calls a second",
        highlight=False,
    )
    on_top = "what events name and what new objects refer to is retrieved on top, a call each: "
    if found.retrieved is None:
        on_top += "on a first run that is most of the work"
    else:
        on_top += "{:,} to {:,} in earlier runs".format(*found.retrieved)
    console.print(on_top, highlight=False)
