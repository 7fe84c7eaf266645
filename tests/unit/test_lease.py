"""One writer per lake: who gets the lease, who takes it over, and who is kept from committing."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from payments_pipeline import layout
from payments_pipeline.errors import CorruptObject, LeaseError, ObjectMissing, StorageError, UsageError
from payments_pipeline.state.documents import load
from payments_pipeline.state.head import Head, RunLine, claim, commit, read_head
from payments_pipeline.state.lease import TTL_SECONDS, Holder, Lease, LeaseRecord
from payments_pipeline.state.manifest import (
    Manifest,
    Request,
    check_same_request,
    find_manifest,
    read_manifest,
    write_manifest,
)
from payments_pipeline.storage import MemoryStorage, Storage
from tests.lakes import Clock, dead_pid, lease


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


@pytest.fixture
def storage() -> Iterator[Storage]:
    """A lake in memory."""
    storage = MemoryStorage()
    yield storage
    storage.close()


def _record(storage: Storage) -> LeaseRecord:
    found = load(storage, layout.LEASE, LeaseRecord)[0]
    assert found is not None
    return found


def _left_behind(storage: Storage, clock: Clock, *, host: str = "host", pid: int | None = None) -> Lease:
    """A lease whose holder is gone without releasing it."""
    holder = Holder("gone", host, dead_pid() if pid is None else pid)
    left = Lease(storage, holder, clock, ttl=TTL_SECONDS)
    left.__enter__()
    left._stop.set()
    left._renewer.join()
    return left


def test_a_second_holder_is_told_who_has_it(storage: Storage, clock: Clock) -> None:
    """While one holds the lake, another is refused at once, by name, and changes nothing."""
    with lease(storage, clock, run_id="first"):
        before = storage.read(layout.LEASE)
        with pytest.raises(
            LeaseError, match=rf"run first \(host host, process {os.getpid()}\) holds.*Nothing"
        ):
            lease(storage, clock, run_id="second").__enter__()
        assert storage.read(layout.LEASE) == before


def test_a_released_lease_is_free_and_the_epoch_grows(storage: Storage, clock: Clock) -> None:
    """Every holder has a higher epoch than all before, also after an error in the block."""
    for epoch in (1, 2, 3):
        with lease(storage, clock) as held:
            assert held.epoch == epoch
            held.check()
        assert _record(storage).expires_at is None

    def fail() -> None:
        with lease(storage, clock):
            raise ValueError("the run failed")

    with pytest.raises(ValueError, match="the run failed"):
        fail()
    with lease(storage, clock) as held:
        assert held.epoch == 5


def test_one_of_many_gets_it(storage: Storage, clock: Clock) -> None:
    """Of runs that start at the same moment exactly one holds the lake, the others are told so."""
    barrier, outcomes = threading.Barrier(8), []
    release = threading.Event()

    def start(number: int) -> None:
        barrier.wait()
        try:
            with lease(storage, clock, run_id=f"run-{number}"):
                outcomes.append("held")
                release.wait(30)
        except LeaseError:
            outcomes.append("refused")
            if outcomes.count("refused") == 7:
                release.set()

    threads = [threading.Thread(target=start, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["held"] + ["refused"] * 7


def test_a_dead_holder_of_this_host_is_replaced_at_once(storage: Storage, clock: Clock) -> None:
    """Nobody waits for the expiry of a lease whose process is gone."""
    left = _left_behind(storage, clock)
    with lease(storage, clock) as held:
        assert held.epoch == left.epoch + 1


@pytest.mark.parametrize("where", [{"host": "elsewhere", "pid": 1}, {"host": "host", "pid": os.getpid()}])
def test_any_other_holder_is_replaced_when_its_lease_expires(
    storage: Storage, clock: Clock, where: dict[str, object]
) -> None:
    """A process that cannot be asked, or seems alive, keeps the lake until the expiry, not a second longer."""
    _left_behind(storage, clock, **where)  # type: ignore[arg-type]  # fields by name
    clock.forward(TTL_SECONDS - 1)
    with pytest.raises(LeaseError):
        lease(storage, clock).__enter__()
    clock.forward(1)
    with lease(storage, clock) as held:
        assert held.epoch == 2


def _wait_until(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


def _in_a_year() -> datetime:
    return datetime.now(UTC) + timedelta(days=365)


def test_a_lease_from_a_clock_far_ahead_ends_when_nobody_renews_it(storage: Storage, clock: Clock) -> None:
    """None lasts longer than its time to live, so that one that seems to is watched for as long, and then replaced."""
    holder = Holder("ahead", "elsewhere", 1)
    left = Lease(storage, holder, _in_a_year, ttl=TTL_SECONDS)
    left.__enter__()
    left._stop.set()
    left._renewer.join()
    with Lease(storage, Holder("run", "host", os.getpid()), clock, ttl=0.1) as held:
        assert held.epoch == left.epoch + 1
        commit(storage, held, lambda head: head)
        with pytest.raises(LeaseError, match="newer run"):
            commit(storage, left, lambda head: head)


def test_a_holder_whose_clock_is_far_ahead_of_ours_is_left_alone(storage: Storage, clock: Clock) -> None:
    """It may as well be our clock that is behind: whoever renews the lease lives, whatever time that is for us."""
    with Lease(storage, Holder("ahead", "elsewhere", 1), _in_a_year, ttl=0.9) as ahead:
        with pytest.raises(LeaseError, match="run ahead"):
            Lease(storage, Holder("run", "host", os.getpid()), clock, ttl=0.9).__enter__()
        ahead.check()


def test_a_holder_whose_clock_is_far_ahead_and_that_ends_meanwhile_holds_nothing(
    storage: Storage, clock: Clock
) -> None:
    """What counts is the lease as it is when it has been watched."""
    ahead = Lease(storage, Holder("ahead", "elsewhere", 1), _in_a_year, ttl=0.9)
    ahead.__enter__()
    ending = threading.Timer(0.2, ahead.__exit__, (None, None, None))
    ending.start()
    with Lease(storage, Holder("run", "host", os.getpid()), clock, ttl=0.9) as held:
        assert held.epoch == ahead.epoch + 1
    ending.join()


def test_a_lease_is_renewed_while_it_is_held(storage: Storage, clock: Clock) -> None:
    """Its expiry moves with the clock, so a long run is never taken over."""
    with Lease(storage, Holder("run", "host", os.getpid()), clock, ttl=0.03) as held:
        clock.forward(1000)
        _wait_until(lambda: (_record(storage).expires_at or clock()) > clock())
        held.check()
        assert held.epoch == 1


def test_a_lost_lease_is_noticed(storage: Storage, clock: Clock) -> None:
    """Once another run has written the lease, `check` raises, and leaving does not disturb the new holder."""
    with Lease(storage, Holder("slow", "host", os.getpid()), clock, ttl=0.03) as slow:
        taken = _record(storage).model_copy(update={"epoch": 9, "run_id": "quick"})
        storage.put(layout.LEASE, taken.sealed())
        _wait_until(lambda: slow._lost is not None)
        with pytest.raises(LeaseError, match="run slow lost its lease"):
            slow.check()
        with pytest.raises(LeaseError, match="slow"):
            commit(storage, slow, lambda head: head)
    assert _record(storage) == taken


def test_an_overtaken_holder_commits_nothing(storage: Storage, clock: Clock) -> None:
    """A run that slept through its expiry is fenced by the newer epoch in the head, even while its own clock stands still."""
    slow = _left_behind(storage, Clock(), host="elsewhere")
    commit(storage, slow, lambda head: head.model_copy(update={"pending": ("slow-1",)}))
    clock.forward(TTL_SECONDS)
    with lease(storage, clock, run_id="quick") as quick:
        commit(storage, quick, lambda head: head)
        before = storage.read(layout.HEAD)
        with pytest.raises(LeaseError, match=r"newer run \(epoch 2\).*epoch 1\) committed nothing"):
            commit(storage, slow, lambda head: head.model_copy(update={"pending": ()}))
        assert storage.read(layout.HEAD) == before
    assert read_head(storage).pending == ("slow-1",)


def test_a_damaged_lease_stops_everybody(storage: Storage, clock: Clock) -> None:
    """It is not taken for a free one."""
    storage.put(layout.LEASE, b"{}")
    with pytest.raises(CorruptObject, match="lease"):
        lease(storage, clock).__enter__()


def test_a_commit_is_all_or_nothing(storage: Storage, clock: Clock) -> None:
    """A change that raises, or meets another commit at the same moment, leaves the head as it was."""
    with lease(storage, clock) as held:
        first = commit(storage, held, lambda head: head)
        assert (len(first.lake_id), first.epoch) == (32, 1)
        with pytest.raises(ZeroDivisionError):
            commit(storage, held, lambda head: head.model_copy(update={"epoch": 1 // 0}))
        meanwhile = first.model_copy(update={"published": "other"})

        def interrupted(head: Head) -> Head:
            storage.put(layout.HEAD, meanwhile.sealed())
            return head.model_copy(update={"published": "mine"})

        with pytest.raises(LeaseError, match="at the same moment"):
            commit(storage, held, interrupted)
    assert read_head(storage) == meanwhile


def test_a_lake_belongs_to_one_account(storage: Storage, clock: Clock) -> None:
    """The first account to claim it stays; another is refused; an unknown one neither binds nor is refused."""
    with lease(storage, clock) as held:
        assert claim(storage, held, None, None).account is None
        assert claim(storage, held, "acct_1", {"seed": 42}).world == {"seed": 42}
        assert claim(storage, held, None, None).account == "acct_1"
        with pytest.raises(UsageError, match=r"acct_1.*acct_2"):
            claim(storage, held, "acct_2", None)
        assert claim(storage, held, "acct_1", livemode=False).livemode is False
        assert claim(storage, held, None).livemode is False
        with pytest.raises(UsageError, match="holds test data, but the key reads live data"):
            claim(storage, held, "acct_1", livemode=True)
    assert (read_head(storage).account, read_head(storage).world) == ("acct_1", {"seed": 42})


def test_the_history_remembers_each_run_once(clock: Clock) -> None:
    """A run's newest line replaces its older one; the oldest of many are forgotten."""
    head = Head(lake_id="lake")
    for number in range(60):
        for outcome in ("extracted", "published"):
            head = head.noted(RunLine(run_id=f"run-{number}", outcome=outcome, at=clock(), rows=number))
    assert [line.run_id for line in head.runs] == [f"run-{number}" for number in range(10, 60)]
    assert {line.outcome for line in head.runs} == {"published"}


