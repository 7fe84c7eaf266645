"""Makes good what was missed: the events that Stripe could not deliver, read from the feed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from payments_pipeline.entities import ENTITIES, EVENTS
from payments_pipeline.flow import Clock, Page, Window
from payments_pipeline.screen import Rejected
from payments_pipeline.state.coverage import DAY
from payments_pipeline.state.head import check_key, read_head
from payments_pipeline.storage import Storage
from payments_pipeline.stripe.client import StripeClient
from payments_pipeline.webhooks.event import Received, received
from payments_pipeline.webhooks.journal import Journal


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """Undelivered events: how many there are, how many of them were not yet received."""

    undelivered: int
    new: int


def catch_up(storage: Storage, client: StripeClient, clock: Clock) -> CaughtUp:
    """Keep every event of the last 30 days that was not delivered everywhere as if it had been delivered now.

    Each is kept once, and a webhook that comes for it later is a duplicate. `UsageError` if the key belongs to
    another account than the lake, or reads its other mode.
    """
    info = client.source_info()
    check_key(storage, read_head(storage), info.account, livemode=info.livemode)
    spec = replace(ENTITIES[EVENTS], listings=({"delivery_success": "false"},))
    window = Window(info.now - (spec.retention_days or 0) * DAY, info.now + 1)
    journal, outcomes = Journal(storage, clock), Counter[str]()
    for page in client.pages(spec, window):
        outcomes.update(journal.keep(list(_events(page, journal, clock))))
    return CaughtUp(outcomes.total(), outcomes["stored"])


def _events(page: Page, journal: Journal, clock: Clock) -> Iterator[Received]:
    for record in page.records:
        try:
            yield received(record, clock(), "catch-up")
        except Rejected as reason:
            journal.set_aside(record, str(reason))
