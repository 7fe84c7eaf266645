"""The one retry policy: what is repeated, how long to wait, when to give up."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import tenacity

MAX_ATTEMPTS = 8
MAX_WAIT_SECONDS = 60.0
_BASE_SECONDS = 0.5
_CEILING_SECONDS = 20.0


class Transient(Exception):
    """A call failed in a way that repeating it may mend; `wait` is what the source asked for, in seconds."""

    def __init__(self, message: str, *, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


class RetryBudget:
    """Bounds the retries of a whole run: each costs a token, each success earns half a one back.

    So a short outage is ridden out, while a source that fails more often than every third call stops the run.
    """

    def __init__(self, tokens: float = 200.0) -> None:
        self._most = self._left = tokens
        self._lock = threading.Lock()

    def spend(self) -> bool:
        """Take a token; False when none is left."""
        with self._lock:
            if self._left < 1:
                return False
            self._left -= 1
            return True

    def earn(self) -> None:
        """A call succeeded."""
        with self._lock:
            self._left = min(self._most, self._left + 0.5)


def policy(
    *, budget: RetryBudget, sleep: Callable[[float], None], on_retry: Callable[[], None]
) -> tenacity.Retrying:
    """Repeat a call that raised `Transient`: full jitter, the source's own wait obeyed, within the budget.

    When it gives up, the last `Transient` is raised.
    """
    generator = random.Random()

    def wait(state: tenacity.RetryCallState) -> float:
        asked = _failure(state).wait
        backoff = min(_CEILING_SECONDS, _BASE_SECONDS * 2 ** (state.attempt_number - 1))
        return generator.uniform(0, backoff) + (asked or 0.0)

    def exhausted(state: tenacity.RetryCallState) -> bool:
        asked = _failure(state).wait or 0.0
        return state.attempt_number >= MAX_ATTEMPTS or asked > MAX_WAIT_SECONDS or not budget.spend()

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(Transient),
        stop=exhausted,
        wait=wait,
        sleep=sleep,
        before_sleep=lambda _: on_retry(),
        reraise=True,
    )


def is_transient(status: int, headers: Mapping[str, str], code: str | None) -> bool:
    """Whether an answer may be repeated: Stripe's own word first, else 408, 409, 429, 5xx and `rate_limit`.

    The official SDK does the same except for 429, which it leaves to the caller.
    """
    advice = headers.get("stripe-should-retry")
    if advice in {"true", "false"}:
        return advice == "true"
    return status in {408, 409, 429} or status >= 500 or code == "rate_limit"


def asked_wait(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that `Retry-After` (a number of seconds or an HTTP date) asks for; None if absent or nonsense.

    A date is held against the source's own clock, its `Date` header; against `now` if it has none.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    until = http_date(value)
    if until is None:
        return None
    return max(0.0, (until - (http_date(headers.get("date", "")) or now)).total_seconds())


def http_date(value: str) -> datetime | None:
    """The moment that an HTTP date names; None if it is none."""
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _failure(state: tenacity.RetryCallState) -> Transient:
    assert state.outcome is not None
    failure = state.outcome.exception()
    assert isinstance(failure, Transient)
    return failure
