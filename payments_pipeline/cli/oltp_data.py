"""Commands that fill the PostgreSQL tables and compare them with their source."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from payments_pipeline.cli.context import lake_option, settings_of
from payments_pipeline.cli.terminal import answering, table_of
from payments_pipeline.entities import ENTITIES
from payments_pipeline.errors import UsageError
from payments_pipeline.oltp import LISTS, require_drivers
from payments_pipeline.settings import Settings

if TYPE_CHECKING:
    from payments_pipeline.oltp.check import TableCheck
    from payments_pipeline.oltp.database import Connection
    from payments_pipeline.oltp.merge import Merged
    from payments_pipeline.oltp.source import Source
    from payments_pipeline.oltp.stage import Rejects

TABLES: Mapping[str, str] = {ENTITIES[name].object: name for name in LISTS}
"""The name of one object to the name of its table."""

_source_option = click.option(
    "--source",
    type=click.Choice(["json", "api", "lake"]),
    default="json",
    show_default=True,
    help="Where the objects come from.",
)
_folder_option = click.option(
    "--json-dir",
    "folder",
    type=click.Path(path_type=Path),
    default=Path("data/imported_stripe_data"),
    show_default=True,
    help="For json: the folder of the files.",
)


@click.command("ingest-all", epilog="Example: payments-pipeline oltp ingest-all --source lake")
@_source_option
@_folder_option
@lake_option
@click.pass_context
def ingest_all(context: click.Context, source: str, folder: Path, lake: str | None) -> None:
    """Fill all tables from files, the API or the lake.

    Newer states replace older ones, never the other way round; what has not changed is not written. All tables
    change in one transaction.
    """
    require_drivers()
    _ingest(settings_of(context, lake), source, tuple(TABLES.values()), folder)


@click.command(epilog="Example: payments-pipeline oltp ingest customer --file customers.json")
@click.argument("table", type=click.Choice(list(TABLES)), metavar="TABLE")
@_source_option
@_folder_option
@click.option(
    "--file",
    type=click.Path(path_type=Path),
    help="For json: the file [default: the table's own in --json-dir].",
)
@lake_option
@click.pass_context
def ingest(context: click.Context, /, table: str, source: str, *, file: Path | None, **options: Any) -> None:
    """Fill one table.

    TABLE is named for one of its objects: customer, payment_method, product, price, subscription, invoice,
    payment_intent, charge or invoice_payment.

    What its objects refer to and no table holds becomes a stub: a row that has only an id until the object comes.
    """
    require_drivers()
    if file is not None and source != "json":
        raise UsageError(f"a file is for '--source json', not for {source}. Nothing was written.")
    _ingest(settings_of(context, options["lake"]), source, (TABLES[table],), options["folder"], file)


@click.command(epilog="Example: payments-pipeline oltp check --source lake")
@_source_option
@_folder_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@lake_option
@click.pass_context
def check(context: click.Context, source: str, folder: Path, as_json: bool, lake: str | None) -> None:
    """Compare every table with its source.

    Counts, ids and every column of every object. Exit code 1 if anything differs.
    """
    require_drivers()
    from payments_pipeline.oltp.check import check as compare
    from payments_pipeline.oltp.ingest import stage

    settings = settings_of(context, lake)
    with _opened(settings, source, tuple(TABLES.values()), folder) as (connection, factory, rejects):
        staged = stage(connection, factory, rejects)
        found = compare(connection, staged)
    _warn(rejects)
    if as_json:
        lines = [each.as_json() for each in found]
        click.echo(
            json.dumps({"source": staged.source, "rejected": rejects.count, "tables": lines}, indent=2)
        )
    else:
        _print_check(staged.source, found)
    if rejects.count or not all(each.passed for each in found):
        context.exit(1)


@click.command("publish-gold", epilog="Example: payments-pipeline oltp publish-gold")
@lake_option
@click.pass_context
def publish_gold(context: click.Context, lake: str | None) -> None:
    """Load the lake's gold models and marts as tables.

    Into the schemas gold and marts, all in one transaction: readers see one publication, the old one or the new one.
    """
    require_drivers()
    from payments_pipeline.oltp.database import database_of
    from payments_pipeline.oltp.gold import publish
    from payments_pipeline.session import open_for_reading

    settings = settings_of(context, lake)
    with open_for_reading(settings) as opened, database_of(settings).connect() as connection:
        published = publish(connection, opened)
    rows = [
        (line.model, line.rows, "new" if line.new else "replaced" if line.written else "as it was")
        for line in published.models
    ]
    rows += [(model, 0, "removed: no such model any more") for model in published.removed]
    answering().print(table_of(("table", "rows", ""), rows))
    click.echo(f"PostgreSQL shows what run {published.run_id} published.")


def _ingest(
    settings: Settings, source: str, tables: tuple[str, ...], folder: Path, file: Path | None = None
) -> None:
    from payments_pipeline.oltp.ingest import ingest as run

    with _opened(settings, source, tables, folder, file) as (connection, factory, rejects):
        staged, merged = run(connection, factory, rejects, max_share=settings.max_quarantine_share)
    _warn(rejects)
    _print_ingest(staged.source, staged.read, merged)


@contextmanager
def _opened(
    settings: Settings, source: str, tables: tuple[str, ...], folder: Path, file: Path | None = None
) -> Iterator[tuple[Connection, Callable[[], Source], Rejects]]:
    """A connection to a database of the right schema, the source, and a place for what cannot be a row."""
    from payments_pipeline.oltp.database import database_of, local_folder
    from payments_pipeline.oltp.migrate import require_current
    from payments_pipeline.oltp.stage import Rejects
    from payments_pipeline.session import now

    rejects = Rejects(local_folder(settings) / "quarantine" / f"{now():%Y%m%dT%H%M%S%f}.jsonl")
    database = database_of(settings)
    require_current(database)
    with database.connect() as connection, _source(settings, source, tables, folder, file) as factory:
        yield connection, factory, rejects


@contextmanager
def _source(
    settings: Settings, source: str, tables: tuple[str, ...], folder: Path, file: Path | None
) -> Iterator[Callable[[], Source]]:
    if source == "api":
        from payments_pipeline.oltp.from_api import api_source

        with api_source(settings, tables) as factory:
            yield factory
    elif source == "lake":
        from payments_pipeline.oltp.from_lake import lake_source

        with lake_source(settings, tables) as factory:
            yield factory
    else:
        from payments_pipeline.oltp.files import JsonFiles

        if len(tables) > 1:
            yield lambda: JsonFiles.of_folder(folder)
        else:
            yield lambda: JsonFiles({tables[0]: file or folder / f"{tables[0]}.json"})


def _warn(rejects: Rejects) -> None:
    for line in rejects.shown:
        click.echo(f"cannot be a row: {line}", err=True)
    if rejects.count:
        click.echo(f"{rejects.count} objects cannot be rows; they are in {rejects.file}.", err=True)


def _print_ingest(source: str, read: Mapping[str, int], merged: Sequence[Merged]) -> None:
    columns = ("table", "read", "inserted", "updated", "deleted", "older", "stubs")
    rows = [
        (
            line.table,
            read.get(line.table, 0),
            line.inserted,
            line.updated,
            line.marked,
            line.older,
            line.stubs,
        )
        for line in merged
    ]
    answering().print(table_of(columns, rows))
    click.echo(f"Source: {source}.")


def _print_check(source: str, found: Sequence[TableCheck]) -> None:
    columns = ("", "table", "source", "rows", "missing", "extra", "differ", "stubs")
    rows = [
        (
            "✅" if each.passed else "❌",
            each.table,
            each.source_rows,
            each.table_rows,
            each.missing,
            each.extra,
            each.different_rows,
            each.stubs,
        )
        for each in found
    ]
    answering().print(table_of(columns, rows))
    for each in found:
        if not each.passed:
            names = [line.column for line in each.columns if line.different]
            differing = f", different: {', '.join(names)}" if names else ""
            orphans = f", {each.orphans} references lead nowhere" if each.orphans else ""
            click.echo(f"{each.table}: see {each.example}{differing}{orphans}")
    verdict = "is equal to" if all(each.passed for each in found) else "differs from"
    click.echo(f"PostgreSQL {verdict} its source, {source}. {sum(each.orphans for each in found)} orphans.")
