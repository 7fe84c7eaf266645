"""A client-side rate limit shared by every thread that calls the API."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class RateLimiter:
    """Makes sure that the API never sees more than `rate` calls in any second, by its own clock.

    There are `rate` slots. A call occupies one from before it is sent until a second after its answer, so however
    long a call travels, the one that takes over its slot arrives more than a second after it. A rate below one
    is one slot that stays occupied for longer. The first slots become free evenly over the first second.

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
        count = max(1, int(rate))
        self._free_at: queue.SimpleQueue[float] = queue.SimpleQueue()
        for number in range(count):
            self._free_at.put(now + number * self._period / count)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until the block may make one call; the slot is kept until the block ends."""
        free_at = self._free_at.get()
        try:
            while (wait := max(free_at, self._resume_at) - self._monotonic()) > 0:
                self._sleep(wait)
            yield
        finally:
            self._free_at.put(self._monotonic() + self._period)

    def pause(self, seconds: float) -> None:
        """Let nobody call for that long: the source asked for it."""
        with self._lock:
            self._resume_at = max(self._resume_at, self._monotonic() + seconds)
