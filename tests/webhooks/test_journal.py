from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from payments_pipeline import layout
from payments_pipeline.errors import StorageError
from payments_pipeline.lake import Lake
from payments_pipeline.storage import LocalStorage, MemoryStorage, Storage
from payments_pipeline.webhooks.journal import Journal
from tests.lakes import Clock, open_small_lake
from tests.webhooks.events import kept, lines, rolled, screened


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    """A lake on disk that no run has ever touched."""
    with open_small_lake(tmp_path / "lake", clock=Clock()) as made:
        yield made


@pytest.fixture(params=["local", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """A lake's storage, empty."""
    made: Storage = LocalStorage(tmp_path / "lake") if request.param == "local" else MemoryStorage()
    yield made
    made.close()


class Faulty:
    """A storage whose `create` fails when told: before anything was written, or after it was."""

    def __init__(self, storage: Storage, *, fails: Callable[[], str | None]) -> None:
        self._storage = storage
        self._fails = fails

    def __getattr__(self, name: str) -> object:
        return getattr(self._storage, name)

    @contextmanager
    def create(self, key: str) -> Iterator[BinaryIO]:
        """Create, or fail."""
        how = self._fails()
        if how == "before":
            raise StorageError("the disk is full")
        with self._storage.create(key) as stream:
            yield stream
        if how == "after":
            raise StorageError("the answer was lost")


def test_an_event_is_stored_once(storage: Storage) -> None:
    """Duplicates in a group, in a later group and after a restart are told, and stored no more."""
    journal = Journal(storage, Clock())
    assert journal.keep(screened(1, 2, 1)) == ["stored", "stored", "duplicate"]
    assert journal.keep(screened(2, 3)) == ["duplicate", "stored"]
    assert Journal(storage, Clock()).keep(screened(1, 2, 3, 4)) == [*["duplicate"] * 3, "stored"]
    assert kept(storage) == lines(1, 2, 3, 4)


def test_w10_the_same_id_with_another_content_is_a_conflict(storage: Storage) -> None:
    """What was kept first stays, also after a restart; a count of pending webhooks is no content."""
    journal = Journal(storage, Clock())
    journal.keep(screened(1))
    assert journal.keep(screened(1, data={"object": {"id": "ch_9"}})) == ["conflict"]
    assert Journal(storage, Clock()).keep(screened(1, data=None)) == ["conflict"]
    assert journal.keep(screened(1, pending_webhooks=3)) == ["duplicate"]
    assert kept(storage) == lines(1)


def test_d8_receivers_side_by_side_store_each_event_once(storage: Storage) -> None:
    """Four receivers get the same events in different orders and groups: each event is stored by exactly one of them."""
    numbers = list(range(200))
    found: list[str] = []

    def receive(seed: int) -> None:
        dice, mine = random.Random(seed), numbers.copy()
        dice.shuffle(mine)
        journal = Journal(storage, Clock())
        while mine:
            group = [mine.pop() for _ in range(min(len(mine), dice.randint(1, 20)))]
            found.extend(journal.keep(screened(*group)))

    threads = [threading.Thread(target=receive, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept(storage) == lines(*numbers)
    assert found.count("stored") == 200
    assert found.count("duplicate") == 600


def test_a_new_day_is_a_new_folder(storage: Storage) -> None:
    """Events lie under the date of their receipt, and a duplicate of yesterday is still one."""
    clock = Clock()
    first, second = Journal(storage, clock), Journal(storage, clock)
    first.keep(screened(1))
    clock.forward(86_400)
    assert first.keep(screened(1, 2)) == ["duplicate", "stored"]
    assert second.keep(screened(2, 3)) == ["duplicate", "stored"]
    dates = {
        key.removeprefix(layout.WEBHOOKS)[:13] for key in (info.key for info in storage.list(layout.WEBHOOKS))
    }
    assert dates == {"dt=2026-01-10", "dt=2026-01-11"}
    clock.forward(-86_400)
    assert second.keep(screened(4)) == ["stored"]
    assert kept(storage) == lines(1, 2, 3, 4)


def test_beyond_a_month_and_a_roll_an_event_is_still_known(lake: Lake) -> None:
    """A hundred days and runs later a duplicate is a duplicate, for old receivers and new ones."""
    clock = Clock()
    old = Journal(lake.storage, clock)
    for number in range(5):
        assert old.keep(screened(number)) == ["stored"]
        rolled(lake, f"run-{number}")
        clock.forward(20 * 86_400)
    for journal in (old, Journal(lake.storage, clock)):
        assert journal.keep(screened(*range(5))) == ["duplicate"] * 5
    assert kept(lake.storage) == lines(*range(5))


@pytest.mark.parametrize("how", ["before", "after"])
def test_w7_a_failed_write_acknowledges_nothing_and_loses_nothing(storage: Storage, how: str) -> None:
    """Whether a failure struck before or after the write: the group raises, and comes again as new or as duplicate."""
    failures: list[str] = []
    journal = Journal(Faulty(storage, fails=lambda: failures.pop() if failures else None), Clock())  # type: ignore[arg-type]  # stands in for one
    journal.keep(screened(1))
    failures.append(how)
    with pytest.raises(StorageError):
        journal.keep(screened(1, 2, 3))
    again = {"before": "stored", "after": "duplicate"}[how]
    assert journal.keep(screened(1, 2, 3)) == ["duplicate", again, again]
    failures.append(how)
    with pytest.raises(StorageError):
        journal.keep(screened(4))
    assert Journal(storage, Clock()).keep(screened(1, 2, 3, 4)) == [*["duplicate"] * 3, again]
    assert journal.keep(screened(1, 2, 3, 4, 5)) == [*["duplicate"] * 4, "stored"]
    assert kept(storage) == lines(1, 2, 3, 4, 5)


def test_what_another_has_kept_is_made_durable_before_it_is_acknowledged(storage: Storage) -> None:
    """A receiver that learns of another's part creates the next object before it says `duplicate`.

    The other may have been killed between writing its part and making it durable.
    """
    first, second = Journal(storage, Clock()), Journal(storage, Clock())
    first.keep(screened(1))
    before = len(list(storage.list(layout.WEBHOOKS)))
    assert second.keep(screened(1)) == ["duplicate"]
    assert len(list(storage.list(layout.WEBHOOKS))) == before + 1
    assert second.keep(screened(1)) == ["duplicate"]
    assert len(list(storage.list(layout.WEBHOOKS))) == before + 1
    restarted = Journal(storage, Clock())
    assert restarted.keep(screened(1)) == ["duplicate"]
    assert kept(storage) == lines(1)
