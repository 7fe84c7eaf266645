"""Commands for the same objects in PostgreSQL."""

from __future__ import annotations

import click

from payments_pipeline.cli.context import lake_option, settings_of
from payments_pipeline.cli.oltp_data import check, ingest, ingest_all, publish_gold
from payments_pipeline.cli.populate import fetch, populate
from payments_pipeline.errors import UsageError
from payments_pipeline.oltp import require_drivers


@click.group(epilog="Example: payments-pipeline oltp up")
def oltp() -> None:
    """Keep the same objects in PostgreSQL."""


oltp.add_command(populate)
oltp.add_command(fetch)


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


@oltp.command("init-migration", epilog="Example: payments-pipeline oltp init-migration")
@lake_option
@click.pass_context
def init_migration(context: click.Context, lake: str | None) -> None:
    """Write the first migration if there is none.

    The program comes with its migrations, so this is for whoever starts over with tables of their own.
    """
    require_drivers()
    from payments_pipeline.oltp.migrate import has_revisions

    if has_revisions():
        click.echo("There are migrations already; 'oltp migrate -m …' adds one when the models have changed.")
    else:
        _write_migration(context, lake, "the first tables")


@oltp.command(epilog='Example: payments-pipeline oltp migrate -m "Add a column"')
@click.option("-m", "--message", required=True, help="What the migration does.")
@lake_option
@click.pass_context
def migrate(context: click.Context, message: str, lake: str | None) -> None:
    """Write the migration from the database's schema to the models.

    For developers: the file belongs to the program. Read it before it is applied: Alembic does not see changed checks.
    """
    require_drivers()
    if not message.strip():
        raise UsageError("a migration needs a message that says what it does. Nothing was written.")
    _write_migration(context, lake, message)


@oltp.command(epilog="Example: payments-pipeline oltp upgrade")
@click.argument("revision", default="head")
@lake_option
@click.pass_context
def upgrade(context: click.Context, revision: str, lake: str | None) -> None:
    """Bring the schema to REVISION, the newest by default."""
    require_drivers()
    from payments_pipeline.oltp import migrate as migrations
    from payments_pipeline.oltp.database import database_of

    reached = migrations.upgrade(database_of(settings_of(context, lake)), revision)
    click.echo(f"The schema is at {reached}.")


@oltp.command(epilog="Example: payments-pipeline oltp downgrade base")
@click.argument("revision", default="-1")
@lake_option
@click.pass_context
def downgrade(context: click.Context, revision: str, lake: str | None) -> None:
    """Take the schema back to REVISION, the one before by default; what goes takes its data along.

    For ENV=DEV only.
    """
    require_drivers()
    settings = settings_of(context, lake)
    settings.require_development("oltp downgrade")
    from payments_pipeline.oltp import migrate as migrations
    from payments_pipeline.oltp.database import database_of

    reached = migrations.downgrade(database_of(settings), revision)
    click.echo(f"The schema is at {reached}." if reached else "The tables are gone.")


@oltp.command(epilog="Example: payments-pipeline oltp diagram --svg > schema.svg")
@click.option("--svg", is_flag=True, help="Print a picture of the references instead.")
def diagram(svg: bool) -> None:
    """Print the schema as a Mermaid diagram."""
    require_drivers()
    from payments_pipeline.oltp import diagram as drawn

    click.echo(drawn.svg() if svg else drawn.mermaid(), nl=False)


@oltp.command("reset-db", epilog="Example: payments-pipeline oltp reset-db --yes")
@click.option("--yes", is_flag=True, help="Do not ask.")
@lake_option
@click.pass_context
def reset_db(context: click.Context, yes: bool, lake: str | None) -> None:
    """Throw the database away and make an empty one.

    For ENV=DEV only.
    """
    require_drivers()
    settings = settings_of(context, lake)
    settings.require_development("oltp reset-db")
    from payments_pipeline.oltp import migrate as migrations
    from payments_pipeline.oltp.database import database_of, recreate

    database = database_of(settings)
    if not yes:
        click.confirm(f"Throw away {database} and all that is in it?", abort=True)
    recreate(database)
    click.echo(f"{database} is empty, its schema at {migrations.upgrade(database)}.")


def _write_migration(context: click.Context, lake: str | None, message: str) -> None:
    from payments_pipeline.oltp.database import database_of
    from payments_pipeline.oltp.migrate import new_revision

    path = new_revision(database_of(settings_of(context, lake)), message)
    click.echo(
        f"Wrote {path}." if path else "The database agrees with the models: there is nothing to migrate."
    )


for _command in (ingest_all, ingest, check, publish_gold):
    oltp.add_command(_command)
