from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mock_api.shapes import API_VERSION
from mock_api.world import World
from tests.e2e.agreement import differences
from tests.e2e.harness import DAY, MIDNIGHT, Account, account_of, digest_of, read_parquet, rebuild, run
from tests.e2e.oracle import FIELDS, INVOICE_LINE, KEYS

OBSERVATION = {"is_deleted", "deleted_at", "_observed_at"}


@pytest.fixture(scope="module")
def business() -> Iterator[Account]:
    """Not quite a month of business: refunds, renewals, deletions and payouts; every event can still be listed."""
    with account_of(days=29.4, customers_per_day=3) as served:
        with served.world.lock:
            for version in (API_VERSION, "2025-02-24.acacia"):
                for currency in ("eur", "kwd"):
                    _capture_in_part_and_refund(served.world, version, currency)
        yield served


@pytest.fixture(scope="module")
def whole(business: Account, scratch: Path) -> Path:
    """A lake with the whole history of `business`."""
    lake = scratch / "truth"
    run(lake, business)
    return lake


def test_silver_is_the_truth_object_by_object(business: Account, whole: Path) -> None:
    """After one run over the whole history, every object of every entity is in silver as the account holds it."""
    assert differences(whole, {business.clock(): business.truth()}) == []


def test_the_account_is_eventful_enough_to_tell(business: Account) -> None:
    """The truth that silver is compared with has every kind of object but disputes, and a deleted customer or product."""
    truth = business.truth()
    assert {entity for entity, objects in truth.items() if not objects} <= {"disputes"}
    assert any("deleted" in obj for kind in ("customers", "products") for obj in truth[kind].values())


@pytest.mark.parametrize("entity", ["charges", "invoices", "balance_transactions"])
def test_the_oracle_knows_every_column_of_the_money(whole: Path, entity: str) -> None:
    """For charges, invoices and balance transactions no business column escapes the comparison."""
    assert set(read_parquet(whole, f"silver.{entity}")[0]) == {*FIELDS[entity], *OBSERVATION}


def test_the_oracle_knows_every_column_of_invoice_lines(whole: Path) -> None:
    """Nor does any of the invoices' lines."""
    own = {"invoice_id", "position", "invoice_created_at"}
    assert set(read_parquet(whole, "silver.invoice_lines")[0]) == {*INVOICE_LINE, *own, *OBSERVATION}


def test_gold_sums_equal_the_ledger_to_the_unit(business: Account, whole: Path) -> None:
    """Per currency, the ledger in gold adds up to the account's own balance."""
    held = {
        currency: sum(parts.values())
        for currency, parts in business.world.balance().items()
        if any(parts.values())
    }
    sums = _sums(read_parquet(whole, "gold.fct_balance_transactions"), "net_minor")
    assert {currency: total for currency, total in sums.items() if total} == held


def test_gold_refunds_and_payments_equal_the_truth(business: Account, whole: Path) -> None:
    """Per currency, what gold says was charged and refunded is what the account's objects say."""
    truth = business.truth()
    charged = _sums([obj for obj in truth["charges"].values() if obj["status"] == "succeeded"], "amount")
    refunded = _sums([obj for obj in truth["refunds"].values() if obj["status"] == "succeeded"], "amount")
    payments = [row for row in read_parquet(whole, "silver.charges") if row["status"] == "succeeded"]
    refunds = [row for row in read_parquet(whole, "gold.fct_refunds") if row["status"] == "succeeded"]
    assert _sums(payments, "amount_minor") == charged
    assert _sums(refunds, "amount_minor") == refunded


def test_gold_tells_what_was_let_go_from_what_was_refunded(business: Account, whole: Path) -> None:
    """Of every charge: what a hold that ended left uncaptured, and what was given back of what was captured."""
    truth = business.truth()
    reversals, expected = _releases(truth), {}
    for id, charge in truth["charges"].items():
        rest = charge["amount"] - charge["amount_captured"]
        ended = (
            charge["captured"] or truth["payment_intents"][charge["payment_intent"]]["status"] == "canceled"
        )
        returned = sum(
            refund["amount"]
            for refund in truth["refunds"].values()
            if refund["charge"] == id and refund["status"] != "failed" and refund["id"] not in reversals
        )
        expected[id] = (rest if charge["status"] == "succeeded" and ended else 0, returned)
    payments = [row for row in read_parquet(whole, "gold.fct_payments") if row["charge_id"]]
    told = {row["charge_id"]: (row["released_minor"], row["refunded_minor"]) for row in payments}
    assert told == expected
    refunds = read_parquet(whole, "gold.fct_refunds")
    assert {row["refund_id"] for row in refunds if row["is_release"]} == reversals
    # Whether or not a release made a refund, and whether or not something of the rest was given back.
    assert {(released > 0, returned > 0) for released, returned in expected.values()} == {
        (False, False),
        (False, True),
        (True, False),
        (True, True),
    }
    assert reversals


