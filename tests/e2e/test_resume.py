"""A run that was stopped goes on where it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from mock_api.faults import Answer, Rule, Script
from payments_pipeline.errors import SourceError
from payments_pipeline.state.coverage import read_coverage
from payments_pipeline.storage import LocalStorage
from tests.e2e.harness import Account, account_of, contents, run

EVENTS = "/v1/events"
ONE_BY_ONE = {"MAX_PAGE_SIZE": "1", "MAX_CONNECTIONS": "1"}


def calls_to_events(account: Account) -> int:
    """How often the events were asked for so far."""
    return int(account.faults.traffic.stats()["by_path"].get(EVENTS, 0))


def test_only_the_unfinished_part_is_read_again(folder: Path) -> None:
    """Lists are committed part by part, so that a long one does not begin anew, and nothing is lost between parts."""
    with account_of(days=1.7, customers_per_day=2) as account:
        whole = contents_after(folder / "whole", account)
        needed = calls_to_events(account)
        account.faults.replace(Script((Rule(Answer(401), path=EVENTS, nth=(needed - 10,)),)))
        with pytest.raises(SourceError):
            run(folder / "lake", account, environ=ONE_BY_ONE)
        covered = read_coverage(LocalStorage(folder / "lake"), ["events"])["events"].windows()
        assert covered
        assert covered[-1].end == account.clock()
        before = calls_to_events(account)
        assert contents_after(folder / "lake", account) == whole
        assert calls_to_events(account) - before < needed * 2 // 3


def contents_after(lake: Path, account: Account) -> dict[str, str]:
    """What a run without faults leaves."""
    run(lake, account, environ=ONE_BY_ONE | {"SAFETY_WINDOW_SECONDS": "0"})
    return contents(lake)
