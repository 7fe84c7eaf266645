"""A clock that stands still until it is told to move."""

from __future__ import annotations


class ManualClock:
    """Simulated Unix seconds under the control of a test: call it to read it, `set` it to move it."""

    def __init__(self, now: int) -> None:
        self._now = now

    def __call__(self) -> int:
        """The current second."""
        return self._now

    def set(self, now: int) -> None:
        """Moves to a second; the past cannot be reached again, so an earlier one raises ValueError."""
        if now < self._now:
            message = f"the clock stands at {self._now} and cannot go back to {now}"
            raise ValueError(message)
        self._now = now

    def advance(self, seconds: int) -> None:
        """Moves forward by some seconds."""
        self.set(self._now + seconds)
