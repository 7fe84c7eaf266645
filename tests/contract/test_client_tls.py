"""The client and certificates: what cannot be verified gets no key."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pydantic
import pytest

from payments_pipeline.errors import SourceError, SourceUnavailable
from payments_pipeline.stripe.client import ClientOptions, StripeClient
from tests.authority import Authority
from tests.unit.stripe.wire import KEY, Time

BODY = b'{"id":"acct_1","object":"account"}'
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Sat, 21 Nov 2026 12:00:00 GMT\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)


@pytest.fixture
def authority() -> Authority:
    """An authority that nobody knows yet."""
    return Authority.new()


@contextmanager
def server(pem: Path, answer: bytes = ANSWER) -> Iterator[tuple[str, list[bytes]]]:
    """A TLS server with that key and certificate; its address and what it was told in confidence."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    heard: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))
    closing = threading.Event()

    def serve() -> None:
        while not closing.is_set():
            try:
                with context.wrap_socket(listener.accept()[0], server_side=True) as connection:
                    heard.append(connection.recv(65_536))
                    connection.sendall(answer)
                    if answer != ANSWER:
                        connection.recv(1)  # says no more, and waits until the client hangs up
            except OSError:
                continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{listener.getsockname()[1]}", heard
    finally:
        closing.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def account_at(url: str) -> str | None:
    """Who answers there."""
    fake = Time()
    options = ClientOptions(url, pydantic.SecretStr(KEY), rate=1000)
    with StripeClient(options, fake.utc, monotonic=fake.monotonic, sleep=fake.sleep) as client:
        return client.source_info().account


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: Authority) -> Authority:
    """The authority, known to this machine as a company's own one would be."""
    known = tmp_path / "known.pem"
    known.write_bytes(authority.certificate())
    monkeypatch.setenv("SSL_CERT_FILE", str(known))
    return authority


def refuse(pem: Path, reason: str) -> None:
    """Assert that the client tells such a server nothing, and says why."""
    with server(pem) as (url, heard), pytest.raises(SourceUnavailable, match=reason) as caught:
        account_at(url)
    assert heard == []
    assert KEY not in str(caught.value)


def test_e11_a_certificate_of_an_unknown_authority_is_refused(tmp_path: Path, authority: Authority) -> None:
    """The key is never sent, and nothing falls back to plain HTTP."""
    pem = tmp_path / "server.pem"
    pem.write_bytes(authority.issue("127.0.0.1", timedelta(days=1)))
    refuse(pem, "CERTIFICATE_VERIFY_FAILED")


def test_e11_another_hosts_certificate_is_refused(tmp_path: Path, trusted: Authority) -> None:
    """Also when a trusted authority issued it."""
    pem = tmp_path / "server.pem"
    pem.write_bytes(trusted.issue("127.0.0.9", timedelta(days=1)))
    refuse(pem, "mismatch")


def test_e11_an_expired_certificate_is_refused(tmp_path: Path, trusted: Authority) -> None:
    """Also by a day."""
    pem = tmp_path / "server.pem"
    pem.write_bytes(trusted.issue("127.0.0.1", timedelta(days=-1)))
    refuse(pem, "expired")


def test_e11_a_certificate_of_a_trusted_authority_is_accepted(tmp_path: Path, trusted: Authority) -> None:
    """Which the environment may name, as SSL_CERT_FILE."""
    pem = tmp_path / "server.pem"
    pem.write_bytes(trusted.issue("127.0.0.1", timedelta(days=1)))
    with server(pem) as (url, heard):
        assert account_at(url) == "acct_1"
    assert len(heard) == 1


@pytest.mark.parametrize("answer", [b"", ANSWER[:40]], ids=["nothing", "half an answer"])
def test_whoever_reads_over_tls_stops_at_once_when_cancelled(
    tmp_path: Path, trusted: Authority, answer: bytes
) -> None:
    """In real time: a thread that waits for a silent server hears of the cancellation, not of its timeout."""
    pem = tmp_path / "server.pem"
    pem.write_bytes(trusted.issue("127.0.0.1", timedelta(days=1)))
    with server(pem, answer) as (url, heard), ThreadPoolExecutor(1) as pool:
        options = ClientOptions(url, pydantic.SecretStr(KEY), rate=1000)
        with StripeClient(options, Time().utc) as client:
            reading = pool.submit(client.source_info)
            while not heard:
                time.sleep(0.01)
            time.sleep(0.1)
            started = time.monotonic()
            client.cancel()
            assert isinstance(reading.exception(10), SourceError)
            assert time.monotonic() - started < 2
