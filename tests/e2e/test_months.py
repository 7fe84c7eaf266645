"""What is built anew in groups of months is what is built at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from payments_pipeline import build
from payments_pipeline.transform import duckdb_engine
from tests.e2e.harness import account_of, contents, digest_of, rebuild, run
from tests.lakes import CREATED, DAY, Clock, charge, land, open_small_lake, page, publish, refund, stage

STUB = b'{"id": "ch_stub0000", "object": "charge", "deleted": true}'
GONE = b'{"id": "ch_00000040", "object": "charge", "deleted": true}'


@pytest.fixture
def by_months(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every month is a group of its own, in gold too, few ids are looked through together, and bronze is read into a file."""
    monkeypatch.setattr(build, "_OBJECTS_AT_ONCE", 1)
    monkeypatch.setattr(duckdb_engine, "_ROWS_SORTED", 1)
    monkeypatch.setattr(duckdb_engine, "_IDS_AT_ONCE", 3)
    monkeypatch.setattr(duckdb_engine, "_BYTES_IN_MEMORY", 1)


@pytest.mark.usefixtures("by_months")
def test_a_rebuild_by_months_finds_nothing_to_change(tmp_path: Path) -> None:
    """An account of two months, with all its children and links: every digest and every link is as it was."""
    lake = tmp_path / "lake"
    with account_of(days=40, customers_per_day=1) as account:
        first = run(lake, account)
        before = contents(lake)
        again = rebuild(lake, account)
    assert again.publish is not None
    assert again.transform is not None
    assert len({entry.dt[:7] for entry in (first.transform or again.transform).staged}) > 1
    assert (again.publish.written, again.publish.removed) == (0, 0)
    assert (digest_of(again), contents(lake)) == (digest_of(first), before)
    kept = {name: counts.after for name, counts in again.transform.counts.items()}
    assert kept == {
        name: counts.after for name, counts in (first.transform or again.transform).counts.items()
    }


def _published(root: Path) -> tuple[str, dict[str, str]]:
    """The digest and content after two loads and a rebuild with an object without a date, a deletion and a new version."""
    with open_small_lake(root, clock=Clock()) as lake:
        land(
            lake,
            "first",
            [page([charge(n) for n in (0, 40, 41, 75)], seen=10), page([STUB], seen=11, source="absent")],
        )
        publish(lake, "first")
        land(
            lake, "second", [page([charge(41, amount=7), charge(100)], seen=20), page([refund(40)], seen=21)]
        )
        land(lake, "third", [page([GONE], seen=30, source="absent")])
        publish(lake, "third")
        land(lake, "fourth", [page([charge(90, id="ch_stub0000", created=CREATED + 90 * DAY)], seen=40)])
        manifest = stage(lake, "fourth", rebuild=True).manifest
        assert manifest.transform is not None
        assert ("silver.charges", "1970-01-01") in manifest.transform.removed
        published = publish(lake, "fourth")
        return digest_of(published), contents(root)


def test_groups_of_months_make_no_difference(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """What has no date, several versions or was deleted is where it is without groups, and stays gone where it was."""
    at_once = _published(tmp_path / "at-once")
    request.getfixturevalue("by_months")
    assert _published(tmp_path / "by-months") == at_once
