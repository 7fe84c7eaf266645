from __future__ import annotations

import json
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from payments_pipeline import layout
from payments_pipeline.storage import LocalStorage
from payments_pipeline.webhooks.books import journal_damage
from tests.webhooks.events import body, event, signature
from tests.webhooks.server import Server, answer, post, serving, status

ODD = {
    "two lengths": b"POST /webhooks/stripe HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "length and chunks": b"POST /webhooks/stripe HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bad chunk": b"POST /webhooks/stripe HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    "negative length": b"POST /webhooks/stripe HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "length in words": b"POST /webhooks/stripe HTTP/1.1\r\nHost: x\r\nContent-Length: ten\r\n\r\n",
    "version nine": b"POST /webhooks/stripe HTTP/9.9\r\nHost: x\r\n\r\n",
    "two spaces": b"POST  /webhooks/stripe HTTP/1.1\r\nHost: x\r\n\r\n",
    "nonsense": b"\r\n\r\n\r\nnonsense\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "get": b"GET /webhooks/stripe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "put": b"PUT /webhooks/stripe HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    "other path": b"POST /webhooks/other HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    "dots": b"POST /webhooks/stripe/../../x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    "bytes in the path": b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "escaped bytes": b"GET /%ff%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "long header": b"GET /health HTTP/1.1\r\nHost: x\r\nX: "
    + b"y" * 20_000
    + b"\r\nConnection: close\r\n\r\n",
    "many headers": b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
    "long path": b"GET /" + b"y" * 20_000 + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "websocket": b"GET /health HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
}

HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder for the module's receiver."""
    with tempfile.TemporaryDirectory(prefix="payments-pipeline-") as made:
        yield Path(made)


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """A receiver that the tests share; each sends events of its own."""
    with serving(folder) as started:
        yield started


def kept_ids(lake: Path) -> list[str]:
    """The ids of all events in the journal, sorted, read without the code under test."""
    files = lake.glob("bronze/source=stripe/entity=webhook_events/dt=*/*/part-*.jsonl")
    return sorted(
        json.loads(line)["data"]["id"] for file in files for line in file.read_text("utf-8").splitlines()
    )


def test_a_delivery_is_on_disk_when_it_is_acknowledged(server: Server, folder: Path) -> None:
    """The answer is 200, and the event can be read from bronze at that moment; a duplicate changes nothing."""
    assert server.deliver(body("first")) == 200
    assert kept_ids(folder / "lake").count("evt_first") == 1
    assert server.deliver(body("first")) == 200
    assert kept_ids(folder / "lake").count("evt_first") == 1


def test_w2_thirty_two_senders_of_one_event(server: Server, folder: Path) -> None:
    """All are told 200, one line is kept."""
    before, found = server.metric("duplicate"), []
    threads = [threading.Thread(target=lambda: found.append(server.deliver(body("same")))) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [200] * 32
    assert kept_ids(folder / "lake").count("evt_same") == 1
    assert server.metric("duplicate") == before + 31


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (None, "no_header"),
        (b"t=1,v1=" + b"0" * 64, "wrong_signature"),
        (b"canary-of-a-header", "malformed_header"),
        (signature(body("forged")), "too_old"),
    ],
    ids=["none", "wrong", "malformed", "old"],
)
def test_a_forged_delivery_is_refused_without_a_word(
    server: Server, folder: Path, header: bytes | None, reason: str
) -> None:
    """The answer is 400 and always the same, the reason is counted, nothing is kept."""
    payload, before = body("forged"), server.metric(reason)
    line = b"Stripe-Signature: " + header + b"\r\n" if header is not None else b""
    head = b"POST /webhooks/stripe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    told = server.send(head + line + b"Content-Length: %d\r\n\r\n" % len(payload) + payload)
    assert status(told) == 400
    assert told.endswith(b'{"message":"not accepted"}')
    assert b"canary" not in told
    assert server.metric(reason) == before + 1
    assert "evt_forged" not in kept_ids(folder / "lake")


def test_two_signature_headers_are_none(server: Server) -> None:
    """Which of them counts is not for an attacker to choose."""
    payload = body("twice")
    extra = [f"Stripe-Signature: {signature(payload).decode()}"]
    assert status(server.send(post(payload, extra=extra))) == 400


