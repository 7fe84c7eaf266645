"""Hand-made deliveries: events as Stripe sends them, signed; and what a lake then keeps of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from payments_pipeline.lake import Lake
from payments_pipeline.pipeline import opened
from payments_pipeline.storage import Storage
from payments_pipeline.stripe.signature import sign
from payments_pipeline.webhooks.books import read_log, read_part, rolled_parts, unrolled
from payments_pipeline.webhooks.event import Received, received
from payments_pipeline.webhooks.roll import roll, settle

SECRET = "whsec_test_secret"
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def event(number: int | str, **fields: Any) -> dict[str, Any]:
    """An event about charge `number`, created at noon."""
    return {
        "id": f"evt_{number}",
        "object": "event",
        "type": "charge.updated",
        "created": int(NOON.timestamp()),
        "api_version": "2026-10-28.endive",
        "livemode": False,
        "data": {"object": {"id": f"ch_{number}", "object": "charge", "amount": 100}},
        **fields,
    }


def body(number: int | str, **fields: Any) -> bytes:
    """The event as Stripe sends it: indented."""
    return json.dumps(event(number, **fields), indent=2).encode()


def screened(*numbers: int | str, **fields: Any) -> list[Received]:
    """Events as a journal takes them."""
    return [received(body(number, **fields), NOON, "webhook") for number in numbers]


def signature(payload: bytes, at: datetime = NOON, secret: str = SECRET) -> bytes:
    """The header of a delivery."""
    return sign(payload, secret.encode(), int(at.timestamp())).encode()


def kept(storage: Storage) -> list[bytes]:
    """Every line that is kept, rolled or not, in no particular order."""
    log = read_log(storage)[0]
    journal = [key for keys in unrolled(storage, log).values() for key in keys] if log else []
    return sorted(
        line for key in (*rolled_parts(storage), *journal) for line in read_part(storage, key).lines
    )


def lines(*numbers: int | str) -> list[bytes]:
    """The lines of these events."""
    return sorted(event.line for event in screened(*numbers))


def rolled(lake: Lake, run_id: str) -> None:
    """Let a run roll the journal and deal with every event."""
    with opened(lake, run_id) as run:
        settle(lake.storage, roll(lake, run.context, run.lease))
