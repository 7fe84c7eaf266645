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
from mock_api.traffic import Seen, TokenBucket

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
        method, path = scope["method"], scope["path"]
        at = self._faults.traffic.arrive(path)
        outcome = _Outcome(send)
        try:
            await self._serve(scope, receive, outcome)
        finally:
            query = scope["query_string"].decode("latin-1")
            self._faults.traffic.leave(Seen(at, method, path, query, outcome.status))

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
        for piece in _pieces(body, action):
            if isinstance(action, Slow):
                await asyncio.sleep(action.seconds)
            if scope[TRANSPORT].is_closing():  # the client gave up: nobody waits for the rest
                return
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


class _Outcome:
    """Passes messages on and remembers the status that went out."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)


async def _collect(
    app: Callable[[Scope, Receive, Send], Awaitable[None]], scope: Scope, receive: Receive
) -> tuple[Message, bytes]:
    messages: list[Message] = []

    async def keep(message: Message) -> None:
        messages.append(message)

    await app(scope, receive, keep)
    return messages[0], b"".join(message.get("body", b"") for message in messages[1:])


def _pieces(body: bytes, action: AnyAction) -> Iterator[bytes]:
    size = action.bytes if isinstance(action, Slow) else max(1, len(body))
    return (body[at : at + size] for at in range(0, len(body), size))


async def _hang_up(scope: Scope, send: _Outcome) -> None:
    """Closes the connection without another byte."""
    send.status = 0
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
