from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments_pipeline.stripe.retry import (
    MAX_ATTEMPTS,
    MAX_WAIT_SECONDS,
    RetryBudget,
    Transient,
    asked_wait,
    http_date,
    is_transient,
    policy,
)
from tests.unit.stripe.wire import START, Time

NOON = "Sat, 21 Nov 2026 12:00:00 GMT"
HALF_A_MINUTE_LATER = "Sat, 21 Nov 2026 12:00:30 GMT"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        (HALF_A_MINUTE_LATER, 30.0),
        ("Sat, 21 Nov 2026 11:00:00 GMT", 0.0),
        ("Sat, 21 Nov 2026 12:00:30 -0000", 30.0),
        ("9" * 400, float("inf")),
        ("-5", None),
        ("1.5", None),
        ("", None),
        ("soon", None),
        ("٧", None),
        ("Sat, 32 Nov 2026 12:00:30 GMT", None),
        ("Sat, 21 Nov 99999999999999999999 12:00:30 GMT", None),
    ],
)
def test_e1_retry_after_is_read_or_ignored(value: str, seconds: float | None) -> None:
    """Seconds, an HTTP date, zero, the past, the absurd; negative numbers and junk ask for nothing."""
    assert asked_wait({"retry-after": value}, START) == seconds


def test_e1_no_header_asks_for_nothing() -> None:
    """Then the back-off alone decides."""
    assert asked_wait({}, START) is None


@pytest.mark.parametrize("skew", [timedelta(hours=-3), timedelta(), timedelta(days=9000)])
def test_e24_a_date_is_held_against_the_clock_of_its_source(skew: timedelta) -> None:
    """Ours may be wrong by years."""
    assert asked_wait({"retry-after": HALF_A_MINUTE_LATER, "date": NOON}, START + skew) == 30.0


def test_e24_a_date_without_a_zone_is_utc_wherever_we_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP knows no local time."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        assert http_date("Sat, 21 Nov 2026 12:00:00 -0000") == START
    time.tzset()


@given(st.text())
def test_e1_any_header_is_survived(value: str) -> None:
    """No text is an exception, none a negative wait."""
    wait = asked_wait({"retry-after": value, "date": value}, START)
    assert wait is None or wait >= 0
    moment = http_date(value)
    assert moment is None or moment.tzinfo is not None


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 599])
def test_e3_trouble_is_repeated_unless_the_source_says_no(status: int) -> None:
    """`Stripe-Should-Retry` has the last word; a word it does not know says nothing."""
    assert is_transient(status, {}, None)
    assert is_transient(status, {"stripe-should-retry": "perhaps"}, None)
    assert not is_transient(status, {"stripe-should-retry": "false"}, None)


@pytest.mark.parametrize("status", [301, 400, 401, 402, 403, 404, 424])
def test_e4_refusals_are_not_repeated_unless_the_source_says_yes(status: int) -> None:
    """A rate limit was once a 400 with a code."""
    assert not is_transient(status, {}, None)
    assert is_transient(status, {"stripe-should-retry": "true"}, None)
    assert is_transient(status, {}, "rate_limit")


def attempts_of(time: Time, *, wait: float | None = None, budget: RetryBudget | None = None) -> int:
    """How often a call that always fails is made."""
    made = 0

    def fail() -> None:
        nonlocal made
        made += 1
        raise Transient(f"number {made}", wait=wait)

    retrying = policy(budget=budget or RetryBudget(), sleep=time.sleep, on_retry=lambda: None)
    with pytest.raises(Transient, match=rf"number {MAX_ATTEMPTS if budget is None else ''}"):
        retrying(fail)
    return made


def test_what_always_fails_is_given_up_in_bounded_time() -> None:
    """Full jitter below a doubling ceiling; the last failure is the one that is raised."""
    waited = []
    for _ in range(50):
        time = Time()
        assert attempts_of(time) == MAX_ATTEMPTS
        ceilings = [min(20.0, 0.5 * 2**number) for number in range(MAX_ATTEMPTS - 1)]
        assert all(0 <= slept <= ceiling for slept, ceiling in zip(time.slept, ceilings, strict=True))
        waited.append(time.slept[0])
    assert len(set(waited)) > 40


def test_e1_what_the_source_asks_for_is_waited_at_least() -> None:
    """The jitter comes on top, so that threads do not return together."""
    time = Time()
    attempts_of(time, wait=30.0)
    assert all(30.0 <= slept <= 50.0 for slept in time.slept)
    assert len(time.slept) == MAX_ATTEMPTS - 1


def test_the_budget_bounds_the_retries_of_a_run() -> None:
    """Each retry costs one, each success earns half a one back, never more than there were."""
    budget = RetryBudget(tokens=3)
    assert attempts_of(Time(), budget=budget) == 4
    assert attempts_of(Time(), budget=budget) == 1
    for _ in range(4):
        budget.earn()
    assert attempts_of(Time(), budget=budget) == 3
    for _ in range(100):
        budget.earn()
    assert attempts_of(Time(), budget=budget) == 4


def test_a_wait_beyond_the_cap_is_given_up_without_costing_the_budget() -> None:
    """Nobody sleeps for an hour, and other calls keep their retries."""
    budget, time = RetryBudget(tokens=1), Time()
    assert attempts_of(time, wait=MAX_WAIT_SECONDS + 1, budget=budget) == 1
    assert time.slept == []
    assert budget.spend()


def test_other_exceptions_pass_through_at_once() -> None:
    """Only what says that repeating helps is repeated."""
    time = Time()

    def fail() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        policy(budget=RetryBudget(), sleep=time.sleep, on_retry=lambda: None)(fail)
    assert time.slept == []


def test_one_policy_serves_many_threads() -> None:
    """Each thread counts its own attempts and gets its own answer: calls of eight threads never mix.

    Every call fails a number of times of its own; were attempts or answers shared, one would give up early or
    return another's answer.
    """
    retries: Counter[int] = Counter()
    lock = threading.Lock()

    def noted() -> None:
        with lock:
            retries[0] += 1

    time = Time()
    retrying = policy(budget=RetryBudget(10**6), sleep=time.sleep, on_retry=noted)
    gate = threading.Barrier(8)

    def calls(thread: int) -> list[int]:
        gate.wait()
        answers = []
        for number in range(200):
            left = [(thread + number) % MAX_ATTEMPTS]

            def attempt(left: list[int] = left, answer: int = thread * 1000 + number) -> int:
                if left[0]:
                    left[0] -= 1
                    raise Transient("again")
                return answer

            answers.append(retrying(attempt))
        return answers

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(calls, range(8)))
    assert answers == [[thread * 1000 + number for number in range(200)] for thread in range(8)]
    assert retries[0] == sum((thread + number) % MAX_ATTEMPTS for thread in range(8) for number in range(200))


def test_a_budget_shared_by_threads_is_spent_exactly() -> None:
    """No token is lost and none is spent twice."""
    budget = RetryBudget(tokens=1000)
    with ThreadPoolExecutor(8) as pool:
        spent = list(pool.map(lambda _: budget.spend(), range(2000)))
    assert Counter(spent) == {True: 1000, False: 1000}
