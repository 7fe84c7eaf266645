"""A process with two receivers and runs on one lake, every call to the disk written down; one call may go wrong."""

from __future__ import annotations

import random
import sys
from pathlib import Path

from payments_pipeline.errors import LeaseError, StorageError
from payments_pipeline.lake import Lake
from payments_pipeline.pipeline import opened
from payments_pipeline.webhooks.journal import Journal
from payments_pipeline.webhooks.roll import roll
from tests.lakes import Clock, open_small_lake
from tests.reliability.disk import Disk, Fault, install
from tests.webhooks.events import screened

EVENTS, STEPS = 40, 30


def receive(disk: Disk, journal: Journal, numbers: list[int]) -> None:
    """Keep some events; write down those that are acknowledged."""
    try:
        journal.keep(screened(*numbers))
    except StorageError:
        return
    disk.note("acknowledged", *(str(number) for number in numbers))


def scenario(disk: Disk, lake: Lake, dice: random.Random) -> None:
    """Two receivers take turns with runs that roll the journal; now and then one is started anew."""
    journals = [Journal(lake.storage, lake.clock) for _ in range(2)]
    for step in range(STEPS):
        chosen = dice.randrange(2)
        numbers = [dice.randrange(EVENTS) for _ in range(dice.randint(1, 4))]
        receive(disk, journals[chosen], numbers)
        receive(disk, journals[1 - chosen], numbers)  # the same delivery comes to the other one too
        try:
            if dice.random() < 0.1:
                journals[chosen] = Journal(lake.storage, lake.clock)
            if dice.random() < 0.2:
                with opened(lake, f"run-{step}") as run:
                    roll(lake, run.context, run.lease)
        except (StorageError, LeaseError):  # a lease that could not be given back is held until it expires
            continue


def main(folder: Path, seed: int) -> None:
    """Carry the scenario out on `folder/lake`; the log is in `folder/log`."""
    dice = random.Random(seed)
    with open_small_lake(folder / "lake", clock=Clock()) as lake:
        disk = Disk(folder / "lake", Fault("*", "EIO", dice.randint(50, 900)), folder / "log")
        install(disk)
        scenario(disk, lake, dice)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
