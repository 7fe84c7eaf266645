"""The ASGI layer that counts requests, limits their rate and makes them go wrong as scripted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mock_api.errors import ApiError, rate_limited
from mock_api.faults import (
    PREFIX,
    Answer,
    AnyAction,
    Cut,
    Drop,
    Duplicate,
    Empty,
    Faults,
    Latency,
    Poison,
    Slow,
    Truncate,
)
from mock_api.spoiling import spoiled
from mock_api.traffic import DROPPED, Seen, TokenBucket, Traffic

TRANSPORT = "mock_api.transport"
"""Key of the ASGI scope under which the server puts the `asyncio.Transport` of the connection."""

_MESSAGES = {
    400: ("invalid_request_error", "Invalid request."),
    401: ("invalid_request_error", "Invalid API Key provided: sk_****"),
    402: ("card_error", "Your card was declined."),
    403: (
        "invalid_request_error",
        "The provided key does not have the required permissions for this endpoint.",
    ),
    404: ("invalid_request_error", "Unrecognized request URL."),
    409: (
        "invalid_request_error",
        "This object cannot be accessed right now because another API request or Stripe process is currently accessing it.",
    ),
}
_CODES = {402: "card_declined", 409: "lock_timeout", 429: "rate_limit"}
_REQUEST_ID = "req_fault"


class FaultLayer:
    """Wraps the application: every request under `/v1/` is counted, then limited, then spoiled if the script says so."""

    def __init__(self, app: ASGIApp, *, faults: Faults, bucket: TokenBucket | None) -> None:
        self._app = app
        self._faults = faults
        self._bucket = bucket

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self._app(scope, receive, send)
            return
        outcome = _Outcome(scope, send, self._faults.traffic)
        try:
            await self._serve(scope, receive, outcome)
        finally:
            outcome.count()

    async def _serve(self, scope: Scope, receive: Receive, send: _Outcome) -> None:
        action = self._faults.draw(scope["method"], scope["path"])
        if self._bucket is not None and not self._bucket.take():
            await _send_error(send, rate_limited(), {"stripe-rate-limited-reason": "global-rate"})
        elif isinstance(action, Answer):
            await _send_answer(send, action)
        elif isinstance(action, Drop):
            await _hang_up(scope, send)
        else:
            if isinstance(action, Latency):
                await asyncio.sleep(action.seconds)
            await self._execute(scope, receive, send, action)

    async def _execute(
        self, scope: Scope, receive: Receive, send: _Outcome, action: AnyAction | None
    ) -> None:
        if not isinstance(action, Cut | Truncate | Slow | Duplicate | Poison | Empty):
            await self._app(scope, receive, send)
            return
        start, body = await _collect(self._app, scope, receive)
        body = spoiled(body, action)
        start["headers"] = [
            *(pair for pair in start["headers"] if pair[0] != b"content-length"),
            (b"content-length", str(len(body)).encode()),
        ]
        await send(start)
        if isinstance(action, Cut):
            await send(
                {
                    "type": "http.response.body",
                    "body": body[: int(len(body) * action.share)],
                    "more_body": True,
                }
            )
            await _hang_up(scope, send)
            return
        for piece, more in _pieces(body, action):
            if isinstance(action, Slow):
                await asyncio.sleep(action.seconds)
            if scope[TRANSPORT].is_closing():  # the client gave up: nobody waits for the rest
                return
            await send({"type": "http.response.body", "body": piece, "more_body": more})


class _Outcome:
    """Passes messages on, and counts the request before its last byte goes out: who has the answer finds it counted."""

    def __init__(self, scope: Scope, send: Send, traffic: Traffic) -> None:
        self._scope = scope
        self._send = send
        self._traffic = traffic
        self._at = traffic.arrive(scope["path"])
        self._counted = False
        self.status = DROPPED

    async def __call__(self, message: Message) -> None:
        """Passes one message on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif not message.get("more_body", False):
            self.count()
        await self._send(message)

    def count(self) -> None:
        """Counts the request with the status it has now; once."""
        if not self._counted:
            self._counted = True
            query = self._scope["query_string"].decode("latin-1")
            seen = Seen(self._at, self._scope["method"], self._scope["path"], query, self.status)
            self._traffic.leave(seen)


async def _collect(
    app: Callable[[Scope, Receive, Send], Awaitable[None]], scope: Scope, receive: Receive
) -> tuple[Message, bytes]:
    messages: list[Message] = []

    async def keep(message: Message) -> None:
        messages.append(message)

    await app(scope, receive, keep)
    return messages[0], b"".join(message.get("body", b"") for message in messages[1:])


def _pieces(body: bytes, action: AnyAction) -> Iterator[tuple[bytes, bool]]:
    """The body in order, at least one piece, and whether more follows each."""
    size = action.bytes if isinstance(action, Slow) else max(1, len(body))
    return ((body[at : at + size], at + size < len(body)) for at in range(0, max(1, len(body)), size))


async def _hang_up(scope: Scope, send: _Outcome) -> None:
    """Closes the connection without another byte."""
    send.status = DROPPED
    send.count()
    scope[TRANSPORT].abort()
    # The loop tells the server of the lost connection in its next turn; only then does the server not answer for us.
    await asyncio.sleep(0)


async def _send_answer(send: Send, action: Answer) -> None:
    if action.body is not None:
        await _send(
            send,
            action.status,
            action.body.encode(),
            {"content-type": "text/html; charset=utf-8", **_lower(action.headers)},
        )
        return
    kind, message = _MESSAGES.get(
        action.status, ("api_error", "An error occurred with our connection to the payment network.")
    )
    if action.status == 429:
        error = rate_limited()
    else:
        error = ApiError(action.status, kind, message, code=_CODES.get(action.status))
    await _send_error(send, error, _lower(action.headers))


def _lower(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


async def _send_error(send: Send, error: ApiError, headers: dict[str, str]) -> None:
    body = msgspec.json.format(msgspec.json.encode(error.envelope(_REQUEST_ID)), indent=2)
    await _send(
        send, error.status, body, {"content-type": "application/json", "request-id": _REQUEST_ID, **headers}
    )


async def _send(send: Send, status: int, body: bytes, headers: dict[str, str]) -> None:
    pairs = {**headers, "content-length": str(len(body))}
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
