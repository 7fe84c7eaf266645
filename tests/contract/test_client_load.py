"""The client with eight threads against the simulated API over HTTP: its rate, faults by the thousand, memory."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path

import httpx
import pydantic
import pytest

from mock_api.api import create_app
from mock_api.faults import Answer, Cut, Drop, Duplicate, Faults, Latency, Rule, Slow, Truncate
from mock_api.server import running
from mock_api.world import World
from payments_pipeline.entities import ENTITIES, EntitySpec
from payments_pipeline.errors import SourceError, SourceUnavailable
from payments_pipeline.flow import Page, Window
from payments_pipeline.stripe.client import ClientOptions, StripeClient
from payments_pipeline.stripe.retry import MAX_ATTEMPTS
from tests.unit.stripe.wire import KEY, Time, client_of, ids, list_body

THREADS = 8
MIDNIGHT = 1_788_220_800
DAYS = 60
END = MIDNIGHT + DAYS * 86_400
KINDS = tuple(kind for kind in ENTITIES if kind != "events")


@dataclass(frozen=True, slots=True)
class Account:
    """A simulated account: where it answers, what goes wrong there, and what it holds."""

    url: str
    faults: Faults
    truth: dict[str, dict[str, object]]


@pytest.fixture(scope="module")
def world() -> World:
    """Two months of business."""
    made = World(seed=3, start=date(2026, 9, 1), customers_per_day=8)
    made.play(END)
    return made


@contextmanager
def served(world: World, *rules: Rule, rate_limit: float | None = None) -> Iterator[Account]:
    """The account behind HTTP, its clock standing still."""
    faults = Faults(rules, seed=11)
    with running(create_app(world, clock=lambda: END, faults=faults, rate_limit=rate_limit)) as url:
        yield Account(url, faults, {kind: {row["id"]: row for row in world.rows(kind)} for kind in KINDS})


def windows(parts: int) -> list[Window]:
    """The account's whole life in equal parts."""
    edges = [MIDNIGHT + number * (END + 1 - MIDNIGHT) // parts for number in range(parts + 1)]
    return [Window(start, end) for start, end in pairwise(edges)]


def read_all(client: StripeClient, kinds: tuple[str, ...] = KINDS) -> dict[str, list[str]]:
    """The ids that eight threads bring, each reading windows of any entity; lists without filter in one piece."""
    jobs = [
        (ENTITIES[kind], window)
        for kind in kinds
        for window in windows(THREADS if ENTITIES[kind].created_filter else 1)
    ]

    def read(job: tuple[EntitySpec, Window]) -> list[str]:
        try:
            return ids(text for page in client.pages(*job) for text in page.records)
        except SourceUnavailable:  # as the next run would
            return ids(text for page in client.pages(*job) for text in page.records)

    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(read, jobs))
    result: dict[str, list[str]] = {kind: [] for kind in kinds}
    for (spec, _), names in zip(jobs, found, strict=True):
        result[spec.name] += names
    return result


def test_eight_threads_read_an_account_once_and_wholly(world: World) -> None:
    """Windows that touch share nothing and leave nothing out; every call is counted."""
    with served(world) as account, client_at(account, rate=1000, page_size=50) as client:
        found = read_all(client)
        requests = account.faults.stats()["requests"]
    assert {kind: Counter(names) for kind, names in found.items()} == {
        kind: Counter(list(objects)) for kind, objects in account.truth.items()
    }
    assert client.counts.calls == client.counts.statuses[200] == requests
    assert client.counts.retries == client.counts.failures == 0


def client_at(
    account: Account, *, rate: float, page_size: int = 100, clock: Time | None = None
) -> StripeClient:
    """A client of the account; with `clock` it waits in no real time."""
    options = ClientOptions(account.url, pydantic.SecretStr(KEY), rate=rate, page_size=page_size)
    if clock is None:
        return StripeClient(options, lambda: datetime.now(UTC))
    return StripeClient(options, clock.utc, monotonic=clock.monotonic, sleep=clock.sleep)


