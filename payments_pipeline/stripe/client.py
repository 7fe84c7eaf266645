"""Reads a Stripe-shaped API: the only module that speaks HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self
from urllib.parse import quote

import httpx
import msgspec
import pydantic

from payments_pipeline.entities import EntitySpec
from payments_pipeline.errors import SourceError, SourceRefused, SourceUnavailable
from payments_pipeline.flow import CallCounts, Clock, Page, Source, Window
from payments_pipeline.stripe.envelope import Malformed, Records, identity, single, split
from payments_pipeline.stripe.limiter import RateLimiter
from payments_pipeline.stripe.retry import RetryBudget, Transient, asked_wait, is_transient, policy

API_VERSION = "2026-09-30.endive"
"""The Stripe API version whose shapes `entities` declares; sent with every call."""

_MAX_BODY_BYTES = 64 * 2**20
_DEADLINE_SECONDS = 120.0
_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
_CURSOR = "starting_after"
_MAX_RESTARTS = 100


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """How to reach the API. `rate` is in calls a second, `page_size` 1-100."""

    base_url: str
    api_key: pydantic.SecretStr
    page_size: int = 100
    rate: float = 25.0
    connections: int = 8


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """Who answers: the account's id (None if the key may not read it) and the source's own time, Unix seconds."""

    account: str | None
    now: int


@dataclass(frozen=True, slots=True)
class _Answer:
    records: Records
    observed_at: datetime
    headers: Mapping[str, str]


class StripeClient:
    """Reads lists and objects of one account; safe to use from several threads.

    Every call waits for the shared rate limit and is retried by the one policy; what still fails raises
    `SourceUnavailable`, what no retry can help `SourceRefused`. Nothing is ever written to the account.
    """

    def __init__(
        self,
        options: ClientOptions,
        clock: Clock,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.counts = CallCounts()
        self._options = options
        self._clock = clock
        self._monotonic = monotonic
        self._budget = RetryBudget()
        self._lock = threading.Lock()
        self._limiter = RateLimiter(options.rate, monotonic=monotonic, sleep=sleep)
        self._retrying = policy(budget=self._budget, sleep=sleep, on_retry=self._count_retry)
        self._http = httpx.Client(
            base_url=options.base_url,
            headers={
                "Authorization": f"Bearer {options.api_key.get_secret_value()}",
                "Stripe-Version": API_VERSION,
                "User-Agent": "payments-pipeline",
            },
            timeout=_TIMEOUT,
            limits=httpx.Limits(max_connections=options.connections),
            transport=transport,
            trust_env=transport is None,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def source_info(self) -> SourceInfo:
        """Who the key belongs to and what time it is there; `SourceRefused` if the key is not accepted."""
        path = "account"
        try:
            answer = self._call(path, {}, single)
        except SourceRefused as refusal:
            if refusal.status not in {403, 404}:
                raise
            answer = self._call("customers", {"limit": "1"}, split)
            return SourceInfo(None, _source_time(answer))
        found = identity(answer.records.texts[0])
        return SourceInfo(found[0] if found else None, _source_time(answer))

    def pages(self, spec: EntitySpec, window: Window) -> Iterator[Page]:
        """Every object of `spec` created in `window`, in pages, newest first.

        An object created or changed meanwhile may appear twice or in its newer state, none is skipped: a
        cursor object that vanished makes the listing resume at its second, not after it. A list that the API
        cannot filter by `created` is read from the newest object down to the window's start.
        """
        bounds = _bounds(spec, window)
        cursor: str | None = None
        oldest: int | None = None
        restarts = 0
        while True:
            params = {**spec.list_params, **bounds, "limit": str(self._options.page_size)}
            if cursor is not None:
                params[_CURSOR] = cursor
            try:
                answer = self._call(spec.name, params, split)
            except SourceRefused as refusal:
                if cursor is None or not _is_lost_cursor(refusal) or restarts == _MAX_RESTARTS:
                    raise
                cursor, bounds = None, _bounds(spec, window, through=oldest)
                restarts += 1
                continue
            yield self._page(spec, "list", answer, window)
            if not answer.records.has_more:
                return
            last = _last_identity(spec.name, answer.records.texts, cursor)
            cursor, oldest = last[0], last[1] if last[1] is not None else oldest
            if oldest is not None and oldest < window.start:
                return

    def retrieve(self, spec: EntitySpec, object_id: str, *, deleted_at: int | None = None) -> Page:
        """The object by id as a page of one; source `absent` and its id alone if the API knows no such id.

        `deleted_at` is passed on: when an event says the object was deleted, if one does.
        """
        path = f"{spec.name}/{quote(object_id, safe='')}"
        asked_at = self._clock()
        try:
            answer = self._call(path, {}, single)
        except SourceRefused as refusal:
            if refusal.status != 404 or refusal.code != "resource_missing":
                raise
            stub = msgspec.json.encode({"id": object_id, "object": spec.object, "deleted": True})
            return Page(spec.name, "absent", asked_at, "", API_VERSION, (stub,), deleted_at)
        return replace(self._page(spec, "retrieve", answer, None), deleted_at=deleted_at)

    def _completed(self, spec: EntitySpec, texts: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """The records with their nested list paged to the end, where the answer showed only its beginning."""
        child = spec.child_list
        if child is None:
            return texts
        return tuple(
            self._with_children(spec, text) if _has_more_children(text, child.column) else text
            for text in texts
        )

    def _with_children(self, spec: EntitySpec, text: bytes) -> bytes:
        child = spec.child_list
        assert child is not None
        record = msgspec.json.decode(text)
        fixed = {name: value.format(id=record["id"]) for name, value in child.params.items()}
        children: list[msgspec.Raw] = []
        cursor: str | None = None
        has_more = True
        while has_more:
            params = {**fixed, "limit": "100", **({_CURSOR: cursor} if cursor else {})}
            records = self._call(child.path.format(id=record["id"]), params, split).records
            children += [msgspec.Raw(item) for item in records.texts]
            has_more = records.has_more
            if has_more:
                cursor = _last_identity(child.path, records.texts, cursor)[0]
        record[child.column]["data"] = children
        record[child.column]["has_more"] = False
        return msgspec.json.encode(record)

    def _page(self, spec: EntitySpec, source: Source, answer: _Answer, window: Window | None) -> Page:
        texts = answer.records.texts
        if window is not None and not spec.created_filter:
            texts = tuple(text for text in texts if _is_within(text, window))
        return Page(
            entity=spec.name,
            source=source,
            observed_at=answer.observed_at,
            request_id=answer.headers.get("request-id", ""),
            api_version=answer.headers.get("stripe-version", API_VERSION),
            records=self._completed(spec, texts),
        )

    def _call(self, path: str, params: Mapping[str, str], parse: Callable[[bytes], Records]) -> _Answer:
        try:
            answer = self._retrying(self._attempt, path, params, parse)
        except Transient as failure:
            with self._lock:
                self.counts.failures += 1
            raise SourceUnavailable(
                f"GET {self._options.base_url}/v1/{path} still fails after retries: {failure}. "
                "What was landed is kept; run again later to continue."
            ) from failure
        self._budget.earn()
        return answer

    def _attempt(self, path: str, params: Mapping[str, str], parse: Callable[[bytes], Records]) -> _Answer:
        self._limiter.acquire()
        observed_at = self._clock()
        try:
            with self._http.stream("GET", f"/v1/{path}", params=params) as response:
                body = self._read(response)
        except httpx.TransportError as error:
            self._count_call(0)
            raise Transient(f"{type(error).__name__}: {error}") from error
        self._count_call(response.status_code)
        headers = {name.lower(): value for name, value in response.headers.items()}
        if response.status_code != 200:
            self._refuse(path, response.status_code, headers, body)
        if "json" not in headers.get("content-type", ""):
            raise SourceError(
                f"GET {self._options.base_url}/v1/{path} answered {headers.get('content-type', 'no content type')} "
                "instead of JSON: that is not a Stripe API. Nothing was kept; check the base URL and proxies."
            )
        try:
            return _Answer(parse(body), observed_at, headers)
        except Malformed as error:
            raise Transient(str(error)) from error

    def _read(self, response: httpx.Response) -> bytes:
        """The body, within the limits of size and time."""
        deadline = self._monotonic() + _DEADLINE_SECONDS
        chunks, size = [], 0
        for chunk in response.iter_bytes():
            chunks.append(chunk)
            size += len(chunk)
            if size > _MAX_BODY_BYTES:
                raise SourceError(
                    f"an answer is larger than {_MAX_BODY_BYTES} bytes; it was not read to its end."
                )
            if self._monotonic() > deadline:
                raise Transient(f"the answer took longer than {_DEADLINE_SECONDS:.0f} s")
        return b"".join(chunks)

    def _refuse(self, path: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Raise what an answer other than 200 means."""
        problem = _problem(body)
        request_id = headers.get("request-id", "none")
        message = (
            f"GET /v1/{path} answered {status}: {problem.message or 'no message'} (request id {request_id})"
        )
        if is_transient(status, headers, problem.code):
            wait = asked_wait(headers, self._clock())
            if wait:
                self._limiter.pause(min(wait, _DEADLINE_SECONDS))
            raise Transient(message, wait=wait)
        remedy = {
            401: "check STRIPE_API_KEY",
            403: "the key lacks the permission to read this; grant it",
        }.get(status, "no retry can help")
        raise SourceRefused(
            f"{message}. What was landed is kept; {remedy}.",
            status=status,
            code=problem.code,
            param=problem.param,
        )

    def _count_call(self, status: int) -> None:
        with self._lock:
            self.counts.calls += 1
            self.counts.statuses[status] = self.counts.statuses.get(status, 0) + 1

    def _count_retry(self) -> None:
        with self._lock:
            self.counts.retries += 1


