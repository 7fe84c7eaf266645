"""The commands around webhooks as they are typed: what they refuse, and what their settings mean."""

from __future__ import annotations

import signal
import socket
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e.harness import Account, Command, account_of, command_in, refusal, run
from tests.webhooks.events import SECRET, body, signature
from tests.webhooks.server import Server, serving, status

OLD, NEW = "whsec_old_secret", "whsec_new_secret"


@pytest.fixture
def bare(tmp_path: Path) -> Command:
    """The command with a lake that is not there, and no secret."""
    return command_in(tmp_path, LOCAL_DATA_DIR=str(tmp_path / "lake"))


def delivered(server: Server, payload: bytes, *, secret: str = SECRET, age: float = 0) -> int:
    """The status for a delivery signed so long ago."""
    signed = signature(payload, datetime.now(UTC) - timedelta(seconds=age), secret)
    head = b"POST /webhooks/stripe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    lines = b"Stripe-Signature: %b\r\nContent-Length: %d\r\n\r\n" % (signed, len(payload))
    return status(server.send(head + lines + payload))


@pytest.mark.parametrize(
    "secret", ["", "whsec", "whsec_long_enough,", "whsec_long_enough,short", "whsec_ü_ü_ü"]
)
def test_without_a_secret_it_does_not_start(bare: Command, tmp_path: Path, secret: str) -> None:
    """Exit code 2, saying what to set; no secret is shown, and nothing is made."""
    said = refusal(bare("run-webhooks", "--port", "0", WEBHOOK_SECRET=secret), 2)
    assert "WEBHOOK_SECRET" in said
    assert "--insecure-no-verify" in said
    assert "long_enough" not in said
    assert not (tmp_path / "lake").exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])  # noqa: S104 - to be refused
def test_nobody_but_this_machine_is_believed_unverified(bare: Command, tmp_path: Path, host: str) -> None:
    """By option or by setting: without verification it listens on loopback or not at all."""
    for arguments, environ in (
        (("--insecure-no-verify",), {"WEBHOOK_SECRET": SECRET}),
        ((), {"VERIFY_WEBHOOK_SIGNATURES": "False"}),
    ):
        said = refusal(bare("run-webhooks", "--host", host, "--port", "0", *arguments, **environ), 2)
        assert "127.0.0.1" in said
    assert not (tmp_path / "lake").exists()


def test_unverified_it_believes_this_machine(tmp_path: Path) -> None:
    """Asked for explicitly, an unsigned delivery is kept; what is no event is put aside, not an error."""
    with serving(tmp_path, "--insecure-no-verify", WEBHOOK_SECRET="") as server:
        for payload, outcome in ((body(1), "stored"), (b"hello", "quarantined")):
            head = b"POST /webhooks/stripe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            assert status(server.send(head + b"Content-Length: %d\r\n\r\n" % len(payload) + payload)) == 200
            assert server.metric(outcome) == 1


def test_w6_two_secrets_while_one_replaces_the_other(tmp_path: Path) -> None:
    """During a rotation both are believed; afterwards only the new one. The tolerance is a setting."""
    with serving(tmp_path, WEBHOOK_SECRET=f"{OLD}, {NEW}", WEBHOOK_TOLERANCE_SECONDS="30") as server:
        assert delivered(server, body(1), secret=OLD) == 200
        assert delivered(server, body(2), secret=NEW) == 200
        assert delivered(server, body(3), secret="whsec_of_another") == 400
        assert delivered(server, body(4), secret=NEW, age=25) == 200
        assert delivered(server, body(5), secret=NEW, age=40) == 400
        assert delivered(server, body(5), secret=NEW, age=-40) == 400
        assert (server.metric("too_old"), server.metric("too_new")) == (1, 1)
    with serving(tmp_path, WEBHOOK_SECRET=NEW) as server:
        assert delivered(server, body(6), secret=OLD) == 400
        assert delivered(server, body(1), secret=NEW) == 200
        assert server.metric("duplicate") == 1


def test_a_taken_port_is_refused(bare: Command) -> None:
    """Exit code 2, naming the address."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert port in refusal(bare("run-webhooks", "--port", port, WEBHOOK_SECRET=SECRET), 2)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_w14_a_slow_sender_does_not_hold_it(tmp_path: Path, sent: signal.Signals) -> None:
    """Told to end while a request is half there, it ends within five seconds, and says so in one line."""
    with serving(tmp_path) as server, server.connect() as connection:
        connection.sendall(b"POST /webhooks/stripe HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        time.sleep(0.3)
        began = time.monotonic()
        server.process.send_signal(sent)
        _, said = server.process.communicate(timeout=10)
        assert time.monotonic() - began < 5
        assert server.process.returncode == 128 + sent
        assert "Traceback" not in said
        assert "safe to run again" in said
        assert "published" not in said


def test_it_shows_no_page_that_loads_scripts(tmp_path: Path) -> None:
    """The description is there for machines; a browser is sent nowhere else."""
    with serving(tmp_path) as server:
        for path, expected in (("openapi.json", 200), ("docs", 404), ("redoc", 404)):
            asked = f"GET /{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
            assert status(server.send(asked)) == expected


def test_reconcile_needs_a_lake_and_a_period(bare: Command, command: Command, copy: Path) -> None:
    """Exit code 4 without a lake, 2 for a period that ends before it begins; neither leaves a file."""
    assert "no lake" in refusal(bare("reconcile", "--from", "2026-09-01"), 4)
    before = sorted(copy.rglob("*"))
    said = refusal(command("reconcile", "--from", "2026-09-02", "--to", "2026-09-01"), 2)
    assert "--from" in said
    assert sorted(copy.rglob("*")) == before


def test_catch_up_is_for_the_lakes_own_account(tmp_path: Path, small: Account) -> None:
    """Another account's key is refused with exit code 2 before anything is written."""
    lake = tmp_path / "lake"
    run(lake, small)
    with account_of(days=1, customers_per_day=1, seed=8) as other:
        command = command_in(tmp_path, LOCAL_DATA_DIR=str(lake), MOCK_API_BASE_URL=other.url)
        assert "another" in refusal(command("catch-up"), 2)
    assert not list(lake.glob("bronze/*/entity=webhook_events"))


def test_catch_up_is_for_the_lakes_own_mode(tmp_path: Path, small: Account) -> None:
    """A test key of the live lake's own account is refused likewise: a run would take what it reads for deleted."""
    lake = tmp_path / "lake"
    run(lake, small, environ={"STRIPE_API_KEY": "sk_test_as_live_key"})
    command = command_in(tmp_path, LOCAL_DATA_DIR=str(lake), MOCK_API_BASE_URL=small.url)
    assert "holds live data" in refusal(command("catch-up"), 2)
    assert not list(lake.glob("bronze/*/entity=webhook_events"))


def test_catch_up_needs_a_lake_or_a_receiver(tmp_path: Path, small: Account) -> None:
    """A mistyped folder is refused with exit code 4 and not made; one that only a receiver has written to is caught up."""
    lake = tmp_path / "lake"
    command = command_in(tmp_path, LOCAL_DATA_DIR=str(lake), MOCK_API_BASE_URL=small.url)
    assert "no lake" in refusal(command("catch-up"), 4)
    assert not lake.exists()
    with serving(tmp_path):
        pass
    assert "Undelivered events" in command.ok("catch-up").stdout
