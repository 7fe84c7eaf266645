"""Makes good what was missed: the events that Stripe could not deliver, read from the feed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from payments_pipeline.entities import ENTITIES, EVENTS
from payments_pipeline.errors import StorageError
from payments_pipeline.flow import Clock, Page, Window
from payments_pipeline.screen import Rejected
from payments_pipeline.state.coverage import DAY
from payments_pipeline.state.head import Head, check_key, read_head
from payments_pipeline.storage import Storage
from payments_pipeline.stripe.client import StripeClient
from payments_pipeline.webhooks.books import read_log
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
    another account than the lake, or reads its other mode; `StorageError` if no run and no receiver has ever been there.
    """
    head = read_head(storage)
    if head == Head(lake_id="") and read_log(storage)[0] is None:
        raise StorageError(
            f"there is no lake in {storage.url}: no run and no receiver of webhooks has written there, so that nothing "
            "was missed. Nothing was changed; is it the right place?"
        )
    info = client.source_info()
    check_key(storage, head, info.account, livemode=info.livemode)
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
