"""The client on real sockets: broken connections, slow and endless bodies, redirects, proxies."""

from __future__ import annotations

import socket
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import httpx
import pydantic
import pytest

from payments_pipeline.entities import ENTITIES
from payments_pipeline.errors import SourceError, SourceRefused, SourceUnavailable
from payments_pipeline.flow import Window
from payments_pipeline.stripe.client import ClientOptions, StripeClient
from tests.unit.stripe.wire import KEY, Time, client_of, list_body

CHARGES = ENTITIES["charges"]
WINDOW = Window(0, 2_000_000_000)
CHARGE = b'{"id":"ch_1","object":"charge","created":1700000000}'
BODY = list_body(CHARGE)
Conversation = Callable[[socket.socket], None]


def answer(body: bytes = BODY, *, length: int | None = None, headers: bytes = b"") -> bytes:
    """A whole answer with status 200; `length` is what its Content-Length claims."""
    size = len(body) if length is None else length
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\nConnection: close\r\n\r\n"
        % (headers, size)
    ) + body


@contextmanager
def server(*conversations: Conversation) -> Iterator[tuple[str, list[bytes]]]:
    """A server that has these conversations, one a connection, the last again and again; its address and what it heard."""
    heard: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            with connection:
                heard.append(connection.recv(65_536))
                conversations[min(len(heard), len(conversations)) - 1](connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", heard
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def says(*parts: bytes) -> Conversation:
    """Sends these parts, as far as the other side listens, and closes the connection in good order."""

    def converse(connection: socket.socket) -> None:
        with suppress(OSError):
            connection.sendall(b"".join(parts))

    return converse


def resets_after(sent: bytes) -> Conversation:
    """Sends so much and resets the connection."""

    def converse(connection: socket.socket) -> None:
        connection.sendall(sent)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    return converse


def client(url: str, time: Time | None = None) -> StripeClient:
    """A client that does not wait in real time."""
    time = time or Time()
    options = ClientOptions(url, pydantic.SecretStr(KEY), rate=1000)
    return StripeClient(options, time.utc, monotonic=time.monotonic, sleep=time.sleep)


def records(url: str) -> list[bytes]:
    """What a listing brings."""
    with client(url) as source:
        return [text for page in source.pages(CHARGES, WINDOW) for text in page.records]


@pytest.mark.parametrize(
    "sent",
    [b"", b"HTTP/1.1 200 OK\r\nContent-", answer()[:-30], answer()[:-1], answer(BODY[:-1], length=len(BODY))],
    ids=["before an answer", "in the headers", "in the body", "before the last byte", "short of its length"],
)
@pytest.mark.parametrize("end", [resets_after, says], ids=["reset", "closed"])
def test_e5_a_connection_that_breaks_has_the_page_asked_for_again(
    sent: bytes, end: Callable[[bytes], Conversation]
) -> None:
    """As a whole: no part of a broken answer is kept."""
    with server(end(sent), says(answer())) as (url, heard):
        assert records(url) == [CHARGE]
    assert len(heard) == 2


def test_e5_nobody_there() -> None:
    """A refused connection is tried again and then given up, with the address and no key."""
    with server(says(b"")) as (url, _):
        pass
    with client(url) as source, pytest.raises(SourceUnavailable, match=url) as caught:
        list(source.pages(CHARGES, WINDOW))
    assert KEY not in str(caught.value)


def test_e6_a_shorter_body_of_the_right_length_is_asked_for_again() -> None:
    """HTTP sees nothing wrong with it: cut right after a record's closing brace."""
    cut = BODY[: BODY.index(b"}") + 1]
    with server(says(answer(cut)), says(answer())) as (url, heard):
        assert records(url) == [CHARGE]
    assert len(heard) == 2


class Drip(httpx.SyncByteStream):
    """A body that arrives one byte a second."""

    def __init__(self, time: Time) -> None:
        self._time = time

    def __iter__(self) -> Iterator[bytes]:
        """As time goes by."""
        for number in range(len(BODY) + 1000):
            self._time.sleep(1)
            yield BODY[number : number + 1] or b" "


def test_e7_a_body_that_drips_is_cut_off_by_its_deadline() -> None:
    """No single pause is long enough for a read timeout; the whole takes too long."""
    time = Time()
    calls: list[float] = []

    def drip(_: httpx.Request) -> httpx.Response:
        calls.append(time.monotonic())
        if len(calls) > 2:
            return httpx.Response(200, headers={"content-type": "application/json"}, content=BODY)
        return httpx.Response(200, headers={"content-type": "application/json"}, stream=Drip(time))

    with client_of(drip, time) as source:
        assert len(list(source.pages(CHARGES, WINDOW))) == 1
    assert [call < 125 * number + 125 for number, call in enumerate(calls)] == [True] * 3


def endless(connection: socket.socket) -> None:
    """Sends a body until nobody listens any more, at most 300 MB of it."""
    connection.sendall(answer(b"", length=2**31))
    with suppress(OSError):
        for _ in range(300):
            connection.sendall(b" " * 2**20)


def test_e9_an_endless_body_is_not_read_to_its_end() -> None:
    """It ends at a cap, at once."""
    with server(endless) as (url, heard), client(url) as source:
        tracemalloc.start()
        with pytest.raises(SourceError, match="larger than 67108864 bytes"):
            list(source.pages(CHARGES, WINDOW))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert len(heard) == 1
    assert peak < 150 * 2**20


def test_e9_a_compression_bomb_is_not_unpacked() -> None:
    """A quarter of a gigabyte in a megabyte: memory stays near the cap."""
    packer = zlib.compressobj(1, wbits=31)
    bomb = b"".join(packer.compress(bytes(2**24)) for _ in range(16)) + packer.flush()
    packed = answer(bomb, headers=b"Content-Encoding: gzip\r\n")
    with server(says(packed)) as (url, _), client(url) as source:
        tracemalloc.start()
        with pytest.raises(SourceError, match="larger than 67108864 bytes"):
            list(source.pages(CHARGES, WINDOW))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert len(bomb) < 2**21
    assert peak < 300 * 2**20


def test_a_compressed_page_is_read() -> None:
    """As Stripe sends them."""
    packer = zlib.compressobj(wbits=31)
    body = packer.compress(BODY) + packer.flush()
    with server(says(answer(body, headers=b"Content-Encoding: gzip\r\n"))) as (url, heard):
        assert records(url) == [CHARGE]
    assert b"accept-encoding: gzip\r\n" in heard[0].lower()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_e10_a_redirect_is_refused(status: int) -> None:
    """The key goes to no other host, and to no other path of the same one."""
    with server(says(answer())) as (elsewhere, heard_elsewhere):
        moved = f"HTTP/1.1 {status} Moved\r\nLocation: {elsewhere}/v1/charges\r\nContent-Length: 0\r\n\r\n".encode()
        with server(says(moved)) as (url, heard):
            with client(url) as source, pytest.raises(SourceRefused, match=f"answered {status}"):
                list(source.pages(CHARGES, WINDOW))
            assert len(heard) == 1
    assert heard_elsewhere == []


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulated account must work behind a company's proxy."""
    with server(says(b"")) as (proxy, heard_by_proxy), server(says(answer())) as (url, _):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy)
        assert records(url) == [CHARGE]
    assert heard_by_proxy == []
