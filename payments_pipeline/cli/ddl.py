"""Commands that print the DDL with which other engines read a lake."""

from __future__ import annotations

from datetime import datetime

import click

from payments_pipeline.cli.context import settings_of
from payments_pipeline.flow import EPOCH_DT


@click.group(epilog="Example: payments-pipeline ddl athena --location s3://bucket/prefix")
def ddl() -> None:
    """Print the tables with which other engines read the lake."""


@ddl.command(epilog="Example: payments-pipeline ddl athena --location s3://bucket/prefix gold.fct_payments")
@click.argument("models", metavar="[MODEL]...", nargs=-1)
@click.option(
    "--location",
    metavar="URL",
    help="Where the lake is, s3://bucket/prefix [default: the lake that the settings name].",
)
@click.option(
    "--layer",
    "layers",
    type=click.Choice(["silver", "gold", "marts"]),
    multiple=True,
    default=("gold", "marts"),
    show_default=True,
    help="Every model of a layer; may be repeated.",
)
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d"]),
    default=EPOCH_DT,
    show_default=True,
    metavar="DATE",
    help="First day that a query without a condition on dt looks at.",
)
@click.pass_context
def athena(
    context: click.Context,
    models: tuple[str, ...],
    location: str | None,
    layers: tuple[str, ...],
    since: datetime,
) -> None:
    """Tables for Amazon Athena: CREATE EXTERNAL TABLE with partition projection for gold and marts.

    Run each statement once, in the database that is to hold the tables. New days show up by themselves; after
    a change of a model's columns, drop its table and create it again. Rows of unknown time lie under 1970-01-01.
    """
    import tempfile
    from pathlib import Path

    from payments_pipeline.entities import ENTITIES
    from payments_pipeline.transform.athena import checked_location, chosen, columns_of, table
    from payments_pipeline.transform.duckdb_engine import DuckDBEngine
    from payments_pipeline.transform.models import discover, sql_root

    lake = location or settings_of(context, None).lake
    if "://" not in lake:
        raise click.UsageError(
            "Athena reads lakes in S3: say where it is with --location s3://bucket/prefix, or by PIPELINE_ENV=AWS and "
            "S3_BUCKET."
        )
    place = checked_location(lake)
    known = discover(sql_root())
    wanted = list(chosen(known, models, layers))
    with tempfile.TemporaryDirectory(prefix="payments-pipeline-") as scratch:
        engine = DuckDBEngine(ENTITIES.values(), folders=[], scratch=Path(scratch))
        try:
            columns = columns_of(known, engine)
        finally:
            engine.close()
    for model in wanted:
        click.echo(table(model, columns[model.qualified], place, first_day=f"{since:%Y-%m-%d}") + "\n")
