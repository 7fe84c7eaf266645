"""The installed receiver in a process of its own, and a sender over plain sockets."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.e2e.harness import command_in
from tests.webhooks.events import SECRET, signature


@dataclass(slots=True)
class Server:
    """A running receiver."""

    process: subprocess.Popen[str]
    port: int

    def connect(self) -> socket.socket:
        """A connection that gives up after ten seconds."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def send(self, request: bytes) -> bytes:
        """The whole answer to some bytes, until the server closes or nothing more comes."""
        with self.connect() as connection:
            connection.sendall(request)
            return answer(connection)

    def deliver(self, payload: bytes) -> int:
        """The status with which a signed delivery is answered."""
        return status(self.send(post(payload)))

    def metric(self, outcome: str) -> int:
        """A counter of deliveries."""
        text = self.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").decode()
        found = re.search(rf'outcome="{outcome}"}} (\d+)', text)
        return int(found[1]) if found else 0


def post(
    payload: bytes, *, path: str = "/webhooks/stripe", close: bool = True, extra: Sequence[str] = ()
) -> bytes:
    """A signed delivery as bytes."""
    head = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Content-Length: {len(payload)}",
        f"Stripe-Signature: {signature(payload, datetime.now(UTC)).decode()}",
        *(["Connection: close"] if close else []),
        *extra,
    ]
    return "\r\n".join([*head, "", ""]).encode() + payload


def answer(connection: socket.socket) -> bytes:
    """Everything the server says until it closes the connection."""
    received = b""
    try:
        while piece := connection.recv(65_536):
            received += piece
    except ConnectionResetError:
        pass
    return received


def status(text: bytes) -> int:
    """The status of an answer; 0 if there is none."""
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", text)
    return int(found[1]) if found else 0


@contextmanager
def serving(folder: Path, *arguments: str, **environ: str) -> Iterator[Server]:
    """`run-webhooks` on a free port, its lake in `folder`; killed when the block ends, if it still runs."""
    command = command_in(
        folder, **{"LOCAL_DATA_DIR": str(folder / "lake"), "WEBHOOK_SECRET": SECRET, **environ}
    )
    process = command.start("run-webhooks", "--port", "0", *arguments)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r":(\d+)/webhooks/stripe", line)
        assert found, line + process.stderr.read()
        server = Server(process, int(found[1]))
        until = time.monotonic() + 20
        while status(server.send(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")) != 200:
            assert time.monotonic() < until
        yield server
    finally:
        process.kill()
        process.communicate()
