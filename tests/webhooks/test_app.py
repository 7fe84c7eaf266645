from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from payments_pipeline.flow import Quiet
from payments_pipeline.storage import LocalStorage, MemoryStorage
from payments_pipeline.stripe.signature import Verifier
from payments_pipeline.webhooks.app import PATH, Intake, Limits, create_app
from payments_pipeline.webhooks.journal import Journal
from payments_pipeline.webhooks.receiver import Receiver
from tests.lakes import Clock
from tests.webhooks.events import NOON, SECRET, body, signature


def app(storage: Any = None, limits: Limits | None = None, *, verify: bool = True) -> Intake:
    """The application over a lake in memory, its clock standing at noon."""
    clock = Clock(NOON)
    verifier = Verifier([SECRET.encode()]) if verify else None
    journal = Journal(storage or MemoryStorage(), clock)
    return create_app(Receiver(journal, clock, verifier=verifier, reporter=Quiet()), limits)


class Sender:
    """One request to the application, its body sent bit by bit."""

    def __init__(self, intake: Intake, payload: bytes) -> None:
        self.pieces: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.told: list[dict[str, Any]] = []
        headers = [(b"stripe-signature", signature(payload))]
        scope = {"type": "http", "method": "POST", "path": PATH, "headers": headers}
        self.task = asyncio.create_task(intake(scope, self.pieces.get, self._hear))

    async def _hear(self, message: Any) -> None:
        self.told.append(dict(message))

    async def send(self, piece: bytes, *, more: bool) -> None:
        """Send a piece, and let the application read it."""
        await self.pieces.put({"type": "http.request", "body": piece, "more_body": more})
        await asyncio.sleep(0)

    async def status(self) -> int:
        """The answer's status."""
        await self.task
        return int(self.told[0]["status"]) if self.told else 0


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop for the module."""
    made = asyncio.new_event_loop()
    yield made
    made.close()


def test_too_many_at_once_are_told_to_come_back(loop: asyncio.AbstractEventLoop) -> None:
    """Beyond the cap 503 with a Retry-After, at once; when one has gone, the next is served."""

    async def scenario() -> None:
        intake = app(limits=Limits(requests=2))
        slow = [Sender(intake, body(number)) for number in range(2)]
        for each in slow:
            await each.send(b"{", more=True)
        refused = Sender(intake, body(3))
        assert await refused.status() == 503
        assert (b"retry-after", b"10") in refused.told[0]["headers"]
        await slow[0].pieces.put({"type": "http.disconnect"})
        assert await slow[0].status() == 0
        served = Sender(intake, body(3))
        await served.send(body(3), more=False)
        assert await served.status() == 200

    loop.run_until_complete(scenario())


def test_bodies_in_memory_are_bounded(loop: asyncio.AbstractEventLoop) -> None:
    """When the bodies that arrive together exceed what may wait, the next delivery is put off."""

    async def scenario() -> None:
        intake = app(limits=Limits(waiting_bytes=100))
        slow = Sender(intake, b"")
        await slow.send(b"x" * 101, more=True)
        assert await Sender(intake, body(1)).status() == 503
        await slow.pieces.put({"type": "http.disconnect"})
        await slow.task
        served = Sender(intake, body(1))
        await served.send(body(1), more=False)
        assert await served.status() == 200

    loop.run_until_complete(scenario())


def test_an_unexpected_failure_acknowledges_nothing(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    """Whatever goes wrong while a group is kept, its senders are told 503, and the next group is tried again."""
    storage = LocalStorage(tmp_path / "lake")
    real, failures = storage.create, [ValueError("nobody thought of this")]

    def create(key: str) -> Any:
        if failures:
            raise failures.pop()
        return real(key)

    storage.create = create  # type: ignore[method-assign]  # a storage that fails once

    async def scenario() -> list[int]:
        intake = app(storage)
        found = []
        for _ in range(2):
            sender = Sender(intake, body(1))
            await sender.send(body(1), more=False)
            found.append(await sender.status())
        return found

    assert loop.run_until_complete(scenario()) == [503, 200]


def schema(*, verify: bool) -> Any:
    """The application's own description, to draw requests from."""
    return schemathesis.openapi.from_asgi("/openapi.json", app(verify=verify))


open_schema, closed_schema = schema(verify=False), schema(verify=True)


@open_schema.parametrize()  # type: ignore[untyped-decorator]  # schemathesis' own
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_no_request_is_a_server_error(case: Any) -> None:
    """Without verification, whatever the description allows (or forbids) is answered below 500."""
    assert case.call().status_code < 500


@closed_schema.parametrize()  # type: ignore[untyped-decorator]  # schemathesis' own
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_no_unsigned_request_is_believed(case: Any) -> None:
    """With verification, every drawn delivery is refused as the description says."""
    answer = case.call()
    if case.path == PATH and case.method == "POST":
        assert answer.status_code == 400
        assert answer.json() == {"message": "not accepted"}
    else:
        assert answer.status_code < 500
