"""The API as a source: every object the account lists, and any other by its id."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from payments_pipeline.entities import entity
from payments_pipeline.flow import Window
from payments_pipeline.oltp.source import RETRIEVED, Observation, Source
from payments_pipeline.session import now, open_source, storage_of
from payments_pipeline.settings import Settings
from payments_pipeline.stripe.client import StripeClient


class Api:
    """The account's lists, up to the API's own time when this was made."""

    name = "api"
    retrieves = True

    def __init__(self, client: StripeClient, tables: Iterable[str]) -> None:
        self.tables = tuple(tables)
        self._client = client
        self._window = Window(0, client.source_info().now + 1)

    def read(self, table: str) -> Iterator[Observation]:
        for page in self._client.pages(entity(table), self._window):
            for position, text in enumerate(page.records):
                yield Observation(text, page.observed_at, position, f"GET /v1/{table} ({page.request_id})")

    def retrieve(self, table: str, ids: Iterable[str]) -> Iterator[Observation]:
        for object_id in ids:
            page = self._client.retrieve(entity(table), object_id)
            for text in page.records:
                yield Observation(text, page.observed_at, RETRIEVED, f"GET /v1/{table}/… ({page.request_id})")

    def has_changed(self) -> bool:
        return False


@contextmanager
def api_source(settings: Settings, tables: Iterable[str]) -> Iterator[Callable[[], Source]]:
    """The API that the settings name, for as long as the block lasts."""
    with storage_of(settings) as storage, open_source(settings, storage, now) as opened:
        yield lambda: Api(opened.client, tables)