class _Problem(msgspec.Struct):
    message: str | None = None
    code: str | None = None
    param: str | None = None


class _ProblemBody(msgspec.Struct):
    error: _Problem


def _problem(body: bytes) -> _Problem:
    try:
        return msgspec.json.decode(body, type=_ProblemBody).error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _Problem()


def _bounds(spec: EntitySpec, window: Window, *, through: int | None = None) -> dict[str, str]:
    """The `created` filter of a window, cut down to what is not newer than `through`."""
    if not spec.created_filter:
        return {}
    end = window.end if through is None else min(window.end, through + 1)
    return {"created[gte]": str(window.start), "created[lt]": str(end)}


def _is_within(text: bytes, window: Window) -> bool:
    """Whether a record belongs to the window; one that does not say when it was created is never left out."""
    found = identity(text)
    return found is None or found[1] is None or window.start <= found[1] < window.end


def _is_lost_cursor(refusal: SourceRefused) -> bool:
    return refusal.code == "resource_missing" and refusal.param == _CURSOR


def _last_identity(path: str, texts: tuple[bytes, ...], cursor: str | None) -> tuple[str, int | None]:
    """The oldest record of a page that can serve as the next cursor."""
    for text in reversed(texts):
        found = identity(text)
        if found is not None and found[0] != cursor:
            return found
    raise SourceError(
        f"GET /v1/{path} says there is more but shows nothing new to continue from; stopped instead of losing the rest."
    )


class _Nested(msgspec.Struct):
    has_more: bool = False


def _has_more_children(text: bytes, field: str) -> bool:
    """Whether the record's nested list `field` was shown only in part."""
    try:
        nested = msgspec.json.decode(text, type=dict[str, msgspec.Raw]).get(field)
        return nested is not None and msgspec.json.decode(nested, type=_Nested | None) == _Nested(True)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return False


def _source_time(answer: _Answer) -> int:
    """The source's clock at the answer; ours when it does not say."""
    try:
        return int(parsedate_to_datetime(answer.headers.get("date", "")).astimezone(UTC).timestamp())
    except (ValueError, TypeError):
        return int(answer.observed_at.timestamp())
