from __future__ import annotations

import msgspec
import pytest

from mock_api.faults import Answer, Drop, Faults, Latency, Rule, Script
from mock_api.traffic import Seen, TokenBucket, Traffic


class Tick:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """The second it stands at."""
        return self.now


def drawn(faults: Faults, count: int, *, method: str = "GET", path: str = "/v1/charges") -> list[bool]:
    """For each of so many requests, whether it goes wrong."""
    return [faults.draw(method, path) is not None for _ in range(count)]


def test_a_rule_matches_by_path_and_method() -> None:
    """Paths are shell patterns; a method is exact."""
    faults = Faults((Rule(Drop(), path="/v1/charges*", method="GET"),))
    assert faults.draw("GET", "/v1/charges/ch_1") == Drop()
    assert faults.draw("POST", "/v1/charges") is None
    assert faults.draw("GET", "/v1/refunds") is None


def test_nth_counts_the_matching_requests() -> None:
    """Other requests do not move the count."""
    faults = Faults((Rule(Drop(), path="/v1/charges", nth=(1, 3)),))
    assert drawn(faults, 1) == [True]
    assert drawn(faults, 5, path="/v1/refunds") == [False] * 5
    assert drawn(faults, 3) == [False, True, False]


def test_times_bounds_how_often_a_rule_fires() -> None:
    """Then the requests pass."""
    faults = Faults((Rule(Drop(), times=2),))
    assert drawn(faults, 4) == [True, True, False, False]
    assert faults.stats()["fired"] == [2]


def test_the_first_rule_that_fires_decides() -> None:
    """A later rule gets its turn when the earlier one is spent."""
    faults = Faults((Rule(Answer(500), times=1), Rule(Answer(429))))
    assert [faults.draw("GET", "/v1/charges") for _ in range(2)] == [Answer(500), Answer(429)]


def test_probability_repeats_with_its_seed() -> None:
    """The same seed spoils the same requests, another one others, about as many as asked."""
    rules = (Rule(Drop(), probability=0.2),)
    one = drawn(Faults(rules, seed=1), 1000)
    assert one == drawn(Faults(rules, seed=1), 1000) != drawn(Faults(rules, seed=2), 1000)
    assert 150 < sum(one) < 250


def test_a_new_script_counts_anew() -> None:
    """The traffic counters go on."""
    faults = Faults((Rule(Drop(), times=1),))
    faults.traffic.arrive("/v1/charges")
    assert drawn(faults, 2) == [True, False]
    faults.replace(Script((Rule(Latency(0.5), nth=(1,)),)))
    assert drawn(faults, 2) == [True, False]
    assert faults.stats()["requests"] == 1


def test_a_script_reads_from_json() -> None:
    """What an end-to-end test sends; a misspelt member is refused."""
    text = b'{"rules": [{"action": {"type": "answer", "status": 429, "headers": {"Retry-After": "1"}}, "nth": [2]}], "seed": 9}'
    script = msgspec.json.decode(text, type=Script)
    assert script == Script((Rule(Answer(429, {"Retry-After": "1"}), nth=(2,)),), 9)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"rules": [{"action": {"type": "drop"}, "nht": [2]}]}', type=Script)


def test_traffic_knows_the_most_requests_in_any_one_second() -> None:
    """The second slides; requests exactly one second apart are not in the same one."""
    tick = Tick()
    traffic = Traffic(tick=tick)
    for second in (0.0, 0.5, 1.0, 1.5, 5.0):
        tick.now = 100.0 + second
        at = traffic.arrive("/v1/charges")
        traffic.leave(Seen(at, "GET", "/v1/charges", "limit=1", 200))
    stats = traffic.stats()
    assert (stats["max_requests_per_second"], stats["requests"], stats["max_concurrent_requests"]) == (
        2,
        5,
        1,
    )
    assert [seen.at for seen in traffic.log()] == [100.0, 100.5, 101.0, 101.5, 105.0]


def test_traffic_knows_the_most_requests_at_once_and_what_was_dropped() -> None:
    """A dropped connection has no status."""
    traffic = Traffic(tick=Tick())
    for _ in range(3):
        traffic.arrive("/v1/charges")
    for status in (0, 200, 429):
        traffic.leave(Seen(100.0, "GET", "/v1/charges", "", status))
    stats = traffic.stats()
    assert (stats["max_concurrent_requests"], stats["dropped"], stats["by_status"]) == (
        3,
        1,
        {"200": 1, "429": 1},
    )
    traffic.clear()
    assert traffic.stats()["requests"] == 0


def test_a_token_bucket_lets_its_rate_through() -> None:
    """A burst of one second's worth, then the rate."""
    tick = Tick()
    bucket = TokenBucket(4.0, tick=tick)
    assert [bucket.take() for _ in range(6)] == [True] * 4 + [False] * 2
    tick.now += 0.5
    assert [bucket.take() for _ in range(3)] == [True, True, False]
