"""The generated pages of the documentation: every command with its help, every model with its columns.

Each page names the command that writes it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from payments_pipeline.cli import commands
from payments_pipeline.entities import ENTITIES
from payments_pipeline.transform.duckdb_engine import DuckDBEngine
from payments_pipeline.transform.models import Models, ModelSpec

_WIDTH = 100
_LAYERS = {
    "silver": "One typed row per Stripe object, in its current state; nested lists as tables of their own. "
    "Columns that begin with `_` tell when and how the row was observed.",
    "gold": "Facts and dimensions for analysis. No personal data, no metadata.",
    "marts": "Aggregates of gold, ready for a chart.",
}


def command_reference() -> str:
    """Markdown with the help of every command, its options and its example, as the terminal shows them."""
    lines = [
        "# Commands",
        "",
        "<!-- generated: python -m payments_pipeline.cli.reference > docs/commands.md -->",
        "",
        "What `--help` says, for every command. Settings come from the environment: see the table in the README.",
    ]
    root = click.Context(commands, info_name="payments-pipeline", **commands.context_settings)
    for path, context in _walk(root):
        lines += ["", f"## {path}", "", "```text", context.get_help().rstrip(), "```"]
    return "\n".join(lines) + "\n"


def data_dictionary(models: Models) -> str:
    """Markdown with every model: its grain, partitions, promises, caveats, and each column with its type."""
    types = _column_types(models)
    lines = [
        "# Data dictionary",
        "",
        "<!-- generated: payments-pipeline models dictionary > docs/data-dictionary.md -->",
        "",
        "From the headers of the files under `sql/`. Every grain, required column, accepted value and reference",
        "named here is a check that must pass before anything is published.",
        "",
        "`<x>_minor` is an integer amount in minor units of the currency beside it, `<x>_at` a UTC timestamp,",
        "`<x>_date` a UTC date; booleans begin with `is_` or `has_`. In silver, what stands in parentheses is Stripe's",
        "own field. → names the column in which every value that is not NULL is found.",
    ]
    for layer, introduction in _LAYERS.items():
        lines += ["", f"## {layer}", "", introduction]
        for model in sorted(models.layer(layer), key=lambda model: model.name):
            lines += ["", *_model(model, types[model.qualified])]
    lines += [
        "",
        "## Checks across models",
        "",
        "| check | severity | what must hold |",
        "| --- | --- | --- |",
    ]
    lines += [
        f"| `{check.name}` | {check.severity} | {_cell(check.description)} |" for check in models.checks
    ]
    return "\n".join(lines) + "\n"


def _walk(context: click.Context) -> Iterator[tuple[str, click.Context]]:
    """Every command and group below `context`, itself first, with its whole name."""
    context.terminal_width = _WIDTH
    yield context.command_path, context
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            if command is not None:
                yield from _walk(click.Context(command, info_name=name, parent=context))


def _column_types(models: Models) -> Mapping[str, Mapping[str, str]]:
    """Each model's columns and their SQL types, in order, as its SELECT gives them."""
    with tempfile.TemporaryDirectory() as scratch:
        engine = DuckDBEngine(ENTITIES.values(), folders=[], scratch=Path(scratch))
        try:
            types = {}
            for model in models.built:
                engine.show(model, [])
                types[model.qualified] = engine.query(f"describe {model.qualified}").pairs()
            return types
        finally:
            engine.close()


def _model(model: ModelSpec, types: Mapping[str, str]) -> Iterator[str]:
    yield f"### {model.qualified}"
    yield ""
    yield _cell(model.description)
    yield ""
    yield f"- **Grain**: {_code(model.grain)}"
    yield f"- **Partitioned by**: {f'the date of `{model.partition_by}`' if model.partition_by else 'nothing'}"
    yield f"- **Reads**: {_code(model.depends_on)}"
    for caveat in model.caveats:
        yield f"- **Caveat**: {_cell(caveat)}"
    yield ""
    yield "| column | type | required | description |"
    yield "| --- | --- | --- | --- |"
    for column, kind in types.items():
        required = "yes" if column in {*model.not_null, *model.grain} else ""
        description = _cell(model.columns.get(column, ""))
        yield f"| `{column}` | {_cell(kind)} | {required} | {description}{_promises(model, column)} |"


def _promises(model: ModelSpec, column: str) -> str:
    """What else the header promises of a column: where its values are found, or which they are."""
    told = ""
    if column in model.references:
        told += f" → `{model.references[column]}`"
    if column in model.accepted:
        told += f"; one of {_code(model.accepted[column])}"
    return told


def _code(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _cell(text: str) -> str:
    """Text on one line, with nothing in it that ends a table cell."""
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    click.echo(command_reference(), nl=False)
