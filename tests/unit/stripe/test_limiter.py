from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments_pipeline.stripe.limiter import RateLimiter
from tests.unit.stripe.wire import Time


def most_in_a_second(moments: list[float]) -> int:
    """The largest number of moments in any half-open second."""
    return max(sum(start <= moment < start + 1 for moment in moments) for start in moments)


@given(
    rate=st.floats(0.5, 30),
    shortest=st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)),
    lives=st.lists(st.tuples(st.floats(0, 2), st.floats(0, 2), st.floats(0, 1)), min_size=1, max_size=90),
)
def test_no_second_sees_more_calls_than_the_rate(
    rate: float, shortest: tuple[float, float], lives: list[tuple[float, float, float]]
) -> None:
    """However much longer than the quickest a call travels there or back, however long the caller idles."""
    time = Time()
    limiter = RateLimiter(rate, monotonic=time.monotonic, sleep=time.sleep)
    counted = []
    for there, back, idle in [(0.0, 0.0, 0.0), *lives]:
        with limiter.turn():
            time.sleep(shortest[0] + there)
            counted.append(time.monotonic())
            time.sleep(shortest[1] + back)
        time.sleep(idle)
    assert most_in_a_second(counted) <= max(1, int(rate))


@given(
    lives=st.lists(
        st.tuples(st.floats(0, 0.003), st.floats(0, 0.003), st.floats(0, 2)), min_size=1, max_size=90
    ),
)
def test_calls_too_quick_to_measure_are_a_second_apart_from_the_answer(
    lives: list[tuple[float, float, float]],
) -> None:
    """Round trips within the least margin save nothing: wherever in them a call is counted, the rate is kept."""
    time = Time()
    limiter = RateLimiter(3, monotonic=time.monotonic, sleep=time.sleep)
    counted = []
    for round_trip, counted_after, idle in lives:
        with limiter.turn():
            time.sleep(min(round_trip, counted_after))
            counted.append(time.monotonic())
            time.sleep(round_trip - min(round_trip, counted_after))
        time.sleep(idle)
    assert most_in_a_second(counted) <= 3


def test_the_way_there_and_back_costs_nothing_once_it_is_known() -> None:
    """After ten calls of half a second each, the next ones follow a second (and a margin) after each other.

    The margin is 15 ms at first, and 3 ms once fifty have shown that none is shorter.
    """
    time = Time()
    limiter = RateLimiter(1, monotonic=time.monotonic, sleep=time.sleep)
    moments = []
    for _ in range(60):
        with limiter.turn():
            moments.append(time.monotonic())
            time.sleep(0.5)
    steps = [later - earlier for earlier, later in pairwise(moments)]
    assert steps[:9] == pytest.approx([1.5] * 9)
    assert steps[9] == pytest.approx(1.015)
    assert steps[19] == pytest.approx(1.0075)
    assert steps[49:] == pytest.approx([1.003] * 10)


def test_the_first_calls_are_spread_over_the_first_second() -> None:
    """A start is no burst."""
    time = Time()
    limiter = RateLimiter(10, monotonic=time.monotonic, sleep=time.sleep)
    moments = []
    for _ in range(30):
        with limiter.turn():
            moments.append(time.monotonic())
    assert moments == pytest.approx([number / 10 for number in range(30)])


def test_a_rate_below_one_is_kept() -> None:
    """One call every four seconds."""
    time = Time()
    limiter = RateLimiter(0.25, monotonic=time.monotonic, sleep=time.sleep)
    moments = []
    for _ in range(3):
        with limiter.turn():
            moments.append(time.monotonic())
    assert moments == [0, 4, 8]


def test_a_pause_holds_for_every_call_and_the_longest_counts() -> None:
    """What the source asked one caller, it asked all of them."""
    time = Time()
    limiter = RateLimiter(1000, monotonic=time.monotonic, sleep=time.sleep)
    limiter.pause(7)
    limiter.pause(3)
    for _ in range(3):
        with limiter.turn():
            assert time.monotonic() >= 7


def test_a_call_that_fails_gives_its_slot_back() -> None:
    """A limiter does not run dry."""
    time = Time()
    limiter = RateLimiter(1, monotonic=time.monotonic, sleep=time.sleep)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), limiter.turn():
            raise ZeroDivisionError
    with limiter.turn():
        assert time.monotonic() == 3


def test_threads_share_the_slots() -> None:
    """Never more calls under way than slots."""
    time = Time()
    limiter = RateLimiter(3, monotonic=time.monotonic, sleep=time.sleep)
    lock = threading.Lock()
    under_way: list[int] = []
    most: list[int] = []

    def call(number: int) -> None:
        with limiter.turn():
            with lock:
                under_way.append(number)
                most.append(len(under_way))
            with lock:
                under_way.remove(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call, range(400)))
    assert len(most) == 400
    assert max(most) <= 3


def test_a_token_is_given_back_when_the_answer_begins() -> None:
    """However long the rest of an answer takes: the source has counted the call long before."""
    time = Time()
    limiter = RateLimiter(1, monotonic=time.monotonic, sleep=time.sleep)
    with limiter.turn() as answered:
        time.sleep(0.2)
        answered()
        time.sleep(5.0)
    with limiter.turn():
        assert time.monotonic() == pytest.approx(5.2)
        time.sleep(0.1)
    with limiter.turn():
        assert time.monotonic() == pytest.approx(6.3)
