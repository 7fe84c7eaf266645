from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark.structures import ParameterSet
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from payments_pipeline.entities import ENTITIES
from payments_pipeline.errors import CorruptObject, LeaseError, SourceUnavailable, StorageError
from payments_pipeline.state.manifest import Request
from tests.e2e.harness import digest_of, read_parquet
from tests.history.changes import CHANGES
from tests.history.checks import Watch, bookkeeping_faults, disagreements, rebuilt_differences, verified
from tests.history.machine import HOUR, LEASE_SECONDS, machine
from tests.history.storage import Killed, Trouble
from tests.history.subject import DAY, EVERYTHING, TODAY, Circumstances, Opening, Stage, Subject

SHARDS = 6
"""The long search is dealt to this many tests, so that two workers share it."""


def nightly(value: object) -> ParameterSet:
    """A parameter that only the long searches try."""
    return pytest.param(value, marks=pytest.mark.nightly)


def settled(of: Subject) -> None:
    """A quiet run for everything, after which the lake must be the truth."""
    of.wait(LEASE_SECONDS)
    manifest = of.run()
    assert disagreements(of) == []
    assert bookkeeping_faults(of, manifest) == []
    assert rebuilt_differences(of, manifest) == []
    assert verified(of) > 0


def row(of: Subject, entity: str, key: str, id: object) -> dict[str, Any]:
    """The one row of an object."""
    [found] = [each for each in read_parquet(of.root, f"silver.{entity}") if each[key] == id]
    return found


def repeatable(examples: int, *, steps: int) -> settings:
    """So many histories, the same ones for the same seed."""
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.parametrize("number", [1, 2])
def test_any_history_ends_in_the_truth(number: int, server: tuple[Stage, str], folder: Path) -> None:
    """Whatever happens to an account, its lake and its runs: after a quiet run silver is the account's truth."""
    run_state_machine_as_test(seed(number)(machine(folder, *server)), settings=repeatable(3, steps=6))


@pytest.mark.nightly
@pytest.mark.parametrize("number", [3, 4])
def test_a_lake_in_a_bucket_lives_the_same_history(
    number: int, server: tuple[Stage, str], folder: Path, on_seaweed: str
) -> None:
    """The same histories, damage and kills included, on a disk and on SeaweedFS: truth after truth, digest by digest."""
    kinds = [machine(folder, *server), machine(folder, *server, bucket=on_seaweed)]
    for kind in kinds:
        run_state_machine_as_test(seed(number)(kind), settings=repeatable(5, steps=8))
    assert kinds[0].digests == kinds[1].digests != []


