"""What every command starts from: settings, and a voice for the terminal or the log."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

import click

from payments_pipeline.flow import Reporter
from payments_pipeline.settings import Settings

_F = TypeVar("_F", bound=Callable[..., Any])


class _Moment(click.DateTime):
    """A date, or a date and time, of UTC; an offset is refused, not guessed."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            found: datetime = super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(
                f"{value!r} is no date or time of UTC; write 2026-11-20, 2026-11-20T09:30:00 or 2026-11-20T09:30:00Z.",
                param,
                ctx,
            )
        return found


MOMENT = _Moment(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"])
"""What `--from` and `--to` take."""


def settings_of(context: click.Context, lake: str | None) -> Settings:
    """The environment's settings, with the lake named on the command line if there is one."""
    environ: Mapping[str, str] = context.obj
    named = {"LOCAL_DATA_DIR": lake or "", "PIPELINE_ENV": "", "S3_BUCKET": "", "S3_PREFIX": ""}
    overriding = named if lake else {}
    return Settings.from_env({**environ, **overriding})


def lake_option(command: _F) -> _F:
    """`--lake`, for every command that works on one."""
    return click.option(
        "--lake",
        metavar="LAKE",
        help="A folder, or s3://bucket/prefix [default: what PIPELINE_ENV and its settings name].",
    )(command)


@contextmanager
def reporting(settings: Settings, run_id: str) -> Iterator[Reporter]:
    """Progress bars on a terminal, JSON log lines on standard error otherwise."""
    if sys.stderr.isatty():
        from payments_pipeline.cli.terminal import TerminalReporter

        with TerminalReporter() as terminal:
            yield terminal
        return
    from payments_pipeline.errors import PipelineError
    from payments_pipeline.log import LogReporter, Redactor, make_logger

    key = settings.stripe_api_key.get_secret_value() if settings.stripe_api_key else ""
    logger = make_logger(Redactor([key]))
    try:
        yield LogReporter(logger, run_id)
    except PipelineError as error:
        failure = {"run_id": run_id, "exit_code": error.exit_code, "error": str(error)}
        logger.error("run_failed", **failure)  # noqa: TRY400 - raised on purpose, its message says all
        raise