def test_a_manifest_is_found_again(storage: Storage, clock: Clock) -> None:
    """What was written is read; a run that never was has none, and reading it says so."""
    manifest = Manifest(run_id="run-1", epoch=1, started_at=clock(), ceiling=7)
    write_manifest(storage, manifest)
    assert find_manifest(storage, "run-1") == read_manifest(storage, "run-1") == manifest
    assert find_manifest(storage, "run-2") is None
    with pytest.raises(ObjectMissing, match="run-2"):
        read_manifest(storage, "run-2")
    storage.put(layout.manifest("run-1"), b"[]")
    with pytest.raises(CorruptObject):
        find_manifest(storage, "run-1")


def test_a_run_id_means_one_request(clock: Clock) -> None:
    """The same request continues the run; another one is refused with the first one's arguments."""
    request = Request(entities=("charges",), days=1)
    manifest = Manifest(run_id="run-1", epoch=1, started_at=clock(), ceiling=7, request=request)
    check_same_request(manifest, Request(entities=("charges",), days=1))
    with pytest.raises(UsageError, match=r"run-1.*charges: last 1 day"):
        check_same_request(manifest, Request(entities=("charges",), days=2))


class _Broken(MemoryStorage):
    """A storage that refuses to swap from some moment on."""

    is_broken = False

    def swap(self, key: str, data: bytes, *, expected: str) -> str:
        if self.is_broken:
            raise StorageError("the disk is full")
        return super().swap(key, data, expected=expected)


def test_a_lease_that_cannot_be_released_hides_no_error(clock: Clock) -> None:
    """The error of the block comes through; without one, the failed release is the error."""

    def run(error: Exception | None) -> None:
        storage = _Broken()
        with lease(storage, clock):
            storage.is_broken = True
            if error:
                raise error

    with pytest.raises(ValueError, match="the run failed"):
        run(ValueError("the run failed"))
    with pytest.raises(StorageError, match="the disk is full"):
        run(None)