@pytest.mark.nightly
@pytest.mark.parametrize("shard", range(SHARDS))
def test_many_histories_end_in_the_truth(shard: int, server: tuple[Stage, str], folder: Path) -> None:
    """The same for many longer histories, new ones every night."""
    search = settings(
        max_examples=150 // SHARDS,
        stateful_step_count=20,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    run_state_machine_as_test(machine(folder, *server), settings=search)


def test_every_kind_of_change_in_one_second(opening: Opening) -> None:
    """All changes there are, twice over, within two seconds: each object ends in the state that it has."""
    account = opening()
    account.run()
    for aim in (1, 2):
        account.wait(1)
        account.change(*((name, aim) for name in CHANGES))
    settled(account)


def test_a_change_in_the_very_second_of_a_run(opening: Opening) -> None:
    """What happens after a run in the second of its ceiling is in the next."""
    account = opening()
    account.change(("a payment", 1), ("a refund", 1))
    account.run()
    account.change(("a refund", 3), ("a change of address", 2), ("a customer is deleted", 1))
    settled(account)


def test_changes_while_paging(opening: Opening) -> None:
    """Objects that are created, changed and deleted between two pages are all right after the next quiet run."""
    account = opening()
    account.run(EVERYTHING, Circumstances(page_size=2, upsets=[(name, 5) for name in CHANGES], upset_every=2))
    settled(account)


def test_deletions_become_tombstones_that_say_when(opening: Opening) -> None:
    """A deleted customer, product and draft stay in silver, marked with the second that their event names."""
    account = opening()
    account.change(("a new product", 2), ("a draft invoice", 1))
    account.wait(2)
    account.run()
    account.wait(10)
    gone = account.clock()
    names = ("a customer is deleted", "a product is deleted", "a draft is deleted")
    account.change(*((name, 0) for name in names))
    settled(account)
    deleted = [
        each
        for entity in ("customers", "products", "invoices")
        for each in read_parquet(account.root, f"silver.{entity}")
        if each["is_deleted"] and each["deleted_at"].timestamp() == gone
    ]
    assert len(deleted) >= 2


@pytest.mark.parametrize("days", [nightly(26), 31, nightly(60)])
def test_idle_days_without_runs(opening: Opening, days: int) -> None:
    """After more idle days than events are kept, what changed or was deleted meanwhile is found all the same."""
    account = opening()
    account.run()
    account.change(
        *((name, 1) for name in ("a refund", "a customer is deleted", "a note on a charge", "a cancellation"))
    )
    account.wait(days * DAY)
    found = account.run(TODAY)
    assert found.extract.relisted is not None
    settled(account)


def test_money_that_becomes_available_without_an_event(opening: Opening) -> None:
    """Balance transactions change without an event; those too that only a reference brought into the lake."""
    account = opening()
    account.wait(5 * DAY)
    account.change(("a refund", 0), ("a refund", 1))
    account.wait(2)
    account.run(TODAY)
    assert any(
        each["status"] == "pending" for each in read_parquet(account.root, "silver.balance_transactions")
    )
    account.wait(8 * DAY)
    account.run(TODAY)
    now = account.world.truth()["balance_transactions"]
    for each in read_parquet(account.root, "silver.balance_transactions"):
        assert each["status"] == now[each["balance_transaction_id"]]["status"]


def test_days_without_a_run_leave_no_gap(opening: Opening) -> None:
    """A daily run that was skipped is caught up by the next, still with --days 1: also what no event tells of.

    A month begins meanwhile, so there is a fee that nothing refers to.
    """
    account = opening(date(2026, 3, 28))
    account.run()
    for aim in range(4):
        account.wait(DAY)
        account.change(("a payment", aim), ("a new customer", aim), ("a refund", aim))
    account.wait(2)
    manifest = account.run(TODAY)
    assert disagreements(account) == []
    assert bookkeeping_faults(account, manifest) == []


def test_runs_of_a_few_entities(opening: Opening) -> None:
    """Entities fetched alone, published or left pending, never hide a change from the run for everything."""
    account = opening()
    account.run(Request(entities=("charges",), days=1), publish=False)
    account.change(("a refund", 1), ("a note on a charge", 1))
    account.wait(60)
    account.run()
    account.change(("a refund", 3), ("a change of address", 0))
    account.wait(60)
    account.run(Request(entities=("events",), days=1), publish=False)
    account.change(("a note on a charge", 0))
    account.wait(60)
    account.run(Request(entities=("customers", "refunds"), days=1))
    settled(account)


@pytest.mark.parametrize("at", [nightly(2), nightly(9), 23])
def test_a_first_run_that_dies_half_way(opening: Opening, at: int) -> None:
    """Its work is kept, changes made meanwhile are not missed, and nobody has to clean up."""
    account = opening()
    with pytest.raises(Killed):
        account.run(EVERYTHING, Circumstances(trouble=Trouble(at)))
    account.change(("a refund", 1), ("a customer is deleted", 0), ("a note on a charge", 1))
    with pytest.raises(LeaseError):
        account.run()
    settled(account)


def test_an_old_run_continued_after_a_newer_one_undoes_nothing(opening: Opening) -> None:
    """What an interrupted run saw long ago does not replace what a later run has published, when it goes on at last."""
    account = opening()
    with pytest.raises(Killed):
        account.run(EVERYTHING, Circumstances(trouble=Trouble(60)), run_id="interrupted")
    account.wait(HOUR)
    account.change(
        *((name, aim) for aim in (0, 1) for name in ("a change of address", "a note on a charge", "a refund"))
    )
    account.wait(2)
    account.run()
    account.wait(3 * HOUR)
    account.run(run_id="interrupted")
    assert disagreements(account) == []


def test_coverage_never_claims_what_is_not_committed(opening: Opening) -> None:
    """Wherever a run dies, the watermarks speak only of windows that a manifest names."""
    account = opening()
    watch = Watch(account.root)
    for at in range(20, 40):
        with pytest.raises(Killed):
            account.run(EVERYTHING, Circumstances(trouble=Trouble(at)))
        assert watch.faults() == []
        shutil.rmtree(account.root)
        watch = Watch(account.root)


def test_an_outage_ends_the_run_and_the_next_goes_on(opening: Opening) -> None:
    """When the API stops answering, the run says so; the next one continues, and nothing is missing."""
    account = opening()
    with pytest.raises(SourceUnavailable):
        account.run(EVERYTHING, Circumstances(page_size=10, outage=12))
    account.change(("a refund", 1), ("a customer is deleted", 0))
    settled(account)


def test_events_are_read_with_overlap(opening: Opening) -> None:
    """An event that became visible late is found: each run reads the safety window before the last one's end again."""
    account = opening()
    before = account.run()
    account.wait(HOUR)
    after = account.run(under=Circumstances(safety_seconds=600))
    assert min(after.extract.entities["events"].windows)[0] == before.ceiling - 600


def test_backfills_before_and_after(opening: Opening) -> None:
    """Backfilled windows older and newer than what is there join it; newer states are not undone."""
    account = opening()
    account.wait(9 * DAY)
    account.change(("a payment", 2), ("a refund", 1))
    account.wait(2)
    account.run(TODAY)
    account.change(("a note on a charge", 0), ("a refund", 0))
    account.wait(3 * HOUR)
    now = account.clock()
    for start, end in ((now - 30 * DAY, now - 12 * DAY), (now - 12 * DAY, now - 5 * DAY), (now - HOUR, now)):
        account.run(Request(entities=tuple(ENTITIES), start=start, end=end, backfill=True))
    settled(account)


def test_what_is_archived_and_brought_back(opening: Opening) -> None:
    """An archived price or product is still there, and active again once it is."""
    account = opening()
    account.run()
    for _ in range(2):
        account.change(
            ("a product is archived or brought back", 0), ("a price is archived or brought back", 0)
        )
        settled(account)


def test_an_unpublished_run_is_not_lost(opening: Opening) -> None:
    """Bronze that was landed but never built goes into silver with the next run that publishes."""
    account = opening()
    account.run()
    account.change(("a refund", 1), ("a payment", 2))
    account.wait(60)
    account.run(publish=False)
    account.change(("a note on a charge", 0))
    settled(account)


def test_a_lost_state_file_is_made_again(opening: Opening) -> None:
    """Coverage, a list of partitions, the head: each can be lost, and the next run is as right as ever."""
    account = opening()
    account.run()
    files = (
        "watermarks/charges.json",
        "watermarks/events.json",
        "manifests/_latest/silver.charges.json",
        "lake.json",
    )
    for name in files:
        (account.root / "_state" / name).unlink()
        account.change(("a payment", 1), ("a refund", 1))
        settled(account)


@pytest.mark.parametrize("layer", ["silver", nightly("gold")])
def test_a_damaged_published_file_is_named_and_a_rebuild_mends_it(opening: Opening, layer: str) -> None:
    """`verify`, and any run that needs the file, names one with a flipped bit; the rebuild that they advise works."""
    account = opening()
    before = digest_of(account.run())
    path = max((account.root / layer).rglob("data.parquet"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    name = str(path.relative_to(account.root))
    with pytest.raises(CorruptObject, match=name):
        verified(account)
    if layer == "silver":  # what no change reaches of gold, a run leaves alone
        account.wait(60)
        with pytest.raises(CorruptObject, match=name):
            account.run()
    assert digest_of(account.rebuild()) == before
    settled(account)


def test_a_storage_that_fails_leaves_what_is_published(opening: Opening) -> None:
    """A write that fails stops the run with what was published untouched; the next run is right."""
    account = opening()
    account.run()
    account.change(("a refund", 1), ("a payment", 0))
    for at in (4, 30, 60):
        account.wait(60)
        account.change(("a note on a charge", at))
        published = read_parquet(account.root, "silver.charges")
        with pytest.raises(StorageError):
            account.run(EVERYTHING, Circumstances(trouble=Trouble(at, "fails", lasting=True)))
        assert read_parquet(account.root, "silver.charges") == published
        account.wait(LEASE_SECONDS)
    settled(account)


@pytest.mark.parametrize(
    "start",
    [nightly(date(2026, 3, 27)), date(2026, 10, 23), nightly(date(2025, 12, 30)), nightly(date(2028, 2, 27))],
    ids=str,
)
def test_days_that_are_longer_shorter_or_rare(opening: Opening, start: date) -> None:
    """Clock changes, a year's end and a leap day are days like any other: everything counts in UTC."""
    account = opening(start)
    for aim in range(3):
        account.run(TODAY)
        account.wait(DAY - 1)
        account.change(("a payment", aim), ("a refund", aim))
    settled(account)
    for each in read_parquet(account.root, "silver.charges"):
        day = each["created_at"].date()
        assert any((account.root / f"silver/source=stripe/entity=charges/dt={day}").iterdir())


def test_an_unsteady_api_loses_and_doubles_nothing(opening: Opening) -> None:
    """With a fifth of all calls failing, a run ends well and the lake is the truth."""
    account = opening()
    account.change(*((name, 2) for name in CHANGES))
    account.wait(60)
    assert account.run(EVERYTHING, Circumstances(page_size=3, unsteady=True)).extract.retries > 0
    assert disagreements(account) == []
