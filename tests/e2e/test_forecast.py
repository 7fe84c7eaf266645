"""What `plan` says beforehand is about what a run then does."""

from __future__ import annotations

import json
from pathlib import Path

from payments_pipeline.entities import ENTITIES
from payments_pipeline.flow import Window
from payments_pipeline.forecast import Forecast, forecast
from payments_pipeline.session import open_source, storage_of
from payments_pipeline.state.manifest import Extract, Request
from tests.e2e.harness import DAY, Account, account_of, command_in, files_of, refusal, run, settings_for

SMALL_PAGES = {"MAX_PAGE_SIZE": "10"}


def test_the_calls_of_the_next_run_are_foreseen_within_a_third(tmp_path: Path) -> None:
    """After runs have shown how many objects a day has, for a longer window than theirs; and what they had to retrieve."""
    lake = tmp_path / "lake"
    with account_of(days=9, customers_per_day=30) as account:
        before = []
        for days in (2, 1):
            request = Request(entities=tuple(ENTITIES), days=days)
            before.append(_retrieved(run(lake, account, request, environ=SMALL_PAGES).extract))
            account.clock.advance(DAY)
        found, done = _foreseen_and_done(lake, account, days=6)
    assert not found.unknown
    assert found.calls > 50
    assert 2 / 3 < found.calls / (done.calls - _retrieved(done) - 1) < 3 / 2
    assert found.retrieved == (min(before), max(before))


def test_the_calls_of_a_first_run_are_foreseen_within_a_third(tmp_path: Path) -> None:
    """A few pages of each list tell how many objects a day has."""
    with account_of(days=9, customers_per_day=30) as account:
        found, done = _foreseen_and_done(tmp_path / "lake", account, days=6)
    assert not found.unknown
    assert found.retrieved is None
    assert 2 / 3 < found.calls / (done.calls - _retrieved(done) - 1) < 3 / 2


def test_a_list_without_a_filter_is_counted_in_the_past_too(tmp_path: Path) -> None:
    """Its newest page lies after the window, and tells how many objects such a window has."""
    with account_of(days=20, customers_per_day=30) as account:
        settings = settings_for(tmp_path / "lake", account)
        window = Window(account.clock() - 15 * DAY, account.clock() - 5 * DAY)
        spec = ENTITIES["payment_methods"]
        assert not spec.created_filter
        with storage_of(settings) as storage, open_source(settings, storage, account.now) as source:
            counted = source.client.count(spec, window)
            there = sum(len(page.records) for page in source.client.pages(spec, window))
    assert 1 / 2 < counted / there < 2


def _foreseen_and_done(lake: Path, account: Account, *, days: int) -> tuple[Forecast, Extract]:
    """What is said of a run beforehand, and what it then does."""
    settings = settings_for(lake, account, **SMALL_PAGES)
    request = Request(entities=tuple(ENTITIES), days=days)
    with storage_of(settings) as storage, open_source(settings, storage, account.now) as source:
        found = forecast(storage, settings, request, account.clock(), count=source.client.count)
    return found, run(lake, account, request, environ=SMALL_PAGES).extract


def _retrieved(done: Extract) -> int:
    return sum(each.retrieved + each.absent for each in done.entities.values())


def test_a_plan_of_a_new_lake_says_what_it_does_not_know_and_makes_nothing(tmp_path: Path) -> None:
    """The command prints the least, exit 0, and leaves no lake behind; a nonsensical window is refused."""
    command = command_in(tmp_path)
    lake = tmp_path / "lake"
    found = json.loads(command.ok("plan", "--days", "3", "--json", "--lake", str(lake)).stdout)
    assert found["unknown"] == list(ENTITIES)
    assert found["calls"] >= len(ENTITIES)
    assert "at least" in command.ok("plan", "--entity", "charges", "--lake", str(lake)).stdout
    assert not lake.exists()
    assert "--from" in refusal(command("plan", "--days", "1", "--from", "2026-01-01"), 2)
    assert "charge" in refusal(command("plan", "--entity", "charg"), 2)


def test_a_plan_counts_every_entity_where_all_is_compared(tmp_path: Path) -> None:
    """Also when it is made for events alone, and they have not been read for long."""
    lake = tmp_path / "lake"
    with account_of(days=2, customers_per_day=5) as account:
        run(lake, account)
        account.clock.advance(40 * DAY)
        settings = settings_for(lake, account)
        with storage_of(settings) as storage:
            found = forecast(storage, settings, Request(entities=("events",), days=1), account.clock())
    assert found.relist is not None
    assert {each.entity for each in found.entities if each.windows} == {*ENTITIES}


def test_a_plan_reads_only(tmp_path: Path) -> None:
    """Not one byte of the lake's folder changes."""
    lake = tmp_path / "lake"
    with account_of(days=2, customers_per_day=5) as account:
        run(lake, account)
    before = files_of(lake)
    printed = command_in(tmp_path).ok("plan", "--days", "3", "--lake", str(lake)).stdout
    assert files_of(lake) == before
    assert "calls to list" in printed
