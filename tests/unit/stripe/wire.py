"""The other side of the client, for answers that the simulated API does not give: scripts, and a shelf of any objects."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import httpx
import msgspec
import pydantic

from mock_api import forms
from mock_api.errors import ApiError
from mock_api.lists import list_page
from mock_api.resources import BY_KIND
from mock_api.world import World
from payments_pipeline.entities import ENTITIES, EntitySpec
from payments_pipeline.stripe.client import ClientOptions, StripeClient

KEY = "sk_test_mock"
URL = "https://stripe.example"
START = datetime(2026, 11, 21, 12, tzinfo=UTC)
JSON = {"content-type": "application/json", "request-id": "req_1"}
Answerer = Callable[[httpx.Request], httpx.Response]


class Time:
    """A clock that only sleeping moves; several threads may share it."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self._now = 0.0
        self._lock = threading.Lock()

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Move on at once, and remember for how long."""
        with self._lock:
            self.slept.append(seconds)
            self._now += seconds

    def utc(self) -> datetime:
        """The time of day."""
        return START + timedelta(seconds=self._now)


def client_of(
    answer: Answerer, time: Time | None = None, *, page_size: int = 100, rate: float = 1000.0
) -> StripeClient:
    """A client whose calls `answer` answers, on a clock of its own."""
    time = time or Time()
    options = ClientOptions(URL, pydantic.SecretStr(KEY), page_size=page_size, rate=rate)
    transport = httpx.MockTransport(answer)
    return StripeClient(options, time.utc, monotonic=time.monotonic, sleep=time.sleep, transport=transport)


@dataclass(slots=True)
class Script:
    """Answers one after the other, the last again and again; remembers what was asked."""

    answers: Sequence[httpx.Response | Exception]
    asked: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """The next answer, or the network's failure that stands in its place."""
        number = min(len(self.asked), len(self.answers) - 1)
        self.asked.append(request)
        answer = self.answers[number]
        if isinstance(answer, Exception):
            raise answer
        return answer


def problem(
    status: int, headers: Mapping[str, str] | None = None, *, message: str = "Sorry.", code: str | None = None
) -> httpx.Response:
    """Stripe's error envelope."""
    error = {"type": "api_error", "message": message, **({"code": code} if code else {})}
    return httpx.Response(status, headers={**JSON, **(headers or {})}, json={"error": error})


def listing(*records: bytes, has_more: bool = False) -> httpx.Response:
    """A list of these texts, word for word."""
    return httpx.Response(200, headers=JSON, content=list_body(*records, has_more=has_more))


def list_body(*records: bytes, has_more: bool = False) -> bytes:
    """The envelope around these texts, in Stripe's order of keys."""
    more = b"true" if has_more else b"false"
    return b'{"object":"list","url":"/v1/x","has_more":%b,"data":[%b]}' % (more, b",".join(records))


def thing(spec: EntitySpec, number: int, created: int, **fields: Any) -> dict[str, Any]:
    """The least that is an object of the entity."""
    name = f"{spec.prefixes[0]}{number}"
    return {"id": name, "object": spec.object, "created": created, "active": True, **fields}


def ids(texts: Iterable[bytes]) -> list[str]:
    """The ids of records, in order."""
    return [msgspec.json.decode(text)["id"] for text in texts]


class Shelf:
    """An account that holds just these objects, listed with the simulated API's own semantics.

    `before` is called with the number of each call before it is answered, to change what is on the shelf.
    """

    def __init__(self, kind: str, objects: Iterable[dict[str, Any]]) -> None:
        self.spec = ENTITIES[kind]
        self.objects = {obj["id"]: obj for obj in objects}
        self.asked: list[httpx.Request] = []
        self.before: Callable[[int], None] = lambda number: None
        self.now = 0

    def rows(self, kind: str) -> list[dict[str, Any]]:
        """As `World.rows`: ascending `created`."""
        assert kind == self.spec.name
        return sorted(self.objects.values(), key=lambda obj: (obj["created"], obj["id"]))

    def get(self, kind: str, object_id: str) -> dict[str, Any] | None:
        """As `World.get`."""
        return self.objects.get(object_id)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer as Stripe would."""
        self.asked.append(request)
        self.before(len(self.asked))
        try:
            params = forms.decode(request.url.query.decode())
            page = list_page(cast("World", self), BY_KIND[self.spec.name], params)
        except ApiError as error:
            return httpx.Response(error.status, headers=JSON, json=error.envelope("req_1"))
        return httpx.Response(200, headers=JSON, json=page.envelope(request.url.path))
