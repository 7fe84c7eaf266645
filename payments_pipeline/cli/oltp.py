"""Commands for the same objects in PostgreSQL."""

from __future__ import annotations

import click

from payments_pipeline.cli.context import lake_option, settings_of
from payments_pipeline.oltp import require_drivers


@click.group(epilog="Example: payments-pipeline oltp up")
def oltp() -> None:
    """Keep the same objects in PostgreSQL."""


@oltp.command(epilog="Example: payments-pipeline oltp up")
@click.option(
    "--port",
    type=click.IntRange(1024, 65535),
    help="Listen on this port [default: the last one, or a free one].",
)
@lake_option
@click.pass_context
def up(context: click.Context, port: int | None, lake: str | None) -> None:
    """Start a PostgreSQL server of one's own.

    Its data lies in the lake's folder under oltp/. It listens on 127.0.0.1 and asks for the password beside the data.
    """
    require_drivers()
    from payments_pipeline.oltp.database import database_of, own_server

    settings = settings_of(context, lake).model_copy(update={"database_url": None})
    server = own_server(settings)
    for folder in server.up(port):
        click.echo(f"{folder} can now be passed through by other accounts: the server is not root.", err=True)
    click.echo(f"{database_of(settings)} (the password is in {server.password_file})")


@oltp.command(epilog="Example: payments-pipeline oltp down")
@lake_option
@click.pass_context
def down(context: click.Context, lake: str | None) -> None:
    """Stop that server; the data stays."""
    require_drivers()
    from payments_pipeline.oltp.database import own_server

    stopped = own_server(settings_of(context, lake)).down()
    click.echo("The server is stopped; its data stays." if stopped else "No server was running.")


@oltp.command("init-db", epilog="Example: payments-pipeline oltp init-db")
@lake_option
@click.pass_context
def init_db(context: click.Context, lake: str | None) -> None:
    """Create the databases stripe_db and stripe_test if they are missing."""
    require_drivers()
    from payments_pipeline.oltp.database import create_missing, database_of

    database = database_of(settings_of(context, lake))
    created = create_missing(database)
    click.echo(f"Created: {', '.join(created)}." if created else "Both databases are there already.")