def test_gross_revenue_is_what_was_captured(business: Account, whole: Path) -> None:
    """In a currency that nothing is converted to, whichever way the ledger books a capture in part."""
    taken = [obj for obj in business.truth()["charges"].values() if obj["status"] == "succeeded"]
    gross = _sums(read_parquet(whole, "marts.revenue_daily"), "gross_minor")
    captured = _sums(taken, "amount_captured")
    assert {currency: gross[currency] for currency in ("eur", "gbp", "jpy")} == {
        currency: captured[currency] for currency in ("eur", "gbp", "jpy")
    }


def test_gold_has_one_row_per_object(business: Account, whole: Path) -> None:
    """Facts and dimensions hold each of the account's objects once."""
    truth = business.truth()
    for model, entity in {
        "gold.fct_balance_transactions": "balance_transactions",
        "gold.fct_refunds": "refunds",
        "gold.dim_prices": "prices",
    }.items():
        ids = [row[KEYS[entity]] for row in read_parquet(whole, model)]
        assert sorted(ids) == sorted(truth[entity])


def test_a_rebuild_publishes_nothing_new(business: Account, whole: Path) -> None:
    """Everything built anew from bronze is what the runs have built: no partition differs."""
    before = run(whole, business)
    rebuilt = rebuild(whole, business)
    assert rebuilt.publish is not None
    assert (rebuilt.publish.written, rebuilt.publish.removed) == (0, 0)
    assert digest_of(rebuilt) == digest_of(before)


def test_silver_is_the_truth_as_of_each_last_observation(lake: Path) -> None:
    """While the account lives on between runs, every row shows its object as it was when last observed."""
    history = {}
    with account_of(days=3.4, customers_per_day=3) as account:
        for days in (3.4, 4.1, 5.7, 8.2):
            account.clock.set(MIDNIGHT + int(days * DAY))
            history[account.clock()] = account.truth()
            manifest = run(lake, account)
        rebuilt = rebuild(lake, account)
    assert differences(lake, history) == []
    assert digest_of(rebuilt) == digest_of(manifest)
    assert rebuilt.publish is not None
    assert rebuilt.publish.written == 0


def test_objects_read_one_by_one_share_their_parts(lake: Path) -> None:
    """Twelve changed customers make two parts, not one for each thread that could ask for one."""
    with account_of(days=2, customers_per_day=8) as account:
        run(lake, account)
        with account.world.lock:
            living = [row["id"] for row in account.world.rows("customers") if not row.get("deleted")][:12]
            for customer in living:
                account.world.update_customer(customer, name="New Name")
        account.clock.advance(60)
        parts = [part.key for part in run(lake, account).extract.parts if part.entity == "customers"]
    retrieved = [(lake / key).read_text().count('"source":"retrieve"') for key in parts]
    assert sorted(filter(None, retrieved)) == [2, 10]


def _capture_in_part_and_refund(world: World, version: str, currency: str) -> None:
    """As much is given back as was let go: only how it was booked, or its refund, tells which is which."""
    world.play(world.now + 60)
    held = world.create_payment(
        amount=10_000,
        currency=currency,
        payment_method=world.create_payment_method()["id"],
        capture_method="manual",
    )
    with world.own_request(version):
        world.capture_payment_intent(held["id"], amount_to_capture=6_000)
        world.create_refund(payment_intent=held["id"], amount=4_000)


def _releases(truth: dict[str, dict[str, dict[str, Any]]]) -> set[str]:
    """The refunds that moved nothing, or took back what had been credited and not captured."""
    ledger = truth["balance_transactions"]
    return {
        refund["id"]
        for refund in truth["refunds"].values()
        if refund["balance_transaction"] is None
        or ledger[refund["balance_transaction"]]["reporting_category"] == "partial_capture_reversal"
    }


def _sums(rows: list[dict[str, Any]], column: str) -> dict[str, int]:
    totals: Counter[str] = Counter()
    for row in rows:
        totals[row["currency"]] += row[column]
    return dict(totals)
