"""The state machine: any history of changes, runs and failures, and what must hold after it."""

from __future__ import annotations

import shutil
import tempfile
from datetime import date
from pathlib import Path
from typing import ClassVar

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from payments_pipeline.entities import ENTITIES
from payments_pipeline.errors import CorruptObject, QualityError, SourceError, StorageError
from payments_pipeline.state.manifest import Manifest, Request
from tests.e2e.harness import digest_of
from tests.history.changes import CHANGES
from tests.history.checks import (
    Watch,
    bookkeeping_faults,
    disagreements,
    rebuilt_differences,
    state_files,
    verified,
)
from tests.history.mirror import Mirror
from tests.history.storage import Killed, Trouble
from tests.history.subject import DAY, EVERYTHING, QUIET, Circumstances, Stage, Subject, subject

HOUR = 3600
LEASE_SECONDS = 61

STARTS = [
    date(2026, 3, 27),  # clocks go forward in Europe
    date(2026, 10, 24),  # and back
    date(2025, 12, 30),  # the year ends
    date(2028, 2, 27),  # a leap day
]
PAUSES = [0, 1, 59, HOUR, 7 * HOUR, DAY - 1, DAY, 3 * DAY, 12 * DAY, 26 * DAY, 31 * DAY, 45 * DAY]

changes = st.lists(st.tuples(st.sampled_from(sorted(CHANGES)), st.integers(0, 9999)), min_size=1, max_size=6)
troubles = st.builds(
    Trouble,
    at=st.one_of(st.integers(1, 25), st.integers(1, 160)),
    kind=st.sampled_from(["killed before", "killed after", "fails"]),
    lasting=st.booleans(),
)
circumstances = st.builds(
    Circumstances,
    page_size=st.sampled_from([100, 1, 2, 7, 33]),
    safety_seconds=st.sampled_from([3600, 0, 1, 90_000]),
    unsteady=st.booleans(),
    outage=st.one_of(st.none(), st.integers(1, 80)),
    trouble=st.one_of(st.none(), troubles),
    upsets=st.one_of(st.just([]), changes),
    upset_every=st.integers(1, 9),
)


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, int, int, frozenset[str]]:
    """How to ask: kind, days back from now to its start, length in hours, and of which entities (none: all)."""
    kind = draw(st.sampled_from(["days", "window", "backfill"]))
    back = draw(st.sampled_from([1, 2, 5, 40]))
    hours = draw(st.sampled_from([1, 24, 60, 24 * 50]))
    some = draw(st.one_of(st.just(frozenset()), st.frozensets(st.sampled_from(sorted(ENTITIES)), max_size=3)))
    return kind, back, hours, some


