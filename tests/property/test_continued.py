"""Runs that stop and go on later, under their RUN_ID or another, by a clock that may be wrong: nothing is missed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from starlette.types import Message, Receive, Scope, Send

from payments_pipeline import publish
from payments_pipeline.entities import ENTITIES
from payments_pipeline.errors import SourceError
from payments_pipeline.state.head import read_head
from payments_pipeline.state.manifest import Request
from tests.history.checks import disagreements, rebuilt_differences
from tests.history.machine import HOUR, LEASE_SECONDS
from tests.history.storage import Killed, Trouble
from tests.history.subject import DAY, TODAY, Circumstances, Opening, Stage, Ticks

NOTES = (("a note on a charge", 0), ("a note on a charge", 1), ("a change of address", 0), ("a refund", 1))
BRIEF = Circumstances(safety_seconds=600)
AFTER_THE_LISTS = Circumstances(safety_seconds=600, outage=18)
"""The API goes away when every list is read and no object that changed."""


def test_the_older_of_two_stopped_runs_goes_on(opening: Opening) -> None:
    """What the newer has read events of, the older had read before it changed: it is read again."""
    account = opening()
    account.wait(5 * DAY)
    with pytest.raises(SourceError):
        account.run(under=AFTER_THE_LISTS, run_id="older")
    account.wait(2 * DAY)
    account.change(*NOTES, ("a dispute", 2))
    account.wait(2 * HOUR)
    with pytest.raises(SourceError):
        account.run(under=AFTER_THE_LISTS, run_id="newer")
    account.wait(LEASE_SECONDS)
    account.run(under=BRIEF, run_id="older")
    account.wait(DAY)
    account.run(under=BRIEF)
    assert disagreements(account) == []


def test_a_run_goes_on_when_the_events_before_it_are_gone(opening: Opening) -> None:
    """Neither the pause before it nor the one in its midst is too long for the events; together they are."""
    account = opening()
    account.run()
    account.wait(DAY)
    account.change(*NOTES)
    account.wait(15 * DAY)
    with pytest.raises(SourceError):
        account.run(TODAY, Circumstances(outage=3), run_id="paused")
    account.wait(20 * DAY)
    assert account.run(TODAY, run_id="paused").extract.relisted is not None
    account.wait(HOUR)
    assert account.run().extract.relisted is None
    assert disagreements(account) == []


def test_a_stopped_run_whose_clock_was_a_year_ahead(opening: Opening) -> None:
    """What it observed seems to be of next year, and yet what is observed after it is newer."""
    account = opening()
    account.run()
    account.wait(3 * DAY)
    account.change(("a payment", 1), ("a payment", 2), *NOTES)
    account.wait(LEASE_SECONDS)
    right, account.ticks = account.ticks, Ticks(lambda: account.clock() + 365 * DAY)
    with pytest.raises(SourceError):
        account.run(under=Circumstances(outage=14))
    account.ticks = right
    account.wait(LEASE_SECONDS)
    account.run()
    account.wait(HOUR)
    account.change(("a refund", 0), ("a note on a charge", 2), ("a change of address", 1))
    account.wait(HOUR)
    manifest = account.run()
    assert disagreements(account) == []
    assert rebuilt_differences(account, manifest) == []


def test_a_publication_that_another_run_finishes(opening: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bronze that this other run lands afterwards is not published by it: a rebuild leaves it to the next run."""
    account = opening()
    account.wait(DAY)
    account.run(under=BRIEF)
    account.wait(3 * DAY)
    account.change(*NOTES)
    account.wait(2 * HOUR)
    with suppress(Killed):
        account.run(under=Circumstances(safety_seconds=600, trouble=Trouble(36)), run_id="early")
    account.wait(LEASE_SECONDS)
    start = account.clock() - 10 * DAY
    backfill = Request(entities=tuple(ENTITIES), start=start, end=start + DAY, backfill=True)
    with monkeypatch.context() as dying:
        dying.setattr(publish, "_list_partitions", _dies)
        with pytest.raises(Killed):
            account.run(backfill, BRIEF)
    with account.opened() as lake:
        assert read_head(lake.storage).publishing is not None
    account.wait(LEASE_SECONDS)
    with pytest.raises(SourceError):
        account.run(under=AFTER_THE_LISTS, run_id="early")
    account.wait(LEASE_SECONDS)
    account.rebuild()
    account.wait(DAY)
    account.run(under=BRIEF)
    assert disagreements(account) == []


def test_an_answer_that_is_spoilt_on_the_way(opening: Opening) -> None:
    """One retrieval among many is answered with a wrong type, once: it is asked again, for its event is not told again."""
    account = opening()
    for _ in range(8):
        account.wait(DAY)
        account.change(*(("a payment", each) for each in range(9)))
    account.run(under=BRIEF)
    account.wait(DAY)
    account.change(("a note on a charge", 0))
    account.wait(HOUR)
    with _spoilt(account.stage, "/v1/charges/ch_"):
        manifest = account.run(under=Circumstances(safety_seconds=600, tolerated=0.2))
    assert manifest.extract.entities["charges"].quarantined == 1
    assert disagreements(account) == []


@contextmanager
def _spoilt(stage: Stage, prefix: str) -> Iterator[None]:
    """The first answer to a path that begins so has a number where a flag should be."""
    shown, asked = stage.app, list[str]()
    assert shown is not None

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        is_first = scope.get("path", "").startswith(prefix) and not asked
        if is_first:
            asked.append(scope["path"])

        async def spoiling(message: Message) -> None:
            body = re.sub(rb'("refunded": ?)false', rb"\g<1>12345", message.get("body", b""))
            await send({**message, "body": body} if is_first and "body" in message else message)

        await shown(scope, receive, spoiling)

    stage.app = app
    try:
        yield
    finally:
        stage.app = shown
    assert asked


def _dies(*_: object) -> None:
    raise Killed
