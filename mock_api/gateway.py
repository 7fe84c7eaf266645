"""From a request to its answer, transport aside: API key, parameters, idempotency, the simulated clock, errors, headers."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as BadBase64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from itertools import count
from typing import TYPE_CHECKING, Any

import msgspec

from mock_api import forms
from mock_api.errors import ApiError, bad_request, refused
from mock_api.idempotency import IdempotencyKeys, Kept
from mock_api.journal import Written
from mock_api.routes import Call, Route
from mock_api.shapes import API_VERSION
from mock_api.state import WorldError

if TYPE_CHECKING:
    from mock_api.world import World

_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(\.[a-z]+)?")
_KEY = re.compile(r"(sk|rk)_test_\S+")
FORM = "application/x-www-form-urlencoded"
"""The only encoding of request bodies."""

_NO_KEY = (
    "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth "
    "(e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See https://stripe.com/docs/api#authentication for details, "
    "or we can help at https://support.stripe.com/."
)


@dataclass(frozen=True, slots=True)
class Ask:
    """A request as it came; header names are in lower case, `encoded` is the query string and the form body."""

    method: str
    path: str
    headers: Mapping[str, str]
    encoded: str
    ids: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it goes out; the body is indented JSON."""

    status: int
    body: bytes
    headers: Mapping[str, str]


class Gateway:
    """The account behind its API. Requests are answered one at a time under the world's lock."""

    def __init__(
        self, world: World, *, clock: Callable[[], int], written: Callable[[Written], object] | None = None
    ) -> None:
        self._world = world
        self._clock = clock
        self._written = written
        self._keys = IdempotencyKeys()
        self._numbers: Iterator[int] = count(1)

    def answer(self, ask: Ask, route: Route | ApiError) -> Reply:
        """The reply of the route at the clock's second, or the error that stands in its place."""
        with self._world.lock:
            self._world.play(self._clock())
            request_id = ask.headers.get("request-id") or f"req_{next(self._numbers):014d}"
            headers = {"request-id": request_id, "date": formatdate(self._world.now, usegmt=True)}
            try:
                _authenticate(ask.headers.get("authorization", ""))
                headers["stripe-version"] = _version(ask.headers)
                _check_form(ask.headers)
                if isinstance(route, ApiError):
                    raise route
                return self._execute(ask, route, headers)
            except ApiError as error:
                return Reply(error.status, encoded(error.envelope(request_id)), headers)

    def _execute(self, ask: Ask, route: Route, headers: Mapping[str, str]) -> Reply:
        params = forms.decode(ask.encoded)
        key = ask.headers.get("idempotency-key") if ask.method == "POST" else None
        if not key:
            status, body = self._run(ask, route, params, headers)
            return Reply(status, body, headers)
        self._keys.prune(self._world.now)
        kept = self._keys.find(key, ask.path, params)
        if kept is None:
            # What never got past validation is raised here, so that the key stays free for the corrected request.
            status, body = self._run(ask, route, params, headers)
            self._keys.keep(key, Kept(self._world.now, ask.path, params, headers["request-id"], status, body))
            return Reply(status, body, {**headers, "idempotency-key": key})
        replayed = {
            "idempotency-key": key,
            "idempotent-replayed": "true",
            "original-request": kept.request_id,
        }
        return Reply(kept.status, kept.body, {**headers, **replayed})

    def _run(
        self, ask: Ask, route: Route, params: forms.Tree, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        """Status and body; a declined card is a result, any other refusal is raised as `ApiError`."""
        request_id, key = headers["request-id"], ask.headers.get("idempotency-key")
        if self._written is not None and ask.method != "GET":
            asked = ask.headers.get("stripe-version")
            self._written(Written(self._world.now, request_id, ask.method, ask.path, ask.encoded, key, asked))
        # Handlers take what they read out of the parameters, and the idempotency store compares them whole.
        call = Call(self._world, ask.ids, dict(params))
        try:
            with self._world.request(request_id, key, headers["stripe-version"]):
                return 200, encoded(route.answer(call))
        except WorldError as error:
            raise refused(error) from error
        except ApiError as error:
            if error.status != 402:
                raise
            return error.status, encoded(error.envelope(request_id))


def encoded(value: Any) -> bytes:
    """Indented JSON, as Stripe sends it."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2)


def _authenticate(authorization: str) -> None:
    """Raises `ApiError` (401) unless the header carries a test key, as a bearer token or as the user name of Basic."""
    scheme, _, credentials = authorization.partition(" ")
    key = credentials.strip()
    if scheme.lower() == "basic":
        try:
            key = b64decode(key, validate=True).decode().partition(":")[0]
        except (BadBase64, UnicodeDecodeError):
            key = ""
    if not key:
        raise ApiError(401, "invalid_request_error", _NO_KEY)
    if not _KEY.fullmatch(key):
        raise ApiError(401, "invalid_request_error", f"Invalid API Key provided: {_masked(key)}")


def _masked(key: str) -> str:
    known = re.match(r"(sk|rk|pk)_((test|live)_)?", key)
    return (known.group() if known else "") + "****"


def _version(headers: Mapping[str, str]) -> str:
    version = headers.get("stripe-version", API_VERSION)
    if not _VERSION.fullmatch(version):
        raise bad_request(f"Invalid Stripe API version: {version}")
    return version


def _check_form(headers: Mapping[str, str]) -> None:
    """A body in any other encoding would be misread as unknown parameters."""
    if not headers.get("content-type", FORM).startswith(FORM):
        raise bad_request(f"Invalid request (check that your POST content type is {FORM}).")
