"""`python -m mock_api`: serves a simulated Stripe account on the wall clock."""

from __future__ import annotations

import os
import signal
import time
from datetime import UTC, datetime

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # A module that is interrupted while it is loaded may raise anything, and nothing here has to be put in order.
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import click

from mock_api.server import Account, default_start, main_serve


@click.command(epilog="Example: python -m mock_api --days 30 --seed 7 --port 8000")
@click.option(
    "--days", default=90, show_default=True, type=click.IntRange(1, 3650), help="Days of history to simulate."
)
@click.option("--seed", default=42, show_default=True, help="The same seed gives the same account.")
@click.option(
    "--customers-per-day", default=10, show_default=True, type=click.IntRange(0), help="New customers a day."
)
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Port on 127.0.0.1."
)
@click.option(
    "--start", type=click.DateTime(["%Y-%m-%d"]), help="First day [default: first of the month DAYS ago]."
)
def main(days: int, seed: int, customers_per_day: int, port: int, start: datetime | None) -> None:
    """Serve a simulated Stripe account on 127.0.0.1 until interrupted."""
    first = start.date() if start else default_start(datetime.now(UTC).date(), days)
    account = Account(seed=seed, start=first, customers_per_day=customers_per_day)
    click.echo(f"Simulated Stripe since {first} on http://127.0.0.1:{port} (documentation: /docs)", err=True)
    try:
        main_serve(account, host="127.0.0.1", port=port, clock=lambda: int(time.time()))
    except OSError as error:
        raise click.ClickException(
            f"cannot serve on 127.0.0.1:{port}: {error.strerror}; choose another --port"
        ) from error


if __name__ == "__main__":
    main()
