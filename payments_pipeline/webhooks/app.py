"""The receiver behind HTTP: the only module that knows FastAPI and uvicorn."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import uvicorn
from fastapi import FastAPI, Header
from pydantic import BaseModel
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from payments_pipeline.errors import UsageError
from payments_pipeline.webhooks.receiver import OUTCOMES, REFUSED, UNAVAILABLE, Answer, Receiver

PATH = "/webhooks/stripe"
STOP_SECONDS = 3


@dataclass(frozen=True, slots=True)
class Limits:
    """What one sender may cost: bytes, seconds until a request has arrived whole, requests at a time."""

    body_bytes: int = 2**20
    header_bytes: int = 16 * 2**10
    receipt_seconds: float = 10.0
    requests: int = 1000
    waiting_bytes: int = 64 * 2**20


TOO_LARGE = Answer(413, "too large")
BUSY = Answer(503, "too many deliveries at once, deliver again later")


class Intake:
    """The application: reads deliveries within the limits, hands them to the receiver, and everything else to `api`.

    Deliveries pass by the framework, which would cost more than all that is done with them.
    """

    def __init__(self, api: FastAPI, receiver: Receiver, limits: Limits) -> None:
        self.api = api
        self._receiver = receiver
        self._limits = limits
        self._requests = self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST":
            await self.api(scope, receive, send)
            return
        answer = await self._answer(scope, receive)
        if answer is not None:
            await _send(send, answer)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer | None:
        """The answer to a delivery; None if its sender has hung up."""
        if self._requests >= self._limits.requests or self._bytes >= self._limits.waiting_bytes:
            self._receiver.counts["busy"] += 1
            return BUSY
        body = bytearray()
        self._requests += 1
        try:
            is_whole = False
            while not is_whole:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                piece = message.get("body", b"")
                body += piece
                self._bytes += len(piece)
                if len(body) > self._limits.body_bytes:
                    self._receiver.counts["too_large"] += 1
                    return TOO_LARGE
                is_whole = not message.get("more_body", False)
            return await self._receiver.deliver(_signature(scope), bytes(body))
        finally:
            self._requests -= 1
            self._bytes -= len(body)


def _signature(scope: Scope) -> bytes | None:
    """The header, if there is exactly one."""
    found: list[bytes] = [value for name, value in scope["headers"] if name == b"stripe-signature"]
    return found[0] if len(found) == 1 else None


async def _send(send: Send, answer: Answer) -> None:
    body = b'{"message":"%b"}' % answer.words.encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if answer is TOO_LARGE:
        headers.append((b"connection", b"close"))
    if answer.status == BUSY.status:
        headers.append((b"retry-after", b"10"))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _Delivery(BaseModel):
    """As much of an event as its receipt depends on."""

    id: str
    object: Literal["event", "v2.core.event"]


class _Words(BaseModel):
    message: str


def create_app(receiver: Receiver, limits: Limits | None = None) -> Intake:
    """The application: deliveries at `/webhooks/stripe`, `/health`, and `/metrics` in Prometheus' text format."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await receiver.stop()

    api = FastAPI(title="payments-pipeline webhooks", lifespan=lifespan, docs_url=None, redoc_url=None)
    refusals: dict[int | str, dict[str, Any]] = {
        code: {"model": _Words, "description": answer.words}
        for code, answer in ((400, REFUSED), (413, TOO_LARGE), (503, UNAVAILABLE))
    }

    @api.post(PATH, summary="Deliver one event", response_model=_Words, responses=refusals)
    async def stripe(event: _Delivery, stripe_signature: Annotated[str, Header()]) -> None:
        """Acknowledged once it is on disk. Only described here: `Intake` answers before this is reached."""

    @api.get("/health", summary="Whether the server answers")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @api.get("/metrics", summary="Counters since the start", response_class=PlainTextResponse)
    async def metrics() -> str:
        return _metrics(receiver)

    return Intake(api, receiver, limits or Limits())


def serve(app: ASGIApp, listener: socket.socket, limits: Limits | None = None) -> None:
    """Serve the application on a bound socket until SIGINT or SIGTERM; what has arrived whole is answered first."""
    config = uvicorn.Config(
        app,
        http=type("BoundedAsSet", (Bounded,), {"limits": limits or Limits()}),
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[listener])


def listening(host: str, port: int) -> socket.socket:
    """A socket bound to the address (port 0: a free one); `UsageError` if it cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(1024)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise UsageError(
            f"cannot serve on {host}:{port}: {error.strerror or error}; choose another --host or --port. "
            "Nothing was received."
        ) from error
    return listener


class _HeadTooLarge(ValueError):
    """The request line and headers exceed their limit."""


class Bounded(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 with what it lacks: a deadline until a request is there whole, and a limit for headers."""

    limits = Limits()
    _began: float | None
    _deadline: asyncio.TimerHandle
    _head = 0
    _is_in_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        super().connection_made(transport)
        self._began = self.loop.time()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._began is None:
            self._began = self.loop.time()
        super().data_received(data)
        if self._is_in_head and not self.transport.is_closing():
            self._head += len(data)
            if self._head > self.limits.header_bytes:
                self.send_400_response("Headers too large.")

    def on_message_begin(self) -> None:
        self._head, self._is_in_head = 0, True
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._began = None
        super().on_message_complete()

    def _watch(self) -> None:
        """Look again when the request that is arriving now must be there; close the connection if it is not."""
        now = self.loop.time()
        due = (now if self._began is None else self._began) + self.limits.receipt_seconds
        if due <= now:
            self.transport.abort()
        else:
            self._deadline = self.loop.call_later(due - now, self._watch)

    def _count(self, size: int) -> None:
        self._head += size
        if self._head > self.limits.header_bytes:
            raise _HeadTooLarge


def _metrics(receiver: Receiver) -> str:
    """The counters as Prometheus reads them."""
    lines = ["# TYPE webhook_deliveries_total counter"]
    lines += [
        f'webhook_deliveries_total{{outcome="{name}"}} {receiver.counts[name]}'
        for name in sorted({*OUTCOMES, *receiver.counts} - {"groups"})
    ]
    lines += ["# TYPE webhook_groups_total counter", f"webhook_groups_total {receiver.counts['groups']}"]
    lines += ["# TYPE webhook_deliveries_waiting gauge", f"webhook_deliveries_waiting {receiver.waiting()}"]
    return "\n".join(lines) + "\n"
