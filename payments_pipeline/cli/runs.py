"""Commands that carry out a run, whole or step by step."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from payments_pipeline import pipeline
from payments_pipeline.cli.context import MOMENT, lake_option, reporting, settings_of
from payments_pipeline.cli.terminal import answering, summary
from payments_pipeline.entities import ENTITIES, entity
from payments_pipeline.lake import Lake
from payments_pipeline.pipeline import Run
from payments_pipeline.session import execute, new_run_id, now, open_existing, storage_of
from payments_pipeline.settings import Settings
from payments_pipeline.state.manifest import Manifest, Request

_F = TypeVar("_F", bound=Callable[..., Any])


def _unless_dated(context: click.Context, parameter: click.Parameter, days: int | None) -> int | None:
    """DAYS of the environment is for whoever names no window on the command line."""
    named = context.params.get("start") or context.params.get("end")
    from_environment = context.get_parameter_source(parameter.name or "") is ParameterSource.ENVIRONMENT
    return None if named and from_environment else days


def window_options(command: _F) -> _F:
    """`--days`, or `--from` and `--to`."""
    for option in (
        click.option(
            "--to", "end", type=MOMENT, metavar="DATE", help="UTC date or time, exclusive [default: now]."
        ),
        click.option("--from", "start", type=MOMENT, metavar="DATE", help="UTC date or time, inclusive."),
        click.option(
            "--days",
            type=click.IntRange(1, 36_500),
            envvar="DAYS",
            callback=_unless_dated,
            help="Cover the last N days [default: 1].",
        ),
    ):
        command = option(command)
    return command


@click.command(epilog="Example: payments-pipeline run-pipeline --days 1")
@window_options
@lake_option
@click.pass_context
def run_pipeline(context: click.Context, /, **options: Any) -> None:
    """Extract, build, audit and publish: everything in one.

    Afterwards the last N days (or --from … --to) are covered. What is covered already is not fetched again, but
    for the safety window; a rerun changes nothing that has not changed at the source.
    """
    settings = settings_of(context, options.pop("lake"))
    _execute(settings, Request.of(tuple(ENTITIES), **options), publish=True)


@click.command(epilog="Example: payments-pipeline backfill --from 2026-01-01 --to 2026-02-01")
@click.option(
    "--from", "start", type=MOMENT, metavar="DATE", required=True, help="UTC date or time, inclusive."
)
@click.option("--to", "end", type=MOMENT, metavar="DATE", help="UTC date or time, exclusive [default: now].")
@lake_option
@click.pass_context
def backfill(context: click.Context, /, start: datetime, end: datetime | None, lake: str | None) -> None:
    """Fetch what is missing of a past window, build, audit and publish.

    What is covered already is not fetched again; 'status' shows the gaps.
    """
    request = Request.of(tuple(ENTITIES), days=None, start=start, end=end)
    _execute(settings_of(context, lake), request.model_copy(update={"backfill": True}), publish=True)


@click.command(epilog="Example: RUN_ID=demo-run-001 payments-pipeline run-all --days 1")
@window_options
@lake_option
@click.pass_context
def run_all(context: click.Context, /, **options: Any) -> None:
    """Extract every entity into bronze.

    Continue with run-transforms and run-quality under the same RUN_ID.
    """
    settings = settings_of(context, options.pop("lake"))
    _execute(settings, Request.of(tuple(ENTITIES), **options), publish=False)


@click.command(epilog="Example: payments-pipeline run-batch --entity charges --days 1")
@click.option("--entity", "name", required=True, envvar="ENTITY", help="Its name, e.g. charges.")
@window_options
@lake_option
@click.pass_context
def run_batch(context: click.Context, /, name: str, **options: Any) -> None:
    """Extract one entity into bronze.

    What its objects refer to and the lake does not hold is retrieved too.
    """
    settings = settings_of(context, options.pop("lake"))
    _execute(settings, Request.of((entity(name).name,), **options), publish=False)


@click.command(epilog="Example: RUN_ID=demo-run-001 payments-pipeline run-transforms")
@lake_option
@click.pass_context
def run_transforms(context: click.Context, lake: str | None) -> None:
    """Build silver and gold from bronze, into staging.

    What readers see does not change until run-quality, under the same RUN_ID, has audited it.
    """
    _on_existing(settings_of(context, lake), lambda opened, run, _: pipeline.transform(opened, run))


@click.command(epilog="Example: RUN_ID=demo-run-001 payments-pipeline run-quality")
@lake_option
@click.pass_context
def run_quality(context: click.Context, lake: str | None) -> None:
    """Audit what is staged and publish it if every check passes.

    Without RUN_ID, the last run that staged something is audited. Exit code 1: a check failed, nothing changed.
    """
    settings = settings_of(context, lake)
    with storage_of(settings) as storage:
        run_id = settings.run_id or pipeline.last_staged(storage)
    _on_existing(
        settings,
        lambda opened, run, share: pipeline.check_and_publish(opened, run, max_quarantine_share=share),
        run_id=run_id,
    )


@click.command(epilog="Example: payments-pipeline rebuild")
@click.option(
    "--accept-loss", is_flag=True, help="Publish also without rows whose file and bronze are both gone."
)
@lake_option
@click.pass_context
def rebuild(context: click.Context, lake: str | None, accept_loss: bool) -> None:
    """Build silver and gold anew from all of bronze.

    The result is audited and published like any other; its content is the one that runs have built bit by bit.
    Rows whose bronze 'gc --bronze-days' has removed are kept as they are.
    """
    _on_existing(
        settings_of(context, lake),
        lambda opened, run, share: pipeline.build_and_publish(
            opened, run, max_quarantine_share=share, rebuild=True, accept_loss=accept_loss
        ),
    )


def _execute(settings: Settings, request: Request, *, publish: bool) -> None:
    run_id = settings.run_id or new_run_id()
    with reporting(settings, run_id) as reporter:
        manifest = execute(settings, request, run_id, reporter, publish=publish)
    _conclude(manifest, settings)


def _on_existing(
    settings: Settings, step: Callable[[Lake, Run, float], Run], *, run_id: str | None = None
) -> None:
    """Carry out a step that needs no API."""
    run_id = run_id or settings.run_id or new_run_id()
    with (
        reporting(settings, run_id) as reporter,
        open_existing(settings, now, reporter) as lake,
        pipeline.opened(lake, run_id) as opened,
    ):
        run = step(lake, opened, settings.max_quarantine_share)
    _conclude(run.manifest, settings)


def _conclude(manifest: Manifest, settings: Settings) -> None:
    console = answering()
    if console.is_terminal:
        console.print(summary(manifest, settings.lake))