def test_a_fifth_of_all_calls_failing_loses_and_doubles_nothing(world: World) -> None:
    """More than 5,000 objects, every kind of fault at random, eight threads: after one pass all is there.

    Lists repeat what the faults repeat; ids are the same once repetitions are dropped.
    """
    each = 1 - 0.8 ** (1 / 8)
    rules = [
        Rule(action, probability=each)
        for action in (
            Answer(429, {"retry-after": "1"}),
            Answer(429),
            Answer(409),
            Answer(500),
            Answer(503, body="<html>Bad gateway</html>"),
            Drop(),
            Cut(0.7),
            Truncate(0.6),
        )
    ]
    clock = Time()
    odd = (Rule(Duplicate(2), probability=0.05), Rule(Slow(bytes=4096, seconds=0.002), probability=0.05))
    with served(world, *rules, *odd) as account:
        with client_at(account, rate=1000, page_size=10, clock=clock) as client:
            found = read_all(client)
        stats = account.faults.stats()
    failed = sum(stats["fired"][: len(rules)])
    assert sum(len(objects) for objects in account.truth.values()) >= 5000
    assert {kind: set(names) for kind, names in found.items()} == {
        kind: set(objects) for kind, objects in account.truth.items()
    }
    assert 0.14 < failed / stats["requests"] < 0.26
    assert client.counts.calls == stats["requests"]
    assert client.counts.retries == failed - client.counts.failures
    assert client.counts.failures <= 1


@pytest.mark.parametrize("rate", [20, 50])
def test_the_server_never_counts_more_calls_a_second_than_the_rate(world: World, rate: int) -> None:
    """By its own clock, with eight threads and answers that take unequal time; and it never has to refuse one."""
    rules = (Rule(Latency(0.12), probability=0.2), Rule(Answer(500), probability=0.1))
    with (
        served(world, *rules, rate_limit=rate) as account,
        client_at(account, rate=rate, page_size=10) as client,
    ):
        stop = time.monotonic() + 3

        def read(number: int) -> None:
            pages = client.pages(ENTITIES["charges"], windows(THREADS)[number])
            while time.monotonic() < stop:
                next(pages, None)
                pages = client.pages(ENTITIES["charges"], windows(THREADS)[number])

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(read, range(THREADS)))
        stats = account.faults.stats()
    assert stats["max_requests_per_second"] <= rate
    assert stats["requests"] > 2 * rate
    assert "429" not in stats["by_status"]


def test_calls_that_arrive_late_do_not_arrive_together() -> None:
    """A slot is free a second after its answer: what was long on its way does not meet its successors."""
    clock = Time()
    arrived: list[float] = []
    journeys = iter([1.5, 0.0, 0.0, 2.5, 0.0, 0.0, 0.5, 0.0])

    def answer(_: httpx.Request) -> httpx.Response:
        clock.sleep(next(journeys))
        arrived.append(clock.monotonic())
        return httpx.Response(200, headers={"content-type": "application/json"}, content=list_body())

    with client_of(answer, clock, rate=2) as client:
        for _ in range(8):
            list(client.pages(ENTITIES["charges"], Window(0, 1)))
    assert max(sum(start <= moment < start + 1 for moment in arrived) for start in arrived) <= 2


def test_a_source_that_always_fails_stops_eight_threads_in_bounded_time(world: World) -> None:
    """Each gives up after its attempts; together they stay within the budget."""
    clock = Time()
    with served(world, Rule(Answer(503))) as account, client_at(account, rate=1000, clock=clock) as client:
        with ThreadPoolExecutor(THREADS) as pool:
            futures = [
                pool.submit(list[Page], client.pages(ENTITIES["charges"], window))
                for window in windows(THREADS)
            ]
        errors = [future.exception() for future in futures]
        requests = account.faults.stats()["requests"]
    assert all(isinstance(error, SourceUnavailable) for error in errors)
    assert requests == client.counts.calls == THREADS * MAX_ATTEMPTS
    assert client.counts.failures == THREADS
    assert clock.monotonic() < THREADS * 60


