from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from payments_pipeline import layout
from payments_pipeline.errors import CorruptObject, LeaseError, StorageError
from payments_pipeline.lake import Lake
from payments_pipeline.maintenance import collect_garbage, verify_lake
from payments_pipeline.pipeline import opened
from payments_pipeline.storage import Storage
from payments_pipeline.webhooks.books import (
    journal_damage,
    read_log,
    read_part,
    standing,
    unrolled,
)
from payments_pipeline.webhooks.journal import Journal
from payments_pipeline.webhooks.roll import roll, settle
from tests.lakes import Clock, open_small_lake
from tests.webhooks.events import kept, lines, rolled, screened


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    """A lake on disk that no run has ever touched."""
    with open_small_lake(tmp_path / "lake", clock=Clock()) as made:
        yield made


def test_a_roll_makes_one_part_of_a_book(lake: Lake) -> None:
    """Its lines are the book's, in order; the book is gone, and `verify` and `gc` know the part."""
    journal = Journal(lake.storage, Clock())
    for number in range(5):
        journal.keep(screened(number))
    with opened(lake, "first") as run:
        [part] = roll(lake, run.context, run.lease)
    assert part.rows == 5
    assert lake.storage.read(part.key) == b"".join(event.line for event in screened(*range(5)))
    assert part.key.startswith("bronze/source=stripe/entity=webhook_events/dt=2026-01-10/run_id=first/part-")
    assert [info.key for info in lake.storage.list(layout.WEBHOOKS)] == [part.key]
    journal.keep(screened(9))
    assert verify_lake(lake) >= 3
    assert collect_garbage(lake, min_age_seconds=-1e9, dry_run=False) == []
    assert kept(lake.storage) == lines(*range(5), 9)


def test_events_wait_until_a_run_has_dealt_with_them(lake: Lake) -> None:
    """A run that dies after the roll leaves its events to the next; what is settled does not come again."""
    Journal(lake.storage, Clock()).keep(screened(1, 2))
    with opened(lake, "dies") as run:
        first = roll(lake, run.context, run.lease)
    Journal(lake.storage, Clock()).keep(screened(3))
    found = standing(lake.storage)
    assert found is not None
    assert (found.events, found.waiting) == (3, 3)
    with opened(lake, "lives") as run:
        both = roll(lake, run.context, run.lease)
        assert [part.rows for part in both] == [2, 1]
        assert both[0] == first[0]
        settle(lake.storage, both)
        assert roll(lake, run.context, run.lease) == ()
    found = standing(lake.storage)
    assert found is not None
    assert (found.events, found.waiting) == (3, 0)


def test_a_lake_without_webhooks_gets_no_file_of_theirs(lake: Lake) -> None:
    """A run that finds no events writes nothing about them."""
    rolled(lake, "first")
    assert read_log(lake.storage)[0] is None
    assert standing(lake.storage) is None


class Dies(BaseException):
    """The process is killed."""


