"""From the account to silver: the simulated account delivers over HTTP to the installed receiver, runs do the rest."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from mock_api.api import create_app
from mock_api.delivery import Deliveries, Endpoint, Manner, delivering
from mock_api.gateway import encoded
from mock_api.server import running
from mock_api.world import World
from tests.e2e.harness import Command, command_in, files_of, read_parquet
from tests.seaweed import BUCKET, Seaweed
from tests.webhooks.events import SECRET
from tests.webhooks.server import serving

HASTY = Manner(spread=0.4, duplicates=0.5, retries=(0.3,) * 150, pause=0.02)
AGREED = {
    "received": 0,
    "is_missing": 0,
    "is_caught_up": 0,
    "is_extra": 0,
    "is_different": 0,
    "is_object_stale": 0,
}
FAINT = Manner(spread=0.1, duplicates=0.0, retries=(0.05,), pause=0.02)


@dataclass(slots=True)
class Shop:
    """A simulated account on the real clock, and somebody who works in it over HTTP."""

    world: World
    url: str

    def event_ids(self) -> list[str]:
        """The ids of all events so far, in the order in which they happened."""
        with self.world.lock:
            self.world.play(second())
            return [str(event["id"]) for event in self.world.rows("events")]

    def event(self, event_id: str) -> bytes:
        """The event as Stripe sends it."""
        with self.world.lock:
            return encoded(self.world.get("events", event_id))

    def write(self, method: str, *path: str, **fields: str) -> str:
        """Do it as an application of the account would; the object's id."""
        url, headers = "/".join((self.url, "v1", *path)), {"Authorization": "Bearer sk_test_mock"}
        answer = httpx.request(method, url, data=fields, headers=headers)
        return str(answer.raise_for_status().json()["id"])

    @contextmanager
    def delivering(self, port: int, manner: Manner) -> Iterator[Deliveries]:
        """Deliver what happens in the block, and wait at its end until all of it has arrived or was given up."""
        endpoint = Endpoint(f"http://127.0.0.1:{port}/webhooks/stripe", SECRET)
        with delivering(self.world, endpoint, clock=second, wall_clock=second, manner=manner) as made:
            yield made
            until = time.monotonic() + 60
            while not made.idle():
                assert time.monotonic() < until, "deliveries never ended"
                time.sleep(0.05)


def second() -> int:
    """The real clock."""
    return int(time.time())


@pytest.fixture
def shop() -> Iterator[Shop]:
    """Two days of business, and what the test adds."""
    start = (datetime.now(UTC) - timedelta(days=2)).date()
    world = World(seed=7, start=start, customers_per_day=2)
    world.play(second())
    with running(create_app(world, clock=second)) as url:
        yield Shop(world, url)


def next_second() -> str:
    """Wait for the next second; its name."""
    begun = second() + 1
    while time.time() < begun:
        time.sleep(0.01)
    return f"{datetime.fromtimestamp(begun, UTC):%Y-%m-%dT%H:%M:%SZ}"


