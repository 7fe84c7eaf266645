"""The command line: arguments and environment in, a library call, an exit code out.

Only here: click, the process environment, printing and exiting. Commands are imported when
they are used, so that `--help` stays quick.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress

import click

from payments_pipeline.errors import PipelineError, exit_code_for
from payments_pipeline.loading import loading

COMMANDS: Mapping[str, str] = {
    "run-pipeline": "runs",
    "run-all": "runs",
    "run-batch": "runs",
    "run-transforms": "runs",
    "run-quality": "runs",
    "backfill": "runs",
    "rebuild": "runs",
    "plan": "plan",
    "status": "lake",
    "query": "lake",
    "verify": "lake",
    "gc": "lake",
    "run-webhooks": "webhooks",
    "catch-up": "webhooks",
    "reconcile": "webhooks",
    "models": "models",
    "ddl": "ddl",
    "oltp": "oltp",
    "mock-api": "mock",
}
"""Every command and the module of this package that holds it."""

_EXIT_CODES = """
\b
Exit codes: 0 ok · 1 a quality gate failed, nothing was published · 2 usage or configuration
· 3 source API · 4 storage · 5 another run holds the lake · 70 payments-pipeline itself failed
· 130/143 interrupted, safe to rerun.
"""


_SAFE = "it is safe to run again."
_FINISHED = "Readers are shown nothing half published; what was being published is finished then."


class Terminated(BaseException):
    """SIGTERM: stop like Ctrl-C does, with its own exit code; click would turn a KeyboardInterrupt into its own."""


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        with loading():
            module = importlib.import_module(f"payments_pipeline.cli.{COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            for similar in get_close_matches(args[0], COMMANDS, 1):
                raise click.UsageError(f"{error.message} Did you mean {similar}?", error.ctx) from error
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(SUMMARIES.items()))


SUMMARIES: Mapping[str, str] = {
    "run-pipeline": "Extract, build, audit and publish: everything in one.",
    "run-all": "Extract every entity into bronze.",
    "run-batch": "Extract one entity into bronze.",
    "run-transforms": "Build silver and gold from bronze, into staging.",
    "run-quality": "Audit what is staged and publish it if every check passes.",
    "backfill": "Fetch what is missing of a past window, build, audit and publish.",
    "rebuild": "Build silver and gold anew from all of bronze.",
    "plan": "Show what a run would list, and about the calls and minutes it takes.",
    "status": "Show coverage, freshness and the last runs.",
    "query": "Ask the lake a question in SQL.",
    "verify": "Compare every file with its recorded checksum.",
    "gc": "Remove what no manifest names.",
    "run-webhooks": "Receive Stripe's webhooks into bronze.",
    "catch-up": "Read the events that could not be delivered.",
    "reconcile": "Compare received webhooks with the events feed and silver.",
    "models": "List, describe and trace the models.",
    "ddl": "Print the tables with which other engines read the lake.",
    "oltp": "Keep the same objects in PostgreSQL.",
    "mock-api": "Serve a simulated Stripe account.",
}
"""One line for each command; equal to the first line of its own help."""


@click.group(cls=_Lazy, epilog=_EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="payments-pipeline")
def commands() -> None:
    """Your Stripe data as an audited lakehouse on DuckDB.

    \b
    Example:
      payments-pipeline run-pipeline --days 1
      payments-pipeline query "select currency, net_minor from marts.revenue_daily where revenue_date = today()"
    """


def main() -> None:
    """Run the command line that this process was started with, and end the process."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by our parent: a file of the lake would get its number
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), "r" if name == "stdin" else "w"))
    try:
        code = run(sys.argv[1:], os.environ)
    except Exception:  # noqa: BLE001 - whatever it is, 1 would say that a quality gate failed
        traceback.print_exc()
        code = _ended(
            70,
            "error: payments-pipeline has failed; please report the lines above. Still, "
            + _reassurance(sys.argv[1:]),
        )
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:  # whoever read it has gone
            continue
        except OSError as error:
            if stream is sys.stdout and code == 0:
                code = _unwritten(error)
    # All is closed and written: the system takes memory back at once, the interpreter object by object.
    os._exit(code)


def run(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run one command line; the process's exit code. Errors are one line on standard error."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        # What a command returns is None; of one that ended by `context.exit`, click returns the code.
        code: int | None = commands.main(
            list(arguments), prog_name="payments-pipeline", standalone_mode=False, obj=environ
        )
    except click.exceptions.NoArgsIsHelpError as error:
        return _ended(2, error.format_message())
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "payments-pipeline"
        return _ended(2, f"error: {error.format_message()} See {path} --help.")
    except Terminated:
        return _ended(143, f"stopped by SIGTERM: {_reassurance(arguments)}")
    except (KeyboardInterrupt, click.Abort):
        return _ended(130, f"interrupted: {_reassurance(arguments)}")
    except PipelineError as error:
        return _ended(exit_code_for(error), f"error: {error}")
    except OSError as error:
        if error.filename is not None:
            raise
        return _unwritten(error)
    except SystemExit:  # click's way to say that nobody reads standard output any more
        return 0
    return code or 0


def _reassurance(arguments: Sequence[str]) -> str:
    """What still holds when a command was stopped; of publications it speaks only if the command makes any."""
    publishes = COMMANDS.get(next(iter(arguments), "")) == "runs"
    return f"{_SAFE} {_FINISHED}" if publishes else _SAFE


def _ended(code: int, message: str) -> int:
    """The exit code, after saying why to whoever still listens."""
    with suppress(OSError):
        click.echo(message, err=True)
    return code


def _unwritten(error: OSError) -> int:
    return _ended(4, f"error: the output could not be written: {error.strerror}; all else is done.")


def _terminate(number: int, frame: object) -> None:
    raise Terminated
