"""What no event tells, or no run has read the events of, is found all the same."""

from __future__ import annotations

from contextlib import suppress

import pytest

from payments_pipeline.entities import ENTITIES
from payments_pipeline.state.manifest import Request
from tests.history.checks import disagreements
from tests.history.machine import HOUR, LEASE_SECONDS
from tests.history.storage import Killed, Trouble
from tests.history.subject import DAY, EVERYTHING, TODAY, Circumstances, Opening, Subject

CHARGES = Request(entities=("charges",), days=400)


def stale(of: Subject) -> list[str]:
    """How the lake's objects differ from the account's; those that no run was asked for are neither there nor in sums."""
    return [each for each in disagreements(of) if not each.endswith(": missing") and "gold says" not in each]


def test_a_charge_follows_its_disputes_and_its_refunds(opening: Opening) -> None:
    """No event of the charge tells of a dispute, or of a refund that failed: their own do."""
    account = opening()
    account.change(("a refund", 1))
    account.run()
    account.wait(3 * DAY)
    account.run(TODAY)
    account.wait(3 * DAY)
    account.change(("a dispute", 0), ("a refund fails", 0))
    account.wait(2 * HOUR)
    account.run(TODAY)
    assert disagreements(account) == []


@pytest.mark.parametrize(("days", "publish"), [(20, True), (60, True), (60, False)])
def test_an_invoice_payment_is_cancelled_with_its_invoice(opening: Opening, days: int, publish: bool) -> None:
    """However old it is by then, published or not, and however few entities a run is for: only the invoice's events tell."""
    account = opening()
    account.change(("a written-off invoice", 0))
    account.run(publish=publish)
    for _ in range(days // 20):
        account.wait(20 * DAY)
        account.run(TODAY, publish=publish)
    account.change(("an unpaid invoice is voided", 0))
    account.wait(2 * HOUR)
    account.run(Request(entities=("events",), days=1))
    account.wait(2 * HOUR)
    account.run(TODAY)
    assert disagreements(account) == []


@pytest.mark.parametrize(("first", "days"), [(EVERYTHING, 40), (CHARGES, 4)])
def test_events_read_alone_after_a_pause(opening: Opening, first: Request, days: int) -> None:
    """What events do not tell is compared with the account at once: to the next run they count as read."""
    account = opening()
    account.run(first)
    account.wait(7200)
    account.change(("a refund", 1), ("a note on a charge", 0))
    account.wait(days * DAY)
    alone = account.run(Request(entities=("events",), days=1))
    assert (alone.extract.relisted is not None) == (days > 25)
    account.wait(LEASE_SECONDS)
    account.run(TODAY)
    assert stale(account) == []


@pytest.mark.parametrize("at", [26, 34])
def test_comparing_everything_is_not_forgotten_half_way(opening: Opening, at: int) -> None:
    """Events were not read for long; the run that compares the lake with the account for that dies, and the next does it."""
    account = opening()
    account.run(CHARGES)
    account.wait(7200)
    account.change(("a refund", 1), ("a note on a charge", 0))
    account.wait(40 * DAY)
    with suppress(Killed):
        account.run(TODAY, Circumstances(trouble=Trouble(at)))
    account.wait(DAY)
    account.run(TODAY)
    assert stale(account) == []


def test_a_backfill_asks_for_nothing_that_the_lake_knows(opening: Opening) -> None:
    """Events from before the lake's first run tell nothing new; the run after the backfill reads what any run would."""
    account = opening()
    for aim in range(8):
        account.wait(2 * DAY)
        account.change(("a payment", aim), ("a refund", aim), ("a change of address", aim))
    account.wait(DAY)
    account.run(TODAY)
    start = account.clock() - 16 * DAY
    backfill = account.run(Request(entities=tuple(ENTITIES), start=start, end=start + DAY, backfill=True))
    account.wait(2 * HOUR)
    after = account.run(TODAY)
    assert after.extract.relisted is None
    assert [sum(each.retrieved for each in run.extract.entities.values()) for run in (backfill, after)] == [
        0,
        0,
    ]
    assert stale(account) == []


@pytest.mark.parametrize("ago", [1, 60])
def test_events_that_a_backfill_reads_are_not_all_events(opening: Opening, ago: int) -> None:
    """The lake was begun without them; those of a day in between, if kept, say nothing of what happened before that day."""
    account = opening()
    account.run(CHARGES)
    account.wait(7200)
    account.change(("a refund", 1), ("a note on a charge", 0))
    account.wait(15 * DAY)
    end = account.clock() - ago * DAY
    account.run(Request(entities=tuple(ENTITIES), start=end - DAY, end=end, backfill=True))
    account.wait(LEASE_SECONDS)
    account.run(TODAY)
    assert stale(account) == []


def test_what_a_killed_run_saw_and_is_gone_long_since(opening: Opening) -> None:
    """It waits in bronze that no run has merged yet, its deletion was told by an event that is no longer kept."""
    account = opening()
    account.change(("a new product", 2))
    account.wait(2)
    with pytest.raises(Killed):
        account.run(EVERYTHING, Circumstances(trouble=Trouble(30)))
    account.change(("a product is deleted", 0))
    account.wait(40 * DAY)
    account.run(TODAY)
    account.wait(HOUR)
    account.run(EVERYTHING)
    assert disagreements(account) == []