def free_port() -> int:
    """A port on which nobody listens just now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def names(lake: Path) -> dict[str, Any]:
    """Every living customer of silver and its name."""
    rows = read_parquet(lake, "silver.customers")
    return {row["customer_id"]: row["name"] for row in rows if not row["is_deleted"]}


def kept_ids(lake: Path) -> list[str]:
    """The ids of all events in bronze of webhooks, read without the code under test."""
    files = lake.glob("bronze/source=stripe/entity=webhook_events/dt=*/*/part-*.jsonl")
    return [json.loads(line)["data"]["id"] for file in files for line in file.read_bytes().splitlines()]


def counted(command: Command, since: str) -> dict[str, int]:
    """Run `reconcile`, which must find that both sides agree; what `query` then says of it."""
    report = command.ok("reconcile", "--from", since).stdout
    assert "Both sides agree" in report
    flags = ("is_missing", "is_caught_up", "is_extra", "is_different", "is_object_stale")
    sums = ", ".join(f"count(*) filter ({flag}) as {flag}" for flag in flags)
    sql = f"select count(received_at) as received, {sums} from marts.webhook_reconciliation"
    [found] = json.loads(command.ok("query", sql, "--format", "json").stdout)
    return {name: int(number) for name, number in found.items()}


def test_w3_deliveries_end_in_silver_and_agree_with_the_feed(tmp_path: Path, shop: Shop) -> None:
    """Duplicates, out of order, repeated until somebody listens: each is kept once, and the next run retrieves all."""
    lake, port = tmp_path / "lake", free_port()
    command = command_in(tmp_path, LOCAL_DATA_DIR=str(lake), MOCK_API_BASE_URL=shop.url)
    command.ok("run-pipeline", "--days", "3")
    known, since = len(shop.event_ids()), next_second()
    with ExitStack() as stack:
        with shop.delivering(port, HASTY) as deliveries:
            customers = [shop.write("POST", "customers", name=f"N {number}") for number in range(8)]
            for customer in customers[:6]:
                shop.write("POST", "customers", customer, name="renamed")
            shop.write("DELETE", "customers", customers[7])
            while not deliveries.attempts:  # in vain: nobody listens yet
                time.sleep(0.02)
            server = stack.enter_context(serving(tmp_path, "--port", str(port)))
        happened = shop.event_ids()[known:]
        assert sorted(kept_ids(lake)) == sorted(happened)
        assert kept_ids(lake) != happened
        assert server.metric("duplicate") > 0
        status = json.loads(command.ok("status", "--json").stdout)["webhooks"]
        assert (status["events"], status["waiting"]) == (len(happened), len(happened))

        command.ok("run-pipeline", "--days", "3")
        found = names(lake)
        assert [found.get(customer) for customer in customers] == ["renamed"] * 6 + ["N 6", None]
        assert counted(command, since) == {**AGREED, "received": len(happened)}
        assert server.deliver(shop.event(happened[0])) == 200
        assert server.metric("stored") == len(happened)
    command.ok("verify")


def test_w13_what_was_missed_is_caught_up(tmp_path: Path, shop: Shop) -> None:
    """Nobody listens until the deliveries are given up: the feed still knows them, and silver misses nothing."""
    lake, port = tmp_path / "lake", free_port()
    command = command_in(tmp_path, LOCAL_DATA_DIR=str(lake), MOCK_API_BASE_URL=shop.url)
    command.ok("run-pipeline", "--days", "3")
    known, since = len(shop.event_ids()), next_second()
    with serving(tmp_path, "--port", str(port)), shop.delivering(port, HASTY):
        shop.write("POST", "customers", name="while it listened")
    with shop.delivering(port, FAINT):
        customer = shop.write("POST", "customers", name="while it was down")
        shop.write("POST", "customers", customer, name="and renamed")
    happened = shop.event_ids()[known:]
    delivered = len(kept_ids(lake))
    missed = len(happened) - delivered
    assert missed >= 2
    assert (
        f"Undelivered events: {missed}, of them new to this lake: {missed}." in command.ok("catch-up").stdout
    )
    assert f"Undelivered events: {missed}, of them new to this lake: 0." in command.ok("catch-up").stdout
    assert sorted(kept_ids(lake)) == sorted(happened)
    command.ok("run-pipeline", "--days", "3")
    assert names(lake)[customer] == "and renamed"
    assert counted(command, since) == {**AGREED, "received": len(happened), "is_caught_up": missed}


def test_what_nobody_can_explain_is_exit_code_1(tmp_path: Path, shop: Shop) -> None:
    """A signed event that is in no feed, and one that never came: `reconcile` names both, and changes nothing published."""
    lake = tmp_path / "lake"
    command = command_in(tmp_path, LOCAL_DATA_DIR=str(lake), MOCK_API_BASE_URL=shop.url)
    known, since = len(shop.event_ids()), next_second()
    customer = shop.write("POST", "customers", name="announced to nobody")
    announced = shop.event_ids()[known]
    with serving(tmp_path) as server:
        invented = {**json.loads(shop.event(announced)), "id": "evt_invented"}
        assert server.deliver(json.dumps(invented).encode()) == 200
    next_second()
    command.ok("run-pipeline", "--days", "3")
    before = files_of(lake, "silver", "gold")
    done = command("reconcile", "--from", since, "--late-seconds", "0")
    assert done.returncode == 1
    assert (
        "| 1 | `is_extra` | brought by a webhook, and not in the feed though it was read | `evt_invented` |"
        in done.stdout
    )
    assert f"`{announced}`" in done.stdout
    assert "catch-up" in done.stderr
    assert files_of(lake, "silver", "gold") == before
    assert names(lake)[customer] == "announced to nobody"


def test_a_lake_in_a_bucket_keeps_what_is_acknowledged(
    tmp_path: Path, on_seaweed: str, seaweed: Seaweed, shop: Shop
) -> None:
    """Over S3 too: in the bucket when it is acknowledged, once, also for a second receiver and after kill -9."""
    environ = {"LOCAL_DATA_DIR": on_seaweed, **seaweed.environ()}
    command = command_in(tmp_path, MOCK_API_BASE_URL=shop.url, **environ)
    since = next_second()
    customer = shop.write("POST", "customers", name="in a bucket")
    told = [shop.event(event) for event in shop.event_ids()[-3:]]
    with serving(tmp_path, **environ) as first, serving(tmp_path, **environ) as second_one:
        assert [first.deliver(text) for text in told] == [200] * 3
        assert len(in_bucket(seaweed, on_seaweed)) == 3
        assert [second_one.deliver(text) for text in told] == [200] * 3
        assert second_one.metric("duplicate") == 3
        first.process.kill()
        first.process.wait()
    with serving(tmp_path, **environ) as again:
        assert [again.deliver(text) for text in told] == [200] * 3
        assert again.metric("duplicate") == 3
        command.ok("run-pipeline", "--days", "3")
        assert [again.deliver(text) for text in told] == [200] * 3
        assert again.metric("duplicate") == 6
    assert len(in_bucket(seaweed, on_seaweed)) == 3
    sql = f"select name from silver.customers where customer_id = '{customer}'"
    assert json.loads(command.ok("query", sql, "--format", "json").stdout) == [{"name": "in a bucket"}]
    assert counted(command, since)["is_extra"] == 0
    command.ok("verify")


def in_bucket(seaweed: Seaweed, lake: str) -> list[bytes]:
    """Every line of received events in the bucket, read without the code under test."""
    prefix = f"{lake.removeprefix(f's3://{BUCKET}/')}/bronze/source=stripe/entity=webhook_events/"
    with closing(seaweed.client()) as client:
        found = client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
        objects = [client.get_object(Bucket=BUCKET, Key=each["Key"])["Body"].read() for each in found]
    return [line for data in objects for line in data.splitlines()]
