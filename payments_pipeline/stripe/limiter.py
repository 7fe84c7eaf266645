"""A client-side rate limit shared by every thread that calls the API."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SAMPLES = 10
"""So many answers must have come before the shortest round trip among them is relied on."""

_MARGIN_SECONDS, _LEAST_MARGIN_SECONDS = 0.015, 0.003
"""How much shorter than that the way there and the way back of two different calls may be.

Together they are one more round trip, as likely the shortest of all as any other: the more were seen, the less it can
be below them.
"""


class RateLimiter:
    """Makes sure that the API never sees more than `rate` calls in any second, by its own clock.

    A bucket of `rate` tokens. A call takes one and gives it back with its answer; another may take that token up as
    soon as its own call must arrive a second after the last one did. That is a second after the answer, less the
    shortest round trip seen (and a margin): no call takes less than that to arrive and to be answered. A rate below
    one is a single token that rests for longer. The first tokens become free evenly over the first second.

    Stripe allows 100 calls a second in live mode and 25 in a sandbox (docs.stripe.com/rate-limits), shared by
    everything that uses the account.
    """

    def __init__(
        self, rate: float, *, monotonic: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        self._monotonic = monotonic
        self._sleep = sleep
        self._period = max(1.0, 1.0 / rate)
        self._resume_at = now = monotonic()
        self._lock = threading.Lock()
        self._answers, self._shortest = 0, math.inf
        count = max(1, int(rate))
        self._answered_at: queue.SimpleQueue[float] = queue.SimpleQueue()
        for number in range(count):
            self._answered_at.put(now + (number / count - 1) * self._period)

    @contextmanager
    def turn(self) -> Iterator[Callable[[], None]]:
        """Wait until the block may make one call; the token is kept until the block says that it is answered, or ends.

        Its answer has begun when its head is there: what follows may take its time.
        """
        answered_at = self._answered_at.get()
        called_at: float | None = None
        held = [True]

        def answered() -> None:
            if held:
                held.clear()
                now = self._monotonic()
                if called_at is not None:
                    self._learn(now - called_at)
                self._answered_at.put(now)

        try:
            while (wait := self._free_at(answered_at) - self._monotonic()) > 0:
                self._sleep(wait)
            called_at = self._monotonic()
            yield answered
        finally:
            answered()

    def pause(self, seconds: float) -> None:
        """Let nobody call for that long: the source asked for it."""
        with self._lock:
            self._resume_at = max(self._resume_at, self._monotonic() + seconds)

    def _free_at(self, answered_at: float) -> float:
        with self._lock:
            margin = max(_LEAST_MARGIN_SECONDS, _MARGIN_SECONDS * _SAMPLES / max(1, self._answers))
            sure = self._shortest - margin if self._answers >= _SAMPLES else 0.0
            return max(answered_at + self._period - min(max(sure, 0.0), self._period), self._resume_at)

    def _learn(self, seconds: float) -> None:
        with self._lock:
            self._answers += 1
            self._shortest = min(self._shortest, seconds)
