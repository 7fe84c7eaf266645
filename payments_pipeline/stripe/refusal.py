"""What an answer other than 200 means: try again, or give up and say why."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from payments_pipeline.errors import SourceRefused
from payments_pipeline.stripe.retry import Transient, asked_wait, is_transient

_SHOWN = 500


class _Problem(msgspec.Struct):
    message: str | None = None
    code: str | None = None
    param: str | None = None


class _ProblemBody(msgspec.Struct):
    error: _Problem


def refusal(
    call: str, status: int, headers: Mapping[str, str], body: bytes, *, now: datetime
) -> Transient | SourceRefused:
    """The exception for the answer to `call`, with Stripe's own message and request id."""
    problem = _problem(body)
    message = (
        f"{call} answered {status}: {plain(problem.message or 'no message')} "
        f"(request id {plain(headers.get('request-id', 'none'))})"
    )
    if is_transient(status, headers, problem.code) or _is_cut_off(body):
        return Transient(message, wait=asked_wait(headers, now))
    remedy = {
        401: "check STRIPE_API_KEY",
        403: "the key lacks the permission for this; grant it",
    }.get(status, "no retry can help")
    return SourceRefused(
        f"{message}. What was done is kept; {remedy}.",
        status=status,
        code=problem.code,
        param=problem.param,
    )


def _is_cut_off(body: bytes) -> bool:
    """Whether the body begins as a JSON object and is not a whole one: what it would have said is not known."""
    try:
        msgspec.json.decode(body)
    except msgspec.DecodeError:
        return body.lstrip().startswith(b"{")
    except RecursionError:
        return False
    return False


def plain(text: str) -> str:
    """A foreign text as part of a message: one line, no control characters, not endless."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:_SHOWN])


def _problem(body: bytes) -> _Problem:
    try:
        return msgspec.json.decode(body, type=_ProblemBody).error
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return _Problem()
