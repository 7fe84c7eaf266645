from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from payments_pipeline.entities import ENTITIES
from payments_pipeline.state.manifest import Request
from tests.e2e.agreement import stale
from tests.e2e.harness import (
    MIDNIGHT,
    WHOLE,
    Account,
    account_of,
    contents,
    digest_of,
    files_of,
    rebuild,
    run,
)

BOOKKEEPING = {"_state/lease.json", "_state/lake.json"}


@contextmanager
def _new_lake(parent: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        yield Path(folder) / "lake"


SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


def _check_life(scratch: Path, moments: Sequence[int], days: int) -> None:
    """Run at each hour of an account's life; what the lake holds must be the truth of now."""
    history = {}
    with _new_lake(scratch) as lake, account_of(days=0.5, customers_per_day=3, seed=days) as account:
        for hour in moments:
            account.clock.set(MIDNIGHT + hour * 3600 + 1234)
            history[account.clock()] = account.truth()
            manifest = run(lake, account, Request(entities=tuple(ENTITIES), days=days))
        rebuilt = rebuild(lake, account)
        assert stale(lake, history) == []
        assert digest_of(rebuilt) == digest_of(manifest)


MOMENTS = st.lists(st.integers(12, 8 * 24), min_size=2, max_size=3, unique=True).map(sorted)


@settings(max_examples=3, derandomize=True, deadline=None, database=None, suppress_health_check=SLOW)
@given(moments=MOMENTS, days=st.integers(1, 4))
def test_what_the_lake_holds_is_the_truth_of_now(scratch: Path, moments: list[int], days: int) -> None:
    """Runs at any moments, with any `--days`: no row shows a state that its object is no longer in, and a rebuild agrees."""
    _check_life(scratch, moments, days)


@pytest.mark.nightly
@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
@given(moments=MOMENTS, days=st.integers(1, 4))
def test_what_the_lake_holds_is_the_truth_of_now_at_length(
    scratch: Path, moments: list[int], days: int
) -> None:
    """The same for many more lives, new ones every night."""
    _check_life(scratch, moments, days)


def test_a_rerun_publishes_nothing(small: Account, loaded: Path, copy: Path) -> None:
    """A second run over the same range, under an id of its own, changes no published byte."""
    again = run(copy, small)
    assert again.publish is not None
    assert (again.publish.written, again.publish.removed) == (0, 0)
    assert files_of(copy, "silver", "gold") == files_of(loaded, "silver", "gold")
    assert contents(copy) == contents(loaded)


def test_replaying_a_run_id_changes_no_byte(small: Account, loaded: Path, copy: Path) -> None:
    """A run under a RUN_ID that has done the same before leaves every object as it is, but for the lease and the head."""
    run(copy, small, environ={"RUN_ID": "first"})
    before, after = files_of(loaded), files_of(copy)
    assert before.keys() == after.keys()
    assert {key for key in before if before[key] != after[key]} <= BOOKKEEPING


def test_the_same_run_gives_the_same_bytes_of_parquet(small: Account, loaded: Path, lake: Path) -> None:
    """Two lakes filled by the same run hold the same published files, byte for byte."""
    run(lake, small, WHOLE)
    assert files_of(lake, "silver", "gold") == files_of(loaded, "silver", "gold")
