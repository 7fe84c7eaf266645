"""Hand-made deliveries: events as Stripe sends them, signed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from payments_pipeline.stripe.signature import sign
from payments_pipeline.webhooks.event import Received, received

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