def test_counters_lose_nothing_between_threads() -> None:
    """Eight threads, thousands of calls, a fault in about every fourth, but not twice running in one thread."""
    asked = 0
    lock, mine = threading.Lock(), threading.local()

    def answer(_: httpx.Request) -> httpx.Response:
        nonlocal asked
        with lock:
            asked += 1
            number = asked
        mine.failed = number % 4 == 0 and not getattr(mine, "failed", False)
        if mine.failed:
            raise httpx.ReadError("reset")
        return httpx.Response(200, headers={"content-type": "application/json"}, content=list_body())

    with client_of(answer) as client:
        window = Window(0, 1)
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda _: list(client.pages(ENTITIES["charges"], window)), range(1500)))
    assert client.counts.statuses[200] == 1500
    assert client.counts.calls == asked == sum(client.counts.statuses.values())
    assert client.counts.retries == client.counts.statuses[0] == asked - 1500


_LISTING = """
import resource, sys
from datetime import UTC, datetime
from pathlib import Path
import httpx, pydantic
from payments_pipeline.bronze import PartNames, write_pages
from payments_pipeline.entities import ENTITIES, EntitySpec
from payments_pipeline.flow import RunContext, Window
from payments_pipeline.storage.local import LocalStorage
from payments_pipeline.stripe.client import ClientOptions, StripeClient

left = int(sys.argv[1])
row = b'{"id":"ch_%09d_%02d","object":"charge","created":1500000000,"description":"' + b"x" * 2300 + b'"}'

def answer(request):
    global left
    left -= 1
    rows = b",".join(row % (left, number) for number in range(100))
    body = b'{"object":"list","has_more":%b,"data":[%b]}' % (b"true" if left else b"false", rows)
    return httpx.Response(200, headers={"content-type": "application/json"}, content=body)

now = lambda: datetime.now(UTC)
spec, window = ENTITIES["charges"], Window(0, 2**40)
options = ClientOptions("https://stripe.example", pydantic.SecretStr("sk_test_mock"), rate=10_000)
with StripeClient(options, now, transport=httpx.MockTransport(answer)) as client:
    storage, run = LocalStorage(Path(sys.argv[2])), RunContext("run", 1, now(), 1)
    landed = write_pages(storage, run, spec, client.pages(spec, window), PartNames(1))
print(landed.parts[0].rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_e25_memory_does_not_grow_with_the_number_of_pages(tmp_path: Path) -> None:
    """Ten times the pages, 160 MB more of records, and the same peak: a page at a time is held."""
    peaks = {}
    for pages in (80, 800):
        command = [sys.executable, "-c", _LISTING, str(pages), str(tmp_path / str(pages))]
        rows, peak = subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()
        assert int(rows) == pages * 100
        peaks[pages] = int(peak) / 1024
    assert peaks[800] < peaks[80] + 16


@pytest.mark.parametrize(
    "rule", [Rule(Answer(429, {"retry-after": "60"})), Rule(Answer(503))], ids=["asked to", "backing off"]
)
def test_whoever_waits_stops_at_once_when_cancelled(world: World, rule: Rule) -> None:
    """In real time: eight threads, each waiting for its next attempt, and later calls are not made at all."""
    with served(world, rule) as account, client_at(account, rate=1000) as client:
        with ThreadPoolExecutor(THREADS) as pool:
            futures = [
                pool.submit(list[Page], client.pages(ENTITIES["charges"], window))
                for window in windows(THREADS)
            ]
            while client.counts.retries < (
                1 if rule.action == Answer(429, {"retry-after": "60"}) else THREADS
            ):
                time.sleep(0.01)
            started = time.monotonic()
            client.cancel()
        stopped = time.monotonic()
        requests = client.counts.calls
        with pytest.raises(SourceError, match="run again to continue"):
            client.source_info()
    assert stopped - started < 2
    assert all(isinstance(future.exception(), SourceError) for future in futures)
    assert client.counts.calls == requests


def test_threads_share_the_connections_that_are_allowed(world: World) -> None:
    """Eight threads read through two connections, which stay open for the next call."""
    with served(world) as account:
        options = ClientOptions(account.url, pydantic.SecretStr(KEY), rate=1000, connections=2)
        with StripeClient(options, lambda: datetime.now(UTC)) as client:
            found = read_all(client, ("charges",))
            assert 1 <= len(client._wire._sockets._sockets) <= 2
    assert Counter(found["charges"]) == Counter(list(account.truth["charges"]))
