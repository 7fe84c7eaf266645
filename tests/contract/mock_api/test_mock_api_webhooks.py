"""Webhooks leave the simulated account as Stripe's do."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import stripe

from mock_api.delivery import Deliveries, Endpoint, Manner, delivering
from tests.contract.mock_api.conftest import Serve, Served

SECRET = "whsec_test_secret"


@dataclass(slots=True)
class Sink:
    """An endpoint that answers with the given statuses, then with 200, and remembers what came."""

    statuses: list[int]
    got: list[tuple[str, bytes]] = field(default_factory=list)
    url: str = ""

    def ids(self) -> list[str]:
        """The ids of the events in the order of their arrival."""
        return [json.loads(body)["id"] for _, body in self.got]


@pytest.fixture
def sink() -> Iterator[Sink]:
    """A running endpoint."""
    made = Sink([])

    class Handler(BaseHTTPRequestHandler):
        """Notes one delivery."""

        def do_POST(self) -> None:
            """Answer it."""
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/hooks?of=test"
            made.got.append((self.headers["Stripe-Signature"], body))
            self.send_response(made.statuses.pop(0) if made.statuses else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        made.url = f"http://127.0.0.1:{server.server_address[1]}/hooks?of=test"
        yield made
        server.shutdown()
        thread.join()


def ticking() -> Callable[[], int]:
    """A wall clock that is a second later at every look."""
    seconds = iter(range(1_800_000_000, 1_900_000_000))
    return lambda: next(seconds)


def wait_until_idle(deliveries: Deliveries) -> None:
    """Return when everything was delivered or given up."""
    until = time.monotonic() + 30
    while not deliveries.idle():
        assert time.monotonic() < until
        time.sleep(0.01)


def delivered(account: Served, sink: Sink, manner: Manner, customers: int) -> list[str]:
    """Create customers and deliver their events; the ids of the events in the order in which they happened."""
    account.world.play(account.clock())
    known = len(account.world.rows("events"))
    with delivering(
        account.world,
        Endpoint(sink.url, SECRET),
        clock=account.clock,
        wall_clock=ticking(),
        manner=manner,
    ) as deliveries:
        for number in range(customers):
            account.client().v1.customers.create({"name": f"N {number}"})
        wait_until_idle(deliveries)
    return [str(event["id"]) for event in account.world.rows("events")[known:]]


def undelivered(account: Served) -> list[str]:
    """What the feed calls undelivered."""
    page = account.client().v1.events.list({"delivery_success": False})
    return [event.id for event in page.auto_paging_iter()]


def test_each_delivery_is_signed_anew(serve: Serve, sink: Sink) -> None:
    """Refused twice: the same body comes again under a new time and signature, which the official package believes."""
    sink.statuses = [500, 302]
    with serve(days=1, customers_per_day=0) as account:
        [event] = delivered(account, sink, Manner(0, 0, retries=(0.05,) * 3, pause=0.01), 1)
        assert sink.ids() == [event] * 3
        assert len({header for header, _ in sink.got}) == 3
        assert len({body for _, body in sink.got}) == 1
        for header, body in sink.got:
            stripe.WebhookSignature.verify_header(body.decode(), header, SECRET, tolerance=None)
        assert undelivered(account) == []


def test_what_is_given_up_stays_undelivered_in_the_feed(serve: Serve, sink: Sink) -> None:
    """After the last attempt nothing more is sent; the feed's filter finds it."""
    sink.statuses = [500] * 100
    with serve(days=1, customers_per_day=0) as account:
        [event] = delivered(account, sink, Manner(0, 0, retries=(0.02, 0.02), pause=0.01), 1)
        assert sink.ids() == [event] * 3
        assert undelivered(account) == [event]


def test_deliveries_come_twice_and_overtake_each_other(serve: Serve, sink: Sink) -> None:
    """At least once, in no particular order; nothing from before the endpoint was there."""
    with serve(days=1, customers_per_day=3) as account:
        events = delivered(account, sink, Manner(spread=0.3, duplicates=0.5, pause=0.01), 30)
        assert set(sink.ids()) == set(events)
        assert len(sink.got) > len(events)
        assert list(dict.fromkeys(sink.ids())) != events
