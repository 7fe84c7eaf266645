"""The command that serves the simulated Stripe account."""

from __future__ import annotations

import time
from datetime import datetime
from urllib.parse import urlsplit

import click

from payments_pipeline.errors import UsageError
from payments_pipeline.loading import loading
from payments_pipeline.session import now
from payments_pipeline.simulation import require_mock


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
@click.option("--webhook-url", metavar="URL", help="Deliver what happens from now on to this endpoint.")
@click.option(
    "--webhook-secret", envvar="WEBHOOK_SECRET", metavar="SECRET", help="What signs the deliveries."
)
def mock_api(
    *,
    days: int,
    seed: int,
    customers_per_day: int,
    port: int,
    start: datetime | None,
    webhook_url: str | None,
    webhook_secret: str | None,
) -> None:
    """Serve a simulated Stripe account.

    On 127.0.0.1 until interrupted; its documentation is at /docs. Use it from another terminal with
    MOCK_API_BASE_URL=http://127.0.0.1:8000. Webhooks come signed, late, out of order and sometimes twice, and are
    repeated until they are acknowledged or given up.
    """
    require_mock()
    with loading():
        from mock_api.delivery import Endpoint
        from mock_api.server import Account, default_start, main_serve

    if webhook_url is not None:
        _check_webhook(webhook_url, webhook_secret)
    first = start.date() if start else default_start(now().date(), days)
    click.echo(f"Simulated Stripe since {first} on http://127.0.0.1:{port} (documentation: /docs)", err=True)
    try:
        main_serve(
            Account(seed=seed, start=first, customers_per_day=customers_per_day),
            host="127.0.0.1",
            port=port,
            clock=lambda: int(time.time()),
            webhooks=Endpoint(webhook_url, (webhook_secret or "").partition(",")[0].strip())
            if webhook_url
            else None,
        )
    except OSError as error:
        raise UsageError(
            f"cannot serve on 127.0.0.1:{port}: {error.strerror}; choose another --port."
        ) from error


def _check_webhook(url: str, secret: str | None) -> None:
    """`UsageError` unless something can be delivered there that its receiver believes."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError(
            f"--webhook-url {url[:80]!r} is no http(s) URL, such as http://127.0.0.1:8001/webhooks/stripe. "
            "Nothing was served."
        )
    if not secret:
        raise UsageError(
            "--webhook-url needs the secret that its receiver knows: --webhook-secret, or WEBHOOK_SECRET. "
            "Nothing was served."
        )
