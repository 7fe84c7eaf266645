"""Commands that fill an account with test data, and write an account's objects to files."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from payments_pipeline.cli.context import reporting, settings_of
from payments_pipeline.cli.terminal import answering, table_of
from payments_pipeline.flow import Reporter
from payments_pipeline.session import new_run_id, now, open_source, storage_of
from payments_pipeline.settings import Settings
from payments_pipeline.stripe.client import StripeClient


@click.command(epilog="Example: payments-pipeline oltp populate")
@click.option(
    "--force", is_flag=True, help="Cancel the fixture's subscriptions that are there, and make them anew."
)
@click.option(
    "--fixture",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What is to be there [default: fixtures/stripe_batch_fixture.json of this project].",
)
@click.pass_context
def populate(context: click.Context, force: bool, fixture: Path | None) -> None:
    """Make sure that the account holds the fixture's customers, products and subscriptions.

    For a simulated account or a Stripe sandbox: a live key is refused, and so is everything when ENV is not DEV.
    What is there already is left as it is; running it twice changes nothing. Customers without a card get tok_visa.
    """
    from payments_pipeline.oltp.fixture import default_fixture, read_fixture
    from payments_pipeline.oltp.populate import Populator, check_allowed

    settings = settings_of(context, None)
    check_allowed(settings, "oltp populate")
    wanted = read_fixture(fixture or default_fixture())
    with _opened(settings) as (client, reporter):
        deeds = Populator(client, reporter, run=secrets.token_hex(8))(wanted, force=force)
    counts: Counter[tuple[str, str]] = Counter((deed.kind, deed.action) for deed in deeds)
    kinds = list(dict.fromkeys(deed.kind for deed in deeds))
    actions = ("created", "found", "cancelled")
    answering().print(
        table_of(("object", *actions), [(kind, *(counts[kind, each] for each in actions)) for kind in kinds])
    )


@click.command(epilog="Example: payments-pipeline oltp fetch --out data/imported_stripe_data")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("data/imported_stripe_data"),
    show_default=True,
    metavar="DIR",
    help="Folder of the files.",
)
@click.pass_context
def fetch(context: click.Context, out: Path) -> None:
    """Write every object of the account to JSON files.

    One file for each list, one object a line, replaced when all are complete. What objects refer to is fetched too,
    also what the lists do not show: deleted customers, detached payment methods.
    """
    from payments_pipeline.oltp.fetch import Export
    from payments_pipeline.oltp.fetch import fetch as write_files

    settings = settings_of(context, None)
    with _opened(settings) as (client, reporter):
        counts = write_files(Export(client, settings.max_connections, now, reporter), out)
    rows = [(str(out / f"{name}.json"), count) for name, count in counts.items()]
    answering().print(table_of(("file", "objects"), rows))


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[StripeClient, Reporter]]:
    """A client for the account that the settings name, and a voice."""
    with (
        storage_of(settings) as storage,
        reporting(settings, new_run_id()) as reporter,
        open_source(settings, storage, now) as source,
    ):
        yield source.client, reporter
