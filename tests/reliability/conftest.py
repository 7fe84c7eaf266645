"""A lake with a day of news waiting for it, and processes that may die while they bring it in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from mock_api.faults import Poison, Rule, Script
from tests.e2e.harness import DAY, Account, account_of
from tests.reliability.child import Job
from tests.reliability.processes import Processes, processes_in

STEADY: Mapping[str, object] = {"environ": {"MAX_CONNECTIONS": "1"}, "ttl": 86_400.0}
"""A job that passes the same points every time: it fetches one thing after the other and never renews its lease."""


@dataclass(frozen=True, slots=True)
class Scene:
    """An account, a lake that holds its first days (not to be written to), and the digest once it holds all."""

    account: Account
    base: Path
    truth: str
    points: Mapping[str, int]
    processes: Processes

    def job(self, lake: Path, **changes: object) -> Job:
        """A run over `lake` at the account's present second."""
        job = Job(lake=str(lake), url=self.account.url, now=self.account.clock())
        return replace(job, **changes)  # type: ignore[arg-type]  # fields by name

    def copy(self, lake: Path) -> Path:
        """The test's own copy of the lake."""
        shutil.copytree(self.base, lake)
        return lake


@pytest.fixture(scope="session")
def processes(scratch: Path) -> Iterator[Processes]:
    """Processes that cost only their own work."""
    with processes_in(scratch) as pool:
        yield pool


@pytest.fixture(scope="session")
def scene(scratch: Path, processes: Processes) -> Iterator[Scene]:
    """Two days of a small business in the lake, half a day of news; one charge of every page cannot be read."""
    with account_of(days=2.0, customers_per_day=2) as account:
        yield _scene(account, scratch / "scene", processes, news=0.5)


@pytest.fixture(scope="session")
def small_scene(scratch: Path, processes: Processes) -> Iterator[Scene]:
    """A day of a very small one, and a few hours of news: for those who must do every single call of a run."""
    with account_of(days=1.0, customers_per_day=1) as account:
        yield _scene(account, scratch / "small-scene", processes, news=0.25)


def _scene(account: Account, folder: Path, processes: Processes, *, news: float) -> Scene:
    """The account's lake, and the account so many days later."""
    account.faults.replace(Script((Rule(Poison(), path="/v1/charges"),)))
    base = folder / "base"
    first = Job(lake=str(base), url=account.url, now=account.clock(), run_id="first")
    processes.run(first).ok()
    _litter(base)
    account.clock.advance(int(news * DAY))
    made = Scene(account, base, "", {}, processes)
    whole = made.copy(folder / "whole")
    ended = processes.run(made.job(whole, run_id="second", step="settle", **STEADY))
    points = {name: count for name, count in ended.points.items() if name != "*"}
    return replace(made, truth=ended.ok(), points=points)


def _litter(lake: Path) -> None:
    """What killed runs may leave behind, for `gc` to remove."""
    for key in (
        "bronze/source=stripe/entity=charges/dt=2026-09-03/run_id=first/part-000009-00001.jsonl",
        "quarantine/source=stripe/entity=charges/dt=2026-09-03/run_id=first/part-000009-00001.jsonl",
        "_staging/run_id=lost/000009-gold.fct_refunds-2026-09-01.parquet",
        "gold/model=fct_refunds/dt=1999-01-01/data.parquet",
        "silver/source=stripe/entity=charges/dt=2026-09-01/.tmp-0123456789abcdef",
    ):
        path = lake / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"PAR1 left over PAR1" if path.suffix == ".parquet" else b"left over\n")


Figure = Callable[[str, object], None]


@pytest.fixture(scope="session")
def figure() -> Figure:
    """Notes a figure: one line `name value`, in the file that RELIABILITY_FIGURES names if it names one."""
    target = os.environ.get("RELIABILITY_FIGURES")

    def note(name: str, value: object) -> None:
        if target:
            with Path(target).open("a") as stream:
                stream.write(f"{name} {value}\n")

    return note
