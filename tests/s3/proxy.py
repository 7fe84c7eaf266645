"""A small HTTP proxy in front of an S3 server, which spoils chosen requests or answers."""

from __future__ import annotations

import http.client
import re
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

_HOP = {"connection", "expect", "transfer-encoding", "content-length"}

_STALL_SECONDS = 1.0

Kind = Literal["lose", "refuse", "truncate", "flip_answer", "flip_request", "error_in_200", "hide", "stall"]


@dataclass(slots=True)
class Spoil:
    """What happens to the first `times` requests whose `METHOD path?query range` matches `request`.

    `lose`: the store carries it out, the answer is lost · `refuse`: answered with `status` and `code` unseen by the
    store (without a code, with nothing: the connection is cut) · `truncate`: half of the answer's body arrives ·
    `flip_answer`, `flip_request`: one bit changes on its way · `error_in_200`: 200, and an error in the body ·
    `hide`: a listing leaves out every key that is not in `shown` · `stall`: the answer comes late.
    """

    request: str
    kind: Kind
    times: int = 1
    status: int = 500
    code: str = ""
    every: int = 1
    shown: frozenset[str] = frozenset()
    met: int = field(default=0, init=False)
    done: int = field(default=0, init=False)

    def takes(self, line: str) -> bool:
        """Whether it is this request's turn."""
        if not re.search(self.request, line) or self.done >= self.times:
            return False
        self.met += 1
        self.done += self.met % self.every == 0
        return self.met % self.every == 0


@dataclass(slots=True)
class Proxy:
    """Where it listens, what it spoils, and the request lines it has seen."""

    url: str
    spoils: list[Spoil] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def chosen(self, line: str) -> Spoil | None:
        """What is to happen to this request."""
        with self.lock:
            self.seen.append(line)
            return next((spoil for spoil in self.spoils if spoil.takes(line)), None)


@contextmanager
def proxy_to(endpoint: str, pem: Path | None = None) -> Iterator[Proxy]:
    """A proxy on a free port, stopped when the block ends; it speaks TLS with the key and certificate in `pem`."""
    host = urlsplit(endpoint).netloc

    class Handler(_Handler):
        upstream = host

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if pem is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    Handler.proxy = Proxy(f"{'https' if pem else 'http'}://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield Handler.proxy
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream: str
    proxy: Proxy

    def handle_one_request(self) -> None:
        """One request; a client that hangs up in the middle of it is no event."""
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - its name in http.server
        """Say nothing."""

    def _pass_on(self) -> None:
        spoil = self.proxy.chosen(f"{self.command} {self.path} {self.headers.get('Range', '')}".rstrip())
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if spoil is None:
            self._answer(*self._asked(body))
        elif spoil.kind == "refuse":
            self._refuse(spoil)
        else:
            self._spoil(spoil, body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on  # noqa: N815 - the names are http.server's

    def _spoil(self, spoil: Spoil, body: bytes) -> None:
        status, headers, data = self._asked(_flipped(body) if spoil.kind == "flip_request" else body)
        if spoil.kind == "flip_answer":
            data = _flipped(data)
        elif spoil.kind == "error_in_200":
            status, data = 200, _xml("InternalError")
        elif spoil.kind == "hide":
            data = re.sub(
                rb"<Contents>.*?</Contents>", lambda found: _unless_hidden(found[0], spoil.shown), data
            )
        elif spoil.kind == "stall":
            time.sleep(_STALL_SECONDS)
        elif spoil.kind in {"lose", "truncate"}:
            self.close_connection = True
        if spoil.kind == "truncate":
            self._answer(status, headers, data, sent=len(data) // 2)
        elif spoil.kind != "lose":
            self._answer(status, headers, data)

    def _refuse(self, spoil: Spoil) -> None:
        if spoil.code:
            headers = [("Content-Type", "application/xml"), ("x-amz-bucket-region", "eu-central-1")]
            self._answer(spoil.status, headers, _xml(spoil.code))
        else:
            self.close_connection = True

    def _asked(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        """The store's own answer."""
        connection = http.client.HTTPConnection(self.upstream, timeout=60)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
            connection.request(self.command, self.path, body, {**headers, "Content-Length": str(len(body))})
            answer = connection.getresponse()
            length = answer.getheader("Content-Length")
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP]
            data = answer.read()
            if self.command == "HEAD" and length is not None:
                kept.append(("Content-Length", length))
            return answer.status, kept, data
        finally:
            connection.close()

    def _answer(
        self, status: int, headers: list[tuple[str, str]], data: bytes, *, sent: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[:sent])


def _flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :] if data else data


def _unless_hidden(entry: bytes, shown: frozenset[str]) -> bytes:
    key = re.search(rb"<Key>(.*?)</Key>", entry)
    return entry if key is not None and unquote(key[1].decode()) in shown else b""


def _xml(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>spoilt</Message></Error>".encode()
