from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.senders import kept, kill_loop, run, start
from payments_pipeline.maintenance import verify_lake
from payments_pipeline.pipeline import opened
from payments_pipeline.storage import LocalStorage
from payments_pipeline.webhooks.journal import Journal
from payments_pipeline.webhooks.roll import roll
from tests.lakes import Clock, open_small_lake


def check(lake: Path, acknowledged: set[str]) -> None:
    """Nothing that was acknowledged is lost, nothing is doubled or torn; a roll takes all of it along."""
    before = kept(lake)
    assert len(before) == len(set(before))
    assert acknowledged <= set(before)
    with open_small_lake(lake, clock=Clock()) as opened_lake:
        with opened(opened_lake, "first") as started:
            parts = roll(opened_lake, started.context, started.lease)
        assert sum(part.rows for part in parts) == len(before)
        assert verify_lake(opened_lake) >= len(parts)
    assert sorted(kept(lake)) == sorted(before)
    storage = LocalStorage(lake)
    assert len(Journal(storage, Clock()).seen) == len(before)


def test_w1_nothing_acknowledged_is_lost_by_a_kill(tmp_path: Path) -> None:
    """Three receivers are killed under 32 connections, the last is asked for the rest."""
    lake = tmp_path / "lake"
    acknowledged = kill_loop(lake, kills=3, least=200)
    process, port = start(lake)
    try:
        sent = run(port, "last", connections=8, seconds=0.5)
    finally:
        process.kill()
        process.communicate()
    assert len(acknowledged) >= 600
    assert sent.acknowledged
    check(lake, acknowledged | set(sent.acknowledged))


@pytest.mark.nightly
def test_w1_nothing_acknowledged_is_lost_by_thirty_kills(tmp_path: Path) -> None:
    """200,000 acknowledged events and 30 kills: none is lost."""
    acknowledged = kill_loop(tmp_path / "lake", kills=30, least=6_700)
    assert len(acknowledged) >= 200_000
    check(tmp_path / "lake", acknowledged)
