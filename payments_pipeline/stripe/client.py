"""Reads and writes a Stripe-shaped API."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from types import TracebackType
from typing import Self

import msgspec
import pydantic

from payments_pipeline.entities import ChildList, EntitySpec
from payments_pipeline.errors import SourceError, SourceRefused, SourceUnavailable, UsageError
from payments_pipeline.flow import CallCounts, Clock, Page, Source, Window
from payments_pipeline.stripe.ask import Ask, path_of
from payments_pipeline.stripe.envelope import (
    Malformed,
    Records,
    completed,
    identity,
    is_partial,
    single,
    split,
)
from payments_pipeline.stripe.limiter import RateLimiter
from payments_pipeline.stripe.paging import (
    CURSOR,
    bounds,
    is_lost_cursor,
    is_past,
    last_id,
    remaining,
    span,
    within,
)
from payments_pipeline.stripe.refusal import plain, refusal
from payments_pipeline.stripe.retry import MAX_WAIT_SECONDS, RetryBudget, Transient, http_date, policy
from payments_pipeline.stripe.wire import Answer, Transport, Wire

API_VERSION = "2026-10-28.endive"
"""The Stripe API version whose shapes `entities` declares; sent with every call."""

_MAX_RESTARTS = 100
_PARTS = 5
"""Of so many parts of a window a page is looked at: business begins, grows, sleeps at night and has busy minutes."""
_KEY = re.compile(r"[!-~]+")
_ID = re.compile(r"(?!\.+\Z)[!-.0-~]{1,255}")  # a server may take an escaped slash, or dots, for a path


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """How to reach the API. `rate` is in calls a second, `page_size` 1-100."""

    base_url: str
    api_key: pydantic.SecretStr
    page_size: int = 100
    rate: float = 25.0
    connections: int = 16


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """Who answers: the account's id (None if the key may not read it), the source's own time, Unix seconds, and its mode.

    `livemode` is what the key says: a live key reads live objects only, any other test objects only
    (docs.stripe.com/keys).
    """

    account: str | None
    now: int
    livemode: bool


@dataclass(frozen=True, slots=True)
class Written:
    """The object as a write left it; `replayed` if the API repeats what it answered to this idempotency key before."""

    record: bytes
    replayed: bool


@dataclass(frozen=True, slots=True)
class _Shown:
    records: Records
    observed_at: datetime
    headers: Mapping[str, str]


class StripeClient:
    """Reads lists and objects of one account, and writes to it; safe to use from several threads.

    Every call waits for the shared rate limit and is retried by the one policy; what still fails raises
    `SourceUnavailable`, what no retry can help `SourceRefused`, an answer that is not Stripe's `SourceError`.
    Nothing but `post` and `delete` writes to the account, and the key is sent to no other host. `sleep` is how it
    waits; by itself it waits so that `cancel` ends it.
    """

    def __init__(
        self,
        options: ClientOptions,
        clock: Clock,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] | None = None,
        transport: Transport | None = None,
    ) -> None:
        self.counts = CallCounts()
        self._options = options
        self._livemode = "_live_" in options.api_key.get_secret_value()
        self._clock = clock
        self._monotonic = monotonic
        self._budget = RetryBudget()
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        sleep = sleep or self._sleep
        self._limiter = RateLimiter(options.rate, monotonic=monotonic, sleep=sleep)
        self._retrying = policy(budget=self._budget, sleep=sleep, on_retry=self._count_retry)
        self._wire = Wire(
            options.base_url,
            {
                "Authorization": f"Bearer {_usable(options.api_key)}",
                "Stripe-Version": API_VERSION,
                "User-Agent": "payments-pipeline",
            },
            connections=options.connections,
            transport=transport,
            monotonic=monotonic,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wire.close()

    def cancel(self) -> None:
        """Let every thread that waits or reads, and every later call, raise `SourceError` at once; safe from any thread."""
        self._cancelled.set()
        self._wire.shut()

    def source_info(self) -> SourceInfo:
        """Who the key belongs to and what time it is there; `SourceRefused` if the key is not accepted."""
        try:
            answer = self._call("account", {}, single)
        except SourceRefused as error:
            if error.status not in {403, 404}:
                raise
            answer = self._call("customers", {"limit": "1"}, split)
            return SourceInfo(None, _source_time(answer), self._livemode)
        found = identity(answer.records.texts[0])
        return SourceInfo(found[0] if found else None, _source_time(answer), self._livemode)

    def pages(self, spec: EntitySpec, window: Window) -> Iterator[Page]:
        """Every object of `spec` created in `window`, in pages, newest first.

        An object created or changed meanwhile may appear twice or in its newer state, none is skipped: a
        cursor object that vanished makes the listing resume at its second, not after it. A list that the API
        cannot filter by `created` is read from the newest object down to the window's start.
        """
        for listing in spec.listings:
            yield from self._listing(spec, window, listing)

    def count(self, spec: EntitySpec, window: Window) -> int:
        """About how many objects of `spec` were created in `window`, by the newest page of each of a few parts of it."""
        number = _PARTS if spec.created_filter else 1
        ends = [window.start + (window.end - window.start) * each // number for each in range(number + 1)]
        parts = [Window(start, end) for start, end in pairwise(ends)]
        known = unknown = objects = seconds = 0
        for listing in spec.listings:
            for part in parts:
                shown = next(self._answers(spec.name, {**listing, **bounds(spec, part)})).records
                if not shown.has_more:
                    known += len(within(shown.texts, part))
                    continue
                page = span(shown)
                unknown += part.end - part.start
                objects += len(shown.texts)
                seconds += (part.end if spec.created_filter else page.end) - page.start
        return known + round(unknown * objects / max(1, seconds))

    def _listing(self, spec: EntitySpec, window: Window, listing: Mapping[str, str]) -> Iterator[Page]:
        left = window
        for _ in range(_MAX_RESTARTS):
            shown = Records((), has_more=True)
            try:
                for answer in self._answers(spec.name, {**listing, **bounds(spec, left)}):
                    shown = answer.records
                    yield self._page(spec, "list", answer, window)
                    if not spec.created_filter and is_past(shown, window):
                        return
            except SourceRefused as error:
                if not is_lost_cursor(error):
                    raise
                left = remaining(left, shown)
            else:
                return
        raise _never_ending(spec.name)

    def retrieve(self, spec: EntitySpec, object_id: str, *, deleted_at: int | None = None) -> Page:
        """The object by id as a page of one; source `absent` and its id alone if the API knows no such id.

        A text that cannot be an id is not asked for. `deleted_at` is passed on: when an event says the object
        was deleted, if one does.
        """
        asked_at = self._clock()
        try:
            if _ID.fullmatch(object_id):
                answer = self._call(path_of(spec.name, object_id), {}, single)
                return replace(self._page(spec, "retrieve", answer, None), deleted_at=deleted_at)
        except SourceRefused as error:
            if error.status != 404 or error.code != "resource_missing":
                raise
        stub = msgspec.json.encode({"id": object_id, "object": spec.object, "deleted": True})
        return Page(spec.name, "absent", asked_at, "", API_VERSION, (stub,), deleted_at)

    def post(self, *path: str, params: Mapping[str, str], key: str) -> Written:
        """Create or change the object at the path's segments, once for each idempotency `key`, however often repeated.

        `params` are named as Stripe's forms name them: `items[0][price]`. `SourceRefused` if it may not be, as for
        a declined card (status 402).
        """
        answer = self._send(Ask("POST", path_of(*path), params, key), single)
        return Written(answer.records.texts[0], answer.headers.get("idempotent-replayed") == "true")

    def delete(self, *path: str) -> None:
        """Delete or end the object at the path's segments.

        `SourceRefused` with code `resource_missing` if there is none: after a lost answer this very call may have
        ended it.
        """
        self._send(Ask("DELETE", path_of(*path), {}), single)

    def _page(self, spec: EntitySpec, source: Source, answer: _Shown, window: Window | None) -> Page:
        texts = answer.records.texts
        if window is not None and not spec.created_filter:
            texts = within(texts, window)
        child = spec.child_list
        if child is not None:
            texts = tuple(
                self._with_children(child, text) if is_partial(text, child.column) else text for text in texts
            )
        return Page(
            entity=spec.name,
            source=source,
            observed_at=answer.observed_at,
            request_id=answer.headers.get("request-id", ""),
            api_version=answer.headers.get("stripe-version", API_VERSION),
            records=texts,
        )

    def _with_children(self, child: ChildList, text: bytes) -> bytes:
        """The record with its nested list read to the end; as it was shown if the object is gone meanwhile."""
        found = identity(text)
        if found is None:
            return text
        params = {name: value.format(id=found[0]) for name, value in child.params.items()}
        try:
            return completed(text, child.column, self._whole(child.path.format(id=path_of(found[0])), params))
        except SourceRefused as error:
            if error.code != "resource_missing":
                raise
            return text

    def _whole(self, path: str, params: Mapping[str, str]) -> list[bytes]:
        """All records of a list, read again from its start when the cursor object vanishes."""
        for _ in range(_MAX_RESTARTS):
            try:
                return [text for answer in self._answers(path, params) for text in answer.records.texts]
            except SourceRefused as error:
                if not is_lost_cursor(error):
                    raise
        raise _never_ending(path)

    def _answers(self, path: str, params: Mapping[str, str]) -> Iterator[_Shown]:
        """The pages of a list, each continuing after the last record of the one before."""
        limit = {"limit": str(self._options.page_size)}
        cursor: dict[str, str] = {}
        used = set()
        while True:
            answer = self._call(path, {**params, **limit, **cursor}, split)
            yield answer
            if not answer.records.has_more:
                return
            last = last_id(answer.records)
            if last is None or last in used:
                raise SourceError(
                    f"GET /v1/{path} says there is more but shows nothing new to continue from; "
                    "stopped instead of losing the rest."
                )
            used.add(last)
            cursor = {CURSOR: last}

    def _call(self, path: str, params: Mapping[str, str], parse: Callable[[bytes], Records]) -> _Shown:
        return self._send(Ask("GET", path, params), parse)

    def _send(self, ask: Ask, parse: Callable[[bytes], Records]) -> _Shown:
        try:
            answer = self._retrying(self._attempt, ask, parse)
        except Transient as failure:
            with self._lock:
                self.counts.failures += 1
            raise SourceUnavailable(
                f"{self._where(ask)} still fails after retries: {failure}. "
                "What was done is kept; run again later to continue."
            ) from failure
        self._budget.earn()
        return answer

    def _attempt(self, ask: Ask, parse: Callable[[bytes], Records]) -> _Shown:
        self._sleep(0)  # raises once somebody has cancelled
        with self._limiter.turn() as answered:
            observed_at = self._clock()
            answer = self._exchange(ask, answered)
        if answer.status != 200:
            self._refuse(str(ask), answer)
        kind = answer.headers.get("content-type", "no content type")
        if "json" not in kind:
            raise SourceError(
                f"{self._where(ask)} answered {plain(kind)} instead of JSON: that is not a "
                "Stripe API. Nothing was kept of it; check the base URL and proxies."
            )
        try:
            return _Shown(parse(answer.body), observed_at, answer.headers)
        except Malformed as error:
            raise Transient(str(error)) from error

    def _where(self, ask: Ask) -> str:
        return f"{ask.method} {self._options.base_url}/v1/{ask.path}"

    def _exchange(self, ask: Ask, answered: Callable[[], None]) -> Answer:
        """One call on the wire, counted by its status; by 0 if no whole answer came back."""
        status = 0
        try:
            answer = self._wire.exchange(ask, answered)
            status = answer.status
        finally:
            with self._lock:
                self.counts.calls += 1
                self.counts.statuses[status] = self.counts.statuses.get(status, 0) + 1
        return answer

    def _refuse(self, call: str, answer: Answer) -> None:
        """Raise what an answer other than 200 means; a wait that it asks for holds for every thread."""
        key = self._options.api_key.get_secret_value().encode()
        body = answer.body.replace(key, b"[api key]")
        error = refusal(call, answer.status, answer.headers, body, now=self._clock())
        if isinstance(error, Transient) and error.wait is not None and error.wait <= MAX_WAIT_SECONDS:
            self._limiter.pause(error.wait)
        raise error

    def _sleep(self, seconds: float) -> None:
        """Wait that long, or until somebody cancels."""
        if self._cancelled.wait(seconds):
            raise SourceError("stopped before it was done. What was done is kept; run again to continue.")

    def _count_retry(self) -> None:
        with self._lock:
            self.counts.retries += 1


def _usable(key: pydantic.SecretStr) -> str:
    """The key, if it can be sent: a stray line break would end up in the HTTP library's error message."""
    value = key.get_secret_value()
    if not _KEY.fullmatch(value):
        raise UsageError(
            "the API key is empty or holds a space, a line break or a character that is not ASCII; "
            "check STRIPE_API_KEY. Nothing was read or written."
        )
    return value


def _never_ending(path: str) -> SourceError:
    return SourceError(
        f"GET /v1/{path} lost its place {_MAX_RESTARTS} times, because the objects to continue from vanished. "
        "What was done is kept; run again later to continue."
    )


def _source_time(answer: _Shown) -> int:
    """The source's clock at the answer; ours when it does not say."""
    return int((http_date(answer.headers.get("date", "")) or answer.observed_at).timestamp())
