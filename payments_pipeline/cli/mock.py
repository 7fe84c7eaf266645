"""The command that serves the simulated Stripe account."""

from __future__ import annotations

import time
from datetime import datetime

import click

from payments_pipeline.errors import UsageError
from payments_pipeline.session import now, require_mock


@click.command(epilog="Example: payments-pipeline mock-api --days 30 --port 8000")
@click.option("--days", default=90, show_default=True, type=click.IntRange(1, 3650), help="Days of history.")
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
def mock_api(days: int, seed: int, customers_per_day: int, port: int, start: datetime | None) -> None:
    """Serve a simulated Stripe account.

    On 127.0.0.1 until interrupted; its documentation is at /docs. Use it from another terminal with
    MOCK_API_BASE_URL=http://127.0.0.1:8000.
    """
    require_mock()
    from mock_api.server import Account, default_start, main_serve

    first = start.date() if start else default_start(now().date(), days)
    click.echo(f"Simulated Stripe since {first} on http://127.0.0.1:{port} (documentation: /docs)", err=True)
    try:
        main_serve(
            Account(seed=seed, start=first, customers_per_day=customers_per_day),
            host="127.0.0.1",
            port=port,
            clock=lambda: int(time.time()),
        )
    except OSError as error:
        raise UsageError(
            f"cannot serve on 127.0.0.1:{port}: {error.strerror}; choose another --port."
        ) from error
