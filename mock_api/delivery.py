"""Delivers the world's events to a webhook endpoint as Stripe does: signed, at least once, in no particular order."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random
from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from mock_api.gateway import encoded

if TYPE_CHECKING:
    from mock_api.world import World

_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where webhooks go. `secret` signs them."""

    url: str
    secret: str


@dataclass(frozen=True, slots=True)
class Manner:
    """How deliveries behave, in real seconds.

    Each event is delivered after 0 to `spread` seconds, so that neighbours overtake each other; a share of them
    twice. One that is not answered with 2xx is repeated after each of the pauses in `retries`, and then given up.
    """

    spread: float = 2.0
    duplicates: float = 0.1
    retries: tuple[float, ...] = (5.0, 30.0, 120.0)
    pause: float = 0.2


@dataclass(frozen=True, slots=True, order=True)
class _Due:
    at: float
    event: str
    attempt: int


def signature(body: bytes, secret: str, timestamp: int) -> str:
    """The `Stripe-Signature` header of a body sent at this Unix second."""
    digest = hmac.new(secret.encode(), b"%d.%b" % (timestamp, body), hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


@contextmanager
def delivering(
    world: World,
    endpoint: Endpoint,
    *,
    clock: Callable[[], int],
    wall_clock: Callable[[], int],
    manner: Manner | None = None,
) -> Iterator[Deliveries]:
    """Deliver every event from now on until the block ends.

    `clock` plays the world forward as requests do; `wall_clock` is the receiver's time, which signatures carry.
    """
    deliveries = Deliveries(world, endpoint, clock=clock, wall_clock=wall_clock, manner=manner or Manner())
    thread = threading.Thread(target=deliveries.run, name="webhooks", daemon=True)
    thread.start()
    try:
        yield deliveries
    finally:
        deliveries.stop()
        thread.join()


class Deliveries:
    """The events under way to one endpoint; until one has arrived, it counts as undelivered in the feed."""

    def __init__(
        self,
        world: World,
        endpoint: Endpoint,
        *,
        clock: Callable[[], int],
        wall_clock: Callable[[], int],
        manner: Manner,
    ) -> None:
        self.attempts = 0
        self._world = world
        self._endpoint = endpoint
        self._clock = clock
        self._wall_clock = wall_clock
        self._manner = manner
        self._dice = Random(world.seed)
        self._due: list[_Due] = []
        self._stopped = threading.Event()
        with world.lock:
            world.play(clock())
            self._known = len(world.rows("events"))

    def run(self) -> None:
        """Deliver until `stop` is called."""
        while not self._stopped.wait(self._manner.pause):
            self._plan()
            while self._due and self._due[0].at <= monotonic() and not self._stopped.is_set():
                self._attempt(self._due[0])  # still due meanwhile, so that `idle` does not overlook it
                heappop(self._due)

    def stop(self) -> None:
        """Give up what is under way."""
        self._stopped.set()

    def idle(self) -> bool:
        """Whether everything that has happened by now was delivered or given up."""
        with self._world.lock:
            self._world.play(self._clock())
            return not self._due and self._known == len(self._world.rows("events"))

    def _plan(self) -> None:
        """Note what has happened since the last look."""
        with self._world.lock:
            self._world.play(self._clock())
            new = [str(event["id"]) for event in self._world.rows("events")[self._known :]]
            for event in new:
                self._world.note_pending_webhooks(event, 1)
                times = 2 if self._dice.random() < self._manner.duplicates else 1
                for _ in range(times):
                    due = monotonic() + self._dice.uniform(0, self._manner.spread)
                    heappush(self._due, _Due(due, event, 0))
            self._known += len(new)

    def _attempt(self, due: _Due) -> None:
        with self._world.lock:
            event = self._world.get("events", due.event)
        self.attempts += 1
        if self._send(encoded(event)):
            with self._world.lock:
                self._world.note_pending_webhooks(due.event, 0)
        elif due.attempt < len(self._manner.retries):
            later = monotonic() + self._manner.retries[due.attempt]
            heappush(self._due, _Due(later, due.event, due.attempt + 1))

    def _send(self, body: bytes) -> bool:
        """Whether the endpoint has acknowledged the body."""
        url = urlsplit(self._endpoint.url)
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        connection = kind(url.hostname or "", url.port, timeout=_TIMEOUT_SECONDS)
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": signature(body, self._endpoint.secret, self._wall_clock()),
            "User-Agent": "Stripe/1.0 (simulated)",
        }
        try:
            target = urlunsplit(("", "", url.path or "/", url.query, ""))
            connection.request("POST", target, body, headers)
            return 200 <= connection.getresponse().status < 300
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
