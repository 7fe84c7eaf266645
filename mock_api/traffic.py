"""What clients did: counters of requests, for tests that prove how a client behaves."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_REMEMBERED = 10_000
DROPPED = 0
"""Stands in the place of a status when the connection was dropped."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One answered request: monotonic second of its arrival, what it asked, and its status (`DROPPED` if there was none)."""

    at: float
    method: str
    path: str
    query: str
    status: int


class Traffic:
    """Counts requests; safe to read from any thread. `tick` is a monotonic clock in seconds."""

    def __init__(self, *, tick: Callable[[], float]) -> None:
        self._tick = tick
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Forgets everything counted so far."""
        with self._lock:
            self._statuses: Counter[int] = Counter()
            self._paths: Counter[str] = Counter()
            self._last_second: deque[float] = deque()
            self._peak_rate = self._open = self._peak_open = 0
            self._log: deque[Seen] = deque(maxlen=_REMEMBERED)

    def arrive(self, path: str) -> float:
        """Counts an arriving request and returns its monotonic second."""
        with self._lock:
            now = self._tick()
            self._paths[path] += 1
            self._open += 1
            self._peak_open = max(self._peak_open, self._open)
            self._last_second.append(now)
            while self._last_second[0] <= now - 1.0:
                self._last_second.popleft()
            self._peak_rate = max(self._peak_rate, len(self._last_second))
            return now

    def leave(self, seen: Seen) -> None:
        """Counts a request that is answered."""
        with self._lock:
            self._statuses[seen.status] += 1
            # Requests that were under way at a clear() are not below zero after it.
            self._open = max(0, self._open - 1)
            self._log.append(seen)

    def log(self) -> list[Seen]:
        """The last finished requests, oldest first."""
        with self._lock:
            return list(self._log)

    def stats(self) -> dict[str, Any]:
        """Requests in all, by path and by status (`dropped` apart), the most in any one second, the most at once."""
        with self._lock:
            statuses = {
                str(status): count for status, count in sorted(self._statuses.items()) if status != DROPPED
            }
            return {
                "requests": sum(self._paths.values()),
                "by_path": dict(sorted(self._paths.items())),
                "by_status": statuses,
                "dropped": self._statuses[DROPPED],
                "max_requests_per_second": self._peak_rate,
                "max_concurrent_requests": self._peak_open,
            }


class TokenBucket:
    """Lets `rate` requests a second through, and bursts of one second's worth. `tick` is a monotonic clock in seconds."""

    def __init__(self, rate: float, *, tick: Callable[[], float]) -> None:
        self._rate = rate
        self._size = max(1.0, rate)
        self._tokens = self._size
        self._tick = tick
        self._at = tick()

    def take(self) -> bool:
        """Takes a token; False when there is none."""
        now = self._tick()
        self._tokens = min(self._size, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
