from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import httpx
import pytest

from mock_api.faults import Latency, Rule
from mock_api.server import _bound, default_start, running

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from tests.contract.mock_api.conftest import Serve


def test_the_server_answers_when_the_block_begins_and_is_gone_when_it_ends(serve: Serve) -> None:
    """No thread and no listening socket are left behind."""
    before = set(threading.enumerate())
    with serve() as account:
        assert httpx.get(f"{account.url}/health").status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{account.url}/health")
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_answers_do_not_wait_to_be_acknowledged(host: str) -> None:
    """Small packets are sent at once only on a socket that says it is TCP; otherwise each answer takes 40 ms."""
    with _bound(host, 0) as listener, socket.create_connection(listener.getsockname()[:2]):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.proto == socket.IPPROTO_TCP


def test_the_server_ends_though_a_request_is_still_under_way(serve: Serve) -> None:
    """A test need not wait for a latency that its client gave up on."""
    with serve(rules=(Rule(Latency(60.0)),)) as account:
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"{account.url}/v1/prices", timeout=0.1)
        left = time.monotonic()
    assert time.monotonic() - left < 10


def test_two_servers_run_side_by_side(serve: Serve) -> None:
    """Each on a free port of its own."""
    with serve() as one, serve() as two:
        assert one.url != two.url
        assert httpx.get(f"{one.url}/health").status_code == httpx.get(f"{two.url}/health").status_code == 200


def test_a_taken_port_is_an_error_at_once() -> None:
    """OSError, before anything is served."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        """Never asked."""

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"), running(app, port=taken.getsockname()[1]):
            pass


@pytest.mark.parametrize(
    ("today", "days", "start"),
    [
        (date(2026, 11, 21), 90, date(2026, 8, 1)),
        (date(2026, 11, 29), 90, date(2026, 8, 1)),
        (date(2026, 1, 1), 1, date(2025, 12, 1)),
        (date(2026, 3, 31), 30, date(2026, 3, 1)),
    ],
)
def test_the_default_start_is_stable_within_a_month(today: date, days: int, start: date) -> None:
    """The first of the month in which the history of so many days begins."""
    assert default_start(today, days) == start


def test_the_module_serves_until_interrupted() -> None:
    """`python -m mock_api` serves on the wall clock and ends on an interrupt without a trace."""
    port = _free_port()
    command = [
        sys.executable,
        "-m",
        "mock_api",
        "--days",
        "3",
        "--customers-per-day",
        "1",
        "--port",
        str(port),
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        about = _await_index(f"http://127.0.0.1:{port}")
        again = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    assert abs(about["now"] - datetime.now(UTC).timestamp()) < 60
    assert re.fullmatch(
        r"Simulated Stripe since \S+ on http://127\.0\.0\.1:\d+ \(documentation: /docs\)\n", told
    )
    assert process.returncode == 130
    assert again.returncode == 1
    assert "choose another --port" in again.stderr


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_index(url: str) -> dict[str, int]:
    deadline = time.monotonic() + 30
    while True:
        try:
            answer: dict[str, int] = httpx.get(url).json()
        except httpx.ConnectError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return answer
