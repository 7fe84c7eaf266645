from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.agreement import differences
from tests.e2e.harness import DAY, MIDNIGHT, Account, account_of, digest_of, read_parquet, rebuild, run
from tests.e2e.oracle import FIELDS, INVOICE_LINE, KEYS

OBSERVATION = {"is_deleted", "deleted_at", "_observed_at"}


@pytest.fixture(scope="module")
def business() -> Iterator[Account]:
    """Not quite a month of business: refunds, renewals, deletions and payouts; every event can still be listed."""
    with account_of(days=29.4, customers_per_day=3) as served:
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


def _sums(rows: list[dict[str, Any]], column: str) -> dict[str, int]:
    totals: Counter[str] = Counter()
    for row in rows:
        totals[row["currency"]] += row[column]
    return dict(totals)
