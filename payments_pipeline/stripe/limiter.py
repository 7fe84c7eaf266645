"""A client-side rate limit shared by every thread that calls the API."""

from __future__ import annotations

import threading
from collections.abc import Callable


class RateLimiter:
    """Spaces calls evenly so that no second ever sees more than `rate` of them.

    Stripe allows 100 calls a second in live mode and 25 in a sandbox (docs.stripe.com/rate-limits), shared by
    everything that uses the account.
    """

    def __init__(
        self, rate: float, *, monotonic: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        self._interval = 1.0 / rate
        self._monotonic = monotonic
        self._sleep = sleep
        self._next = 0.0
        self._lock = threading.Lock()

    def acquire(self) -> None:
        """Return when the caller may make one call."""
        with self._lock:
            now = self._monotonic()
            turn = max(self._next, now)
            self._next = turn + self._interval
        if turn > now:
            self._sleep(turn - now)

    def pause(self, seconds: float) -> None:
        """Let nobody call for that long: the source asked for it."""
        with self._lock:
            self._next = max(self._next, self._monotonic() + seconds)
