"""The lake as a source of tables: of every object the newest state that is published, as it was received."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from payments_pipeline.lake import Lake
from payments_pipeline.oltp.from_lake import PublishedObjects
from tests.lakes import Clock, charge, land, open_small_lake, page, publish, published_files


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    """One charge, published."""
    with open_small_lake(tmp_path / "lake", clock=Clock()) as opened:
        land(opened, "first", [page([charge(1, metadata={"note": "first"})], seen=10)])
        publish(opened, "first")
        yield opened


def newest(lake: Lake) -> dict[str, Any]:
    """The state that counts of the only charge."""
    states = list(PublishedObjects(lake, ["charges"]).read("charges"))
    found: dict[str, Any] = json.loads(max(states, key=lambda each: (each.observed_at, each.position)).text)
    return found


def test_a_change_that_no_column_of_silver_tells_is_read(lake: Lake, tmp_path: Path) -> None:
    """Nothing that readers see of silver is written for it, and the state as received is the new one all the same."""
    before = published_files(tmp_path / "lake")
    land(lake, "second", [page([charge(1, metadata={"note": "second"})], seen=20)])
    publish(lake, "second")
    assert published_files(tmp_path / "lake") == before
    assert newest(lake)["metadata"] == {"note": "second"}


def test_what_is_not_published_yet_is_not_read(lake: Lake) -> None:
    """Bronze that waits for its build tells nothing of what readers are shown."""
    land(lake, "second", [page([charge(1, metadata={"note": "second"})], seen=20)])
    assert newest(lake)["metadata"] == {"note": "first"}


def test_what_the_build_would_not_take_is_not_read(lake: Lake) -> None:
    """A line that went to quarantine only when it was built is no state of the object."""
    twice = json.dumps(charge(1)).replace('"currency"', '"amount": 1, "currency"').encode()
    land(lake, "second", [page([twice, charge(2)], seen=20)])
    publish(lake, "second")
    states = list(PublishedObjects(lake, ["charges"]).read("charges"))
    assert sorted(json.loads(each.text)["id"] for each in states) == ["ch_00000001", "ch_00000002"]
    assert b'"note"' in next(each.text for each in states if b"ch_00000001" in each.text)