def test_what_cannot_be_bronze_is_quarantined_and_acknowledged(server: Server, folder: Path) -> None:
    """Signed, but no event: its bytes are kept with the reason, and Stripe need not send it again."""
    for payload in (
        b'{"id": "evt_nan", "object": "event", "n": NaN}',
        b"\xff\xfe",
        b"[" * 1000 + b"]" * 1000,
        b"",
    ):
        assert server.deliver(payload) == 200
    files = list((folder / "lake").glob("quarantine/source=stripe/entity=webhook_events/dt=*/*/part-*.jsonl"))
    reasons = [json.loads(line)["reason"] for file in files for line in file.read_text("utf-8").splitlines()]
    assert any("100 levels" in reason for reason in reasons)
    assert len(files) == 4


def test_w10_another_content_under_a_known_id_is_set_aside(server: Server, folder: Path) -> None:
    """The first stays in bronze, the other is in quarantine, and the conflict is counted."""
    before = server.metric("conflict")
    assert server.deliver(body("twin")) == 200
    assert server.deliver(body("twin", data={"object": {"id": "ch_other"}})) == 200
    assert server.metric("conflict") == before + 1
    assert kept_ids(folder / "lake").count("evt_twin") == 1


@pytest.mark.parametrize("extra", ["Content-Length: 2000000", "Transfer-Encoding: chunked"])
def test_w8_a_body_beyond_the_limit_is_cut(server: Server, extra: str) -> None:
    """Whether its length is told or not: 413 once a mebibyte has come, and the connection is closed."""
    head = (
        f"POST /webhooks/stripe HTTP/1.1\r\nHost: x\r\nStripe-Signature: t=1,v1=0\r\n{extra}\r\n\r\n".encode()
    )
    piece = b"x" * 65_536
    if "chunked" in extra:
        piece = b"10000\r\n" + piece + b"\r\n"
    before = server.metric("too_large")
    with server.connect() as connection:
        connection.sendall(head)
        sent = 0
        try:
            while sent < 400:
                connection.sendall(piece)
                sent += 1
        except (BrokenPipeError, ConnectionResetError):
            pass
        told = answer(connection)
    assert status(told) in {413, 0}
    assert server.metric("too_large") == before + 1
    assert sent < 400


def test_w8_a_body_of_just_a_mebibyte_is_kept(server: Server) -> None:
    """The limit itself is allowed, one byte more is not."""
    payload = body("large", text="x" * 2**20)
    payload = payload.replace(b"x" * (len(payload) - 2**20), b"", 1)
    assert len(payload) == 2**20
    assert server.deliver(payload) == 200
    assert server.deliver(payload + b" ") in {413, 0}


@pytest.mark.parametrize("request_", ODD.values(), ids=ODD)
def test_w12_odd_requests_are_refused(server: Server, request_: bytes) -> None:
    """A wrong method, path, header or framing is answered with 4xx or not at all, and harms nobody else."""
    with server.connect() as connection:
        connection.settimeout(1)
        connection.sendall(request_)
        try:
            told = answer(connection)
        except TimeoutError:
            told = b""
    assert status(told) in {0, 400, 404, 405, 413, *([200] if b"websocket" in request_ else [])}
    assert status(server.send(HEALTH)) == 200


def test_headers_are_limited_while_they_arrive(server: Server) -> None:
    """A header line without an end is cut at the limit, not kept until memory is full."""
    with server.connect() as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nX: ")
        sent = 0
        try:
            for _ in range(200):
                connection.sendall(b"y" * 10_000)
                sent += 1
        except (BrokenPipeError, ConnectionResetError):
            pass
        told = answer(connection) if sent == 200 else b""
    assert status(told) in {0, 400}
    assert status(server.send(HEALTH)) == 200


def test_a_connection_serves_many_deliveries(server: Server, folder: Path) -> None:
    """Keep-alive and pipelining: ten deliveries at once on one connection are all answered."""
    requests = b"".join(post(body(f"piped_{number}"), close=number == 9) for number in range(10))
    told = server.send(requests)
    assert told.count(b"HTTP/1.1 200") == 10
    assert sum(name.startswith("evt_piped") for name in kept_ids(folder / "lake")) == 10


