"""Commands about the models under sql/."""

from __future__ import annotations

import click

from payments_pipeline.cli.terminal import answering, table_of
from payments_pipeline.transform.models import Models, ModelSpec, discover, sql_root


@click.group(epilog="Example: payments-pipeline models describe gold.fct_payments")
def models() -> None:
    """List, describe and trace the models."""


@models.command("list", epilog="Example: payments-pipeline models list")
def list_models() -> None:
    """Every model with its grain and what it holds."""
    rows = [
        (model.qualified, ", ".join(model.grain), model.description) for model in discover(sql_root()).built
    ]
    answering().print(table_of(("model", "grain", "description"), rows))


@models.command(epilog="Example: payments-pipeline models describe gold.fct_payments")
@click.argument("model")
def describe(model: str) -> None:
    """One model: its columns, its promises and its caveats."""
    found = _named(model, discover(sql_root()))
    console = answering()
    console.print(f"{found.qualified}: {found.description}", highlight=False)
    console.print(f"grain: {', '.join(found.grain)}; partitioned by: {found.partition_by or 'nothing'}")
    console.print(f"reads: {', '.join(found.depends_on)}")
    for caveat in found.caveats:
        console.print(f"caveat: {caveat}", highlight=False)
    console.print(table_of(("column", "description"), list(found.columns.items())))


@models.command(epilog="Example: payments-pipeline models lineage > lineage.mmd")
@click.argument("model", required=False)
def lineage(model: str | None) -> None:
    """What reads what, as a Mermaid graph; with MODEL, only what leads to it."""
    found = discover(sql_root())
    edges = {(read, each.qualified) for each in found.built for read in each.depends_on}
    if model is not None:
        wanted = {_named(model, found).qualified}
        while more := {read for read, reader in edges if reader in wanted} - wanted:
            wanted |= more
        edges = {(read, reader) for read, reader in edges if reader in wanted}
    click.echo("graph LR")
    for read, reader in sorted(edges):
        click.echo(f"    {read} --> {reader}")


@models.command(epilog="Example: payments-pipeline models dictionary > data-dictionary.md")
def dictionary() -> None:
    """Every model, column and check, as a Markdown page."""
    from payments_pipeline.cli.reference import data_dictionary

    click.echo(data_dictionary(discover(sql_root())), nl=False)


def _named(name: str, models: Models) -> ModelSpec:
    """The model of that name; where only one has it, the layer may be left out."""
    found = [model for model in models.built if model.name == name]
    return found[0] if len(found) == 1 else models.get(name)