class Mortal:
    """A storage whose process dies before its n-th change."""

    def __init__(self, storage: Storage, until: int) -> None:
        self._storage = storage
        self.left = until

    def __getattr__(self, name: str) -> object:
        found = getattr(self._storage, name)
        return self._counted(found) if name in {"put", "swap", "delete"} else found

    def _counted(self, change: Callable[..., object]) -> Callable[..., object]:
        def counted(*arguments: object, **named: object) -> object:
            self._die()
            return change(*arguments, **named)

        return counted

    @contextmanager
    def create(self, key: str) -> Iterator[BinaryIO]:
        """Create, if there is life left."""
        with self._storage.create(key) as stream:
            yield stream
            self._die()

    def _die(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Dies


@pytest.mark.parametrize("until", range(1, 12))
def test_w1_a_roll_killed_at_any_write_loses_nothing_and_doubles_nothing(tmp_path: Path, until: int) -> None:
    """Receivers go on, the next roll completes it: every event is in exactly one line that counts."""
    clock = Clock()
    with open_small_lake(tmp_path / "lake", clock=clock) as lake:
        journal = Journal(lake.storage, clock)
        journal.keep(screened(1, 2))
        clock.forward(86_400)
        journal.keep(screened(3))
        with opened(lake, "dies") as run:
            mortal = Mortal(lake.storage, until)
            dying = Lake(mortal, lake.engine, lake.models, lake.verified, clock, lake.reporter)  # type: ignore[arg-type]  # stands in for one
            try:
                roll(dying, run.context, run.lease)
            except Dies:
                pass
            else:
                assert until > 8
        assert journal.keep(screened(1, 3, 4)) == ["duplicate", "duplicate", "stored"]
        with opened(lake, "lives") as run:
            waiting = roll(lake, run.context, run.lease)
        assert sorted(line for part in waiting for line in read_part(lake.storage, part.key).lines) == lines(
            1, 2, 3, 4
        )
        assert unrolled(lake.storage, read_log(lake.storage)[0] or pytest.fail("no log")) == {}
        assert kept(lake.storage) == lines(1, 2, 3, 4)
        assert Journal(lake.storage, clock).keep(screened(1, 2, 3, 4)) == ["duplicate"] * 4


@pytest.mark.parametrize("ended", ["it failed", "it was killed"])
def test_w1_a_receiver_that_ended_a_book_and_no_more_loses_nothing(lake: Lake, ended: str) -> None:
    """A book was closed and the next not opened: what is acknowledged then, by that receiver or by a new one, is rolled."""
    Journal(lake.storage, Clock()).keep(screened(1))
    closing = Journal(Mortal(lake.storage, 2), Clock())  # type: ignore[arg-type]  # stands in for one
    with pytest.raises(Dies):
        closing.keep(screened(1))
    journal = closing if ended == "it failed" else Journal(lake.storage, Clock())
    assert journal.keep(screened(1, 2)) == ["duplicate", "stored"]
    rolled(lake, "first")
    assert kept(lake.storage) == lines(1, 2)


def test_a_receiver_that_slept_through_a_roll_loses_nothing(lake: Lake) -> None:
    """What it writes into a book that was rolled and removed counts for nothing, and is written again."""
    clock = Clock()
    sleeper, other = Journal(lake.storage, clock), Journal(lake.storage, clock)
    other.keep(screened(1))
    other.keep(screened(2))
    rolled(lake, "first")
    assert sleeper.keep(screened(1, 2, 3)) == ["duplicate", "duplicate", "stored"]
    rolled(lake, "second")
    assert kept(lake.storage) == lines(1, 2, 3)


def test_rolls_and_receivers_together(lake: Lake) -> None:
    """Three receivers go on while a run rolls again and again: every event is stored once."""
    failures: list[BaseException] = []

    def receive(seed: int) -> None:
        try:
            journal, dice = Journal(lake.storage, Clock()), random.Random(seed)
            for _ in range(60):
                journal.keep(screened(*(dice.randrange(150) for _ in range(5))))
        except StorageError as error:
            failures.append(error)

    threads = [threading.Thread(target=receive, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    number = 0
    while any(thread.is_alive() for thread in threads):
        rolled(lake, f"run-{number}")
        number += 1
    for thread in threads:
        thread.join()
    rolled(lake, "last")
    assert failures == []
    found = kept(lake.storage)
    assert len(found) == len(set(found))
    assert set(found) <= set(lines(*range(150)))
    assert len(found) > 100


@pytest.mark.parametrize("damage", ["index lost", "index damaged", "log lost", "both lost"])
def test_lost_state_is_made_again(lake: Lake, damage: str) -> None:
    """Without the index or the log the journal still knows every event, and which ones wait."""
    journal = Journal(lake.storage, Clock())
    journal.keep(screened(1, 2))
    rolled(lake, "first")
    journal.keep(screened(3))
    with opened(lake, "dies") as run:
        roll(lake, run.context, run.lease)
    journal.keep(screened(4))
    [index] = [info.key for info in lake.storage.list(layout.WEBHOOK_INDEX)]
    if damage == "index damaged":
        lake.storage.put(index, bytes(24))
    elif damage != "log lost":
        lake.storage.delete(index)
    if damage in {"log lost", "both lost"}:
        lake.storage.delete(layout.WEBHOOK_LOG)
    assert Journal(lake.storage, Clock()).keep(screened(1, 2, 3, 4, 5)) == [*["duplicate"] * 4, "stored"]
    with opened(lake, "next") as run:
        waiting = roll(lake, run.context, run.lease)
    dealt = {line for part in waiting for line in read_part(lake.storage, part.key).lines}
    assert set(lines(3, 4, 5)) <= dealt
    assert kept(lake.storage) == lines(1, 2, 3, 4, 5)


def test_torn_and_foreign_lines_stop_no_run(lake: Lake) -> None:
    """Half a line, a flipped bit and foreign text go to quarantine as they are; the others are rolled."""
    journal = Journal(lake.storage, Clock())
    journal.keep(screened(1, 2, 3))
    [info] = lake.storage.list(layout.WEBHOOKS)
    first, second, third = lake.storage.read(info.key).splitlines(keepends=True)
    lake.storage.put(info.key, first + second.replace(b"100", b"101") + b"hello\n" + third[:100])
    assert [reason for _, reason in read_part(lake.storage, info.key).bad] == [
        "an event whose checksum does not match",
        "not a line of webhook_events",
        "not a line of webhook_events",
    ]
    assert journal_damage(lake.storage)[1] != []
    with pytest.raises(CorruptObject, match="checksum"):
        verify_lake(lake)
    rolled(lake, "first")
    assert kept(lake.storage) == lines(1)
    assert len(list(lake.storage.list(layout.QUARANTINE))) == 3
    verify_lake(lake)
    assert collect_garbage(lake, min_age_seconds=-1e9, dry_run=False) == []


def test_a_missing_part_is_named(lake: Lake) -> None:
    """Acknowledged events that somebody removed are noticed, by `verify` and by the next run."""
    journal = Journal(lake.storage, Clock())
    for number in range(3):
        journal.keep(screened(number))
    lake.storage.delete(layout.webhook_part("2026-01-10", 1, 2))
    for look in (
        lambda: verify_lake(lake),
        lambda: rolled(lake, "first"),
        lambda: Journal(lake.storage, Clock()),
    ):
        with pytest.raises(CorruptObject, match="lost a part"):
            look()


def test_an_overtaken_run_changes_nothing(tmp_path: Path) -> None:
    """A run that was paused before it committed its roll finds that another has rolled, and stops."""
    clock = Clock()
    with open_small_lake(tmp_path / "lake", clock=clock) as lake:
        Journal(lake.storage, clock).keep(screened(1))

        class Overtaken:
            """Lets another run roll just before the index is written."""

            def __getattr__(self, name: str) -> object:
                return getattr(lake.storage, name)

            def put(self, key: str, data: bytes) -> None:
                lake.storage.put(key, data)
                clock.forward(3600)
                with opened(lake, "newer") as run:
                    roll(lake, run.context, run.lease)

        slow = Lake(Overtaken(), lake.engine, lake.models, lake.verified, clock, lake.reporter)  # type: ignore[arg-type]  # stands in for one
        with pytest.raises(LeaseError), opened(lake, "older") as run:
            roll(slow, run.context, run.lease)
        log = read_log(lake.storage)[0]
        assert log is not None
        assert [part.rows for part in log.waiting] == [1]
        assert "run_id=newer" in log.waiting[0].key
        assert kept(lake.storage) == lines(1)