class History(RuleBasedStateMachine):
    """An account's life and a lake's. `stage` and `folder` are set by the test that runs it.

    With a `bucket` (an `s3://` URL) each lake is below it. `digests` are those of the settled lakes, in their order.
    """

    stage: Stage
    url: str
    folder: Path
    bucket: str | None = None
    digests: ClassVar[list[str]] = []

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(dir=self.folder))
        self.subject: Subject | None = None
        self.damaged: frozenset[str] = frozenset()
        self.open_runs: dict[str, tuple[str, Request, bool]] = {}
        self.unsettled = 0

    @initialize(start=st.sampled_from(STARTS), seed=st.integers(0, 999), born=changes)
    def opens(self, start: date, seed: int, born: list[tuple[str, int]]) -> None:
        """An account opens and does its first business."""
        self.subject = subject(self.root / "lake", self.stage, self.url, start=start, seed=seed)
        if self.bucket is not None:
            self.subject.mirror = Mirror(f"{self.bucket}/{self.root.name}", self.root / "lake")
        self.watch = Watch(self.root / "lake")
        self.account.change(*born)

    @property
    def account(self) -> Subject:
        """The account and its lake."""
        assert self.subject is not None
        return self.subject

    @rule(seconds=st.sampled_from(PAUSES), changes=changes)
    def time_goes_by(self, seconds: int, changes: list[tuple[str, int]]) -> None:
        """Time passes (or none), and then several things happen in the same second."""
        self.account.wait(seconds)
        self.account.change(*changes)

    @rule(asked=requests(), under=circumstances, publish=st.booleans())
    def runs_somehow(
        self, asked: tuple[str, int, int, frozenset[str]], under: Circumstances, publish: bool
    ) -> None:
        """A run of any kind, in any weather."""
        self.attempt(self._request(asked), under, publish=publish)

    @rule(under=circumstances)
    def runs_for_everything_in_bad_weather(self, under: Circumstances) -> None:
        """The daily run, in any weather."""
        self.attempt(EVERYTHING, under, publish=True)

    @precondition(lambda self: self.open_runs)
    @rule(under=st.one_of(st.just(QUIET), circumstances), which=st.integers(0, 9))
    def continues_under_the_same_id(self, under: Circumstances, which: int) -> None:
        """Any run that was stopped is started again under its RUN_ID."""
        run_id, request, publish = [*self.open_runs.values()][which % len(self.open_runs)]
        self.attempt(request, under, publish=publish, run_id=run_id)

    @rule(trouble=troubles)
    def rebuilds_with_trouble(self, trouble: Trouble) -> None:
        """A rebuild that may be interrupted."""
        if not (self.account.root / "_state/lake.json").exists():
            return
        try:
            self.account.rebuild(trouble)
        except (Killed, StorageError) as stopped:
            note(f"  rebuild stopped: {stopped!r}")
            self.account.wait(LEASE_SECONDS)
        else:
            self.damaged = frozenset()

    @rule(aim=st.integers(0, 999))
    def loses_a_state_file(self, aim: int) -> None:
        """A coverage file, a list of partitions or the head is lost."""
        files = state_files(self.account)
        if files:
            note(f"  lost {files[aim % len(files)].name}")
            files[aim % len(files)].unlink()

    @rule(aim=st.integers(0, 999))
    def damages_a_published_file(self, aim: int) -> None:
        """A bit of a published file flips; the next run must say so, and a rebuild mend it."""
        files = sorted(self.account.root.glob("silver/*/*/*/data.parquet")) + sorted(
            self.account.root.glob("gold/*/*/data.parquet")
        )
        if not files or self.damaged:
            return
        path = files[aim % len(files)]
        data = bytearray(path.read_bytes())
        data[aim % len(data)] ^= 1
        path.write_bytes(data)
        self.damaged = frozenset({path.relative_to(self.account.root).as_posix()})
        note(f"  damaged {path}")

    @precondition(lambda self: self.unsettled >= 3)
    @rule()
    def settles(self) -> None:
        """The account keeps still, a quiet run is asked for everything: the lake is the truth, and proves it."""
        self.account.wait(LEASE_SECONDS)
        if self.damaged:
            self._mend()
        manifest = self.account.run()
        assert disagreements(self.account) == []
        assert bookkeeping_faults(self.account, manifest) == []
        assert rebuilt_differences(self.account, manifest) == []
        assert verified(self.account) > 0
        self.digests.append(digest_of(manifest))
        self.unsettled = 0

    @invariant()
    def is_sound(self) -> None:
        """At any time: bronze as committed, watermarks never back, every published file whole."""
        if self.subject is not None:
            assert self.watch.faults(damaged=self.damaged) == []

    def teardown(self) -> None:
        """However the history went, it ends with a settled lake."""
        try:
            if self.subject is not None:
                self.settles()
        finally:
            shutil.rmtree(self.root, ignore_errors=True)

    def attempt(
        self, request: Request, under: Circumstances, *, publish: bool, run_id: str | None = None
    ) -> None:
        """A run that may be stopped by what its circumstances allow, and by nothing else."""
        run_id = run_id or self.account.new_id()
        self.unsettled += 1
        try:
            manifest = self.account.run(request, under, publish=publish, run_id=run_id)
        except (Killed, StorageError, SourceError, QualityError) as stopped:
            note(f"  {run_id} stopped: {stopped!r}")
            self._check_excuse(stopped, under)
            self.open_runs[run_id] = (run_id, request, publish)
            self.account.wait(LEASE_SECONDS)
        else:
            self.open_runs.pop(run_id, None)
            note(f"  {run_id}: {_told(manifest)}")

    def _check_excuse(self, stopped: BaseException, under: Circumstances) -> None:
        if isinstance(stopped, CorruptObject):
            assert self.damaged, stopped
        elif isinstance(stopped, SourceError):
            assert under.outage or under.unsteady, stopped
        elif not isinstance(stopped, QualityError):
            assert under.trouble, stopped

    def _mend(self) -> None:
        """What is damaged is reported by name, never served; the rebuild that the message names mends it.

        A run says so if it has to read it, `verify` in any case. Unless an interrupted rebuild, which the next
        run finishes, has mended it already.
        """
        try:
            self.account.run()
            verified(self.account)
        except CorruptObject as error:
            assert any(key in str(error) for key in self.damaged), error  # noqa: PT017 - it need not be raised
            self.account.rebuild()
        assert self.watch.faults() == []
        self.damaged = frozenset()

    def _request(self, asked: tuple[str, int, int, frozenset[str]]) -> Request:
        kind, back, hours, some = asked
        entities = tuple(name for name in ENTITIES if not some or name in some)
        if kind == "days":
            return Request(entities=entities, days=back)
        start = self.account.clock() - back * DAY
        return Request(entities=entities, start=start, end=start + hours * HOUR, backfill=kind == "backfill")


def _told(manifest: Manifest) -> str:
    parts = manifest.extract.parts
    relisted = f", relisted: {manifest.extract.relisted}" if manifest.extract.relisted else ""
    return f"{manifest.outcome}, {sum(part.rows for part in parts)} records in {len(parts)} parts{relisted}"


def machine(folder: Path, stage: Stage, url: str, *, bucket: str | None = None) -> type[History]:
    """The machine as a class of its own, bound to a server and a folder, or to a bucket beside the folder."""
    bound = {"folder": folder, "stage": stage, "url": url, "bucket": bucket, "digests": []}
    return type("History", (History,), bound)