def test_d7_nothing_but_the_journal_is_written(server: Server, folder: Path) -> None:
    """No id becomes a path: every file lies where the journal puts it, and every part is sound."""
    for text in ("../../../tmp/evil", "a/b", "%2e%2e%2f", "evt_..", "con", ".hidden", "'; drop"):
        assert server.deliver(json.dumps({**event("x"), "id": text}).encode()) == 200
    storage = LocalStorage(folder / "lake")
    for info in storage.list(""):
        assert info.key == layout.WEBHOOK_LOG or layout.webhook_book(info.key), info.key
    assert journal_damage(storage)[1] == []
    assert sorted(path.name for path in folder.iterdir()) == ["home", "lake"]


def test_w9_slow_senders_are_cut_and_nobody_waits_for_them(tmp_path: Path) -> None:
    """300 connections drip headers, bodies or nothing: all are cut within 15 s, a delivery takes far less meanwhile."""
    with serving(tmp_path) as server:
        slow = []
        for number in range(300):
            connection = server.connect()
            if number % 3:
                connection.sendall(b"POST /webhooks/stripe HTTP/1.1\r\nHost: x\r\n")
            if number % 3 == 2:
                connection.sendall(b"Content-Length: 100\r\n\r\n")
            slow.append(connection)
        began, slowest = time.monotonic(), 0.0
        left = slow.copy()
        while left and time.monotonic() < began + 15:
            for connection in left[:]:
                if is_cut(connection):
                    left.remove(connection)
            started = time.monotonic()
            assert server.deliver(body(f"quick_{len(left)}_{started}")) == 200
            slowest = max(slowest, time.monotonic() - started)
            time.sleep(0.2)
        assert left == []
        assert 9 < time.monotonic() - began < 15
        assert slowest < 2
        for connection in slow:
            connection.close()


def is_cut(connection: socket.socket) -> bool:
    """Send one more byte of a header or a body; whether the server has hung up."""
    connection.setblocking(False)
    try:
        connection.send(b"x")
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_w14_sigterm_answers_what_has_arrived(tmp_path: Path) -> None:
    """Under load a SIGTERM ends the process within seconds: what was acknowledged is kept, the rest got no 200."""
    acknowledged: list[str] = []
    with serving(tmp_path) as server:
        stop = threading.Event()

        def send(sender: int) -> None:
            number = 0
            while not stop.is_set():
                name = f"{sender}_{number}"
                number += 1
                try:
                    if server.deliver(body(name)) == 200:
                        acknowledged.append(f"evt_{name}")
                except OSError:
                    return

        threads = [threading.Thread(target=send, args=(sender,)) for sender in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(12) == 143
        stop.set()
        for thread in threads:
            thread.join()
    kept = kept_ids(tmp_path / "lake")
    assert len(acknowledged) > 20
    assert set(acknowledged) <= set(kept)
    assert len(kept) == len(set(kept))


def test_w7_a_full_disk_is_503_until_there_is_space(tmp_path: Path) -> None:
    """A lake that cannot be written acknowledges nothing; when it can, the same receiver goes on."""
    lake = tmp_path / "lake"
    with serving(tmp_path) as server:
        assert server.deliver(body(1)) == 200
        storage = LocalStorage(lake)
        key = next(info.key for info in storage.list(layout.WEBHOOKS))
        book = (lake / key).parent
        hidden = book.with_name(".hidden")
        book.rename(hidden)
        book.write_text("in the way")  # for root no folder is read-only: a file in its place is
        assert server.deliver(body(2)) == 503
        assert server.deliver(body(1)) == 200  # known already
        assert server.metric("storage_failure") >= 1
        book.unlink()
        hidden.rename(book)
        assert server.deliver(body(2)) == 200
    assert kept_ids(lake) == ["evt_1", "evt_2"]


def test_d8_two_receivers_of_one_lake(tmp_path: Path) -> None:
    """Two processes get the same events at the same time: each event is kept once."""
    with serving(tmp_path) as one, serving(tmp_path) as other:
        threads = [
            threading.Thread(
                target=lambda server=server: [server.deliver(body(number)) for number in range(60)]
            )
            for server in (one, other, one, other)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert one.metric("stored") + other.metric("stored") == 60
        assert one.metric("duplicate") + other.metric("duplicate") == 180
    assert kept_ids(tmp_path / "lake") == sorted(f"evt_{number}" for number in range(60))
    assert journal_damage(LocalStorage(tmp_path / "lake"))[1] == []
