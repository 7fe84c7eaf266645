"""Commands around webhooks: receive them, catch up after downtime, compare them with the events feed."""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime

import click

from payments_pipeline.cli.context import MOMENT, lake_option, reporting, settings_of
from payments_pipeline.entities import EVENTS
from payments_pipeline.errors import QualityError, UsageError
from payments_pipeline.session import now, open_existing, open_source, storage_of
from payments_pipeline.settings import Settings
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

    with (
        reporting(settings, "webhooks") as reporter,
        storage_of(settings) as storage,
        listening(host, port) as listener,
    ):
        receiver = Receiver(Journal(storage, now), now, verifier=verifier, reporter=reporter)
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


@click.command(epilog="Example: payments-pipeline catch-up")
@lake_option
@click.pass_context
def catch_up(context: click.Context, lake: str | None) -> None:
    """Read the events that could not be delivered.

    After the receiver was down: Stripe knows for 30 days which events it failed to deliver. They are kept like
    delivered ones, each once, and the next run retrieves the objects they name.
    """
    settings = settings_of(context, lake)
    from payments_pipeline.webhooks.catch_up import catch_up as read_undelivered

    with (
        reporting(settings, "catch-up"),
        storage_of(settings) as storage,
        open_source(settings, storage, now) as source,
    ):
        found = read_undelivered(storage, source.client, now)
    click.echo(f"Undelivered events: {found.undelivered}, of them new to this lake: {found.new}.")


@click.command(epilog="Example: payments-pipeline reconcile --from 2026-01-01 --to 2026-02-01")
@click.option(
    "--from", "start", type=MOMENT, metavar="DATE", required=True, help="UTC date or time, inclusive."
)
@click.option("--to", "end", type=MOMENT, metavar="DATE", help="UTC date or time, exclusive [default: now].")
@click.option(
    "--late-seconds",
    default=300,
    show_default=True,
    type=click.IntRange(0),
    help="A delivery is late, and one that has not come is missing, so many seconds after its event.",
)
@lake_option
@click.pass_context
def reconcile(
    context: click.Context, /, start: datetime, end: datetime | None, late_seconds: int, lake: str | None
) -> None:
    """Compare received webhooks with the events feed and silver.

    Finds what either side missed, what came late or out of order, and what the two tell differently. Writes a report
    under _state/reports/ and the relation marts.webhook_reconciliation; gold is left alone. Exit code 1: they
    do not agree.
    """
    settings = settings_of(context, lake)
    from payments_pipeline.inspect import consistently
    from payments_pipeline.state.coverage import read_coverage
    from payments_pipeline.webhooks import reconcile as work

    with reporting(settings, "reconcile") as reporter, open_existing(settings, now, reporter) as opened:
        mark, moment = read_coverage(opened.storage, [EVENTS])[EVENTS].watermark, now()
        period = work.Period(
            start=start.replace(tzinfo=UTC),
            end=end.replace(tzinfo=UTC) if end else moment.replace(microsecond=0),
            now=moment,
            read_until=datetime.fromtimestamp(mark, UTC) if mark is not None else None,
            late_seconds=late_seconds,
        )
        if period.start >= period.end:
            raise UsageError(
                f"the beginning (--from) {start} is not before the end (--to) {period.end:%Y-%m-%d %H:%M:%S}. "
                "Nothing was compared."
            )
        found, relation = consistently(opened, lambda: work.reconcile(opened, period))
        report = work.publish_reconciliation(opened.storage, found, relation)
        click.echo(opened.storage.read(report).decode(), nl=False)
        if not found.agrees:
            raise QualityError(
                f"webhooks and feed do not agree; see {opened.storage.url}/{report}. Nothing in silver and gold was "
                "changed; 'payments-pipeline catch-up' and a run read what was missed."
            )
