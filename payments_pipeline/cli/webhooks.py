"""Commands around webhooks: receive them, catch up after downtime, compare them with the events feed."""

from __future__ import annotations

import importlib.util

import click

from payments_pipeline.cli.context import lake_option, reporting, settings_of
from payments_pipeline.errors import UsageError
from payments_pipeline.session import now
from payments_pipeline.settings import Settings
from payments_pipeline.storage import open_storage
from payments_pipeline.stripe.signature import Verifier

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_SHORTEST_SECRET = 8


@click.command(epilog="Example: WEBHOOK_SECRET=whsec_test payments-pipeline run-webhooks --port 8001")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8001, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one."
)
@click.option(
    "--insecure-no-verify",
    "insecure",
    is_flag=True,
    help="Believe whatever is delivered, signed or not; on this machine only.",
)
@lake_option
@click.pass_context
def run_webhooks(context: click.Context, host: str, port: int, insecure: bool, lake: str | None) -> None:
    """Receive Stripe's webhooks into bronze.

    Serves POST /webhooks/stripe, /health and /metrics until interrupted. A delivery is acknowledged once it is on
    disk; the next run retrieves the objects it names. Signatures are checked against WEBHOOK_SECRET: one secret,
    or several separated by commas.
    """
    settings = settings_of(context, lake)
    verifier = _verifier(settings, host, insecure=insecure)
    _require_framework()
    from payments_pipeline.webhooks.app import create_app, listening, serve
    from payments_pipeline.webhooks.journal import Journal
    from payments_pipeline.webhooks.receiver import Receiver

    with reporting(settings, "webhooks") as reporter, listening(host, port) as listener:
        journal = Journal(open_storage(settings.local_data_dir), now)
        receiver = Receiver(journal, now, verifier=verifier, reporter=reporter)
        shown = f"[{host}]" if ":" in host else host
        click.echo(
            f"Receiving webhooks on http://{shown}:{listener.getsockname()[1]}/webhooks/stripe"
            + ("" if verifier else ", signatures are NOT verified"),
            err=True,
        )
        serve(create_app(receiver), listener)


def _verifier(settings: Settings, host: str, *, insecure: bool) -> Verifier | None:
    """What checks signatures; None if that was given up, explicitly and for this machine only."""
    if insecure or not settings.verify_webhook_signatures:
        if host not in _LOOPBACK:
            raise UsageError(
                f"without verified signatures anybody who reaches {host} could write into the lake; listen on "
                "127.0.0.1, or set WEBHOOK_SECRET and verify. Nothing was received."
            )
        return None
    text = settings.webhook_secret.get_secret_value() if settings.webhook_secret else ""
    secrets = [secret.strip() for secret in text.split(",")]
    if any(
        len(secret) < _SHORTEST_SECRET or not secret.isascii() or not secret.isprintable()
        for secret in secrets
    ):
        raise UsageError(
            "WEBHOOK_SECRET must hold the endpoint's signing secret (whsec_…), or several separated by commas, each of "
            f"at least {_SHORTEST_SECRET} visible characters. Without one no delivery can be believed; to try things "
            "out on this machine use --insecure-no-verify. Nothing was received."
        )
    return Verifier([secret.encode() for secret in secrets], settings.webhook_tolerance_seconds)


def _require_framework() -> None:
    missing = [name for name in ("fastapi", "httptools", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"receiving webhooks needs the extra 'webhooks' ({', '.join(missing)} is missing): "
            "pip install 'payments-pipeline[webhooks]'. Nothing was received."
        )
