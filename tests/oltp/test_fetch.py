"""Fetch: whole files of whole objects, every object of the account once, whatever happened on the way."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mock_api.faults import Answer, Cut, Drop, Duplicate, Latency, Poison, Rule, Script, Truncate
from payments_pipeline.errors import SourceError, SourceRefused, StorageError
from payments_pipeline.flow import Quiet
from payments_pipeline.oltp import LISTS
from payments_pipeline.oltp.fetch import Export, fetch
from payments_pipeline.oltp.pending import Pending
from tests.e2e.harness import Account, account_of, command_in, refusal
from tests.oltp.shop import client_of, populate, sdk

EMPTY = '{"object":"list","url":"/v1/payment_methods","has_more":false,"data":[]}'


@pytest.fixture(scope="module")
def busy() -> Iterator[Account]:
    """Three weeks of business with all that lists hide, for tests that only read."""
    with account_of(days=21.4, customers_per_day=3) as account:
        populate(account)
        populate(account, force=True, run="force")
        yield account


@pytest.fixture(autouse=True)
def _quiet_again(busy: Account) -> Iterator[None]:
    """Whatever goes wrong in one test goes right in the next."""
    yield
    busy.faults.replace(Script())


def fetched(account: Account, folder: Path, workers: int = 8) -> dict[str, int]:
    """Fetch the account to the folder."""
    with client_of(account) as client:
        return dict(fetch(Export(client, workers, account.now, Quiet()), folder))


def contents(folder: Path) -> dict[str, dict[str, Any]]:
    """List to id to object, after checking that each file is an array with one object a line, each id once."""
    found = {}
    for name in LISTS:
        first, *lines, last = (folder / f"{name}.json").read_text("utf-8").splitlines()
        assert (first, last) == ("[", "]")
        objects = [json.loads(line.removesuffix(",")) for line in lines]
        assert objects == json.loads((folder / f"{name}.json").read_bytes())
        found[name] = {each["id"]: each for each in objects}
        assert len(found[name]) == len(objects)
    return found


def expected(account: Account) -> dict[str, dict[str, Any]]:
    """Everything that exists, and the deleted customers."""
    truth = account.truth()
    return {
        name: {key: each for key, each in truth[name].items() if name == "customers" or "deleted" not in each}
        for name in LISTS
    }


def digests(folder: Path) -> dict[str, str]:
    """Every file below the folder by path."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_every_object_of_the_account_is_in_its_file(busy: Account, tmp_path: Path) -> None:
    """Value for value as the account holds it: cancelled subscriptions, archived prices, deleted customers and all."""
    counts = fetched(busy, tmp_path)
    found, truth = contents(tmp_path), expected(busy)
    assert {name: set(found[name]) for name in LISTS} == {name: set(truth[name]) for name in LISTS}
    assert counts == {name: len(found[name]) for name in LISTS}
    for name in set(LISTS) - {"subscriptions", "invoices"}:
        assert found[name] == truth[name]
    assert any(each.get("deleted") for each in found["customers"].values())
    assert any(not each["active"] for each in found["prices"].values())
    assert any(each["customer"] is None for each in found["payment_methods"].values())
    assert any(each["status"] == "canceled" for each in found["subscriptions"].values())


def test_nested_lists_are_whole_and_references_are_ids(busy: Account, tmp_path: Path) -> None:
    """Twelve items of a subscription, though the list shows ten; a row that is shown twice counts once."""
    client = sdk(busy)
    customer = client.v1.customers.list({"email": "fay@populate.example.com"}).data[0]
    product = client.v1.products.create({"name": "Many"}).id
    prices = [
        client.v1.prices.create(
            {
                "product": product,
                "currency": "usd",
                "unit_amount": 100 + n,
                "recurring": {"interval": "month"},
            }
        ).id
        for n in range(12)
    ]
    made = client.v1.subscriptions.create(
        {"customer": customer.id, "items": [{"price": price} for price in prices]}
    )
    busy.faults.replace(Script((Rule(Duplicate(3), path="/v1/invoices/*/lines"),)))
    fetched(busy, tmp_path)
    assert busy.faults.stats()["fired"][0] > 0
    found = contents(tmp_path)
    subscription = found["subscriptions"][made.id]
    assert [item["price"]["id"] for item in subscription["items"]["data"]] == prices
    assert subscription["items"]["has_more"] is False
    lines = found["invoices"][subscription["latest_invoice"]]["lines"]
    assert len(lines["data"]) == 12
    assert subscription["customer"] == customer.id


@pytest.mark.parametrize("seed", range(2))
def test_faults_double_and_lose_nothing(busy: Account, tmp_path: Path, seed: int) -> None:
    """Every fifth call fails or is cut short, and rows are shown twice; the files hold the same objects."""
    fetched(busy, tmp_path / "calm")
    rules = [
        Rule(action, probability=0.06)
        for action in (Answer(429), Answer(503), Drop(), Cut(), Truncate(), Duplicate(3))
    ]
    busy.faults.replace(Script(tuple(rules), seed))
    fetched(busy, tmp_path / "rough")
    assert sum(busy.faults.stats()["fired"]) > 10
    assert contents(tmp_path / "rough") == contents(tmp_path / "calm")


def test_payment_methods_are_found_without_their_list(busy: Account, tmp_path: Path) -> None:
    """By customer, and by the payments that name them: some versions of the API list nobody's methods."""
    rule = Rule(
        Answer(200, {"content-type": "application/json"}, EMPTY), path="/v1/payment_methods", nth=(1,)
    )
    busy.faults.replace(Script((rule,)))
    fetched(busy, tmp_path)
    assert busy.faults.stats()["fired"] == [1]
    found, truth = contents(tmp_path)["payment_methods"], busy.truth()
    attached = {key for key, each in truth["payment_methods"].items() if each["customer"]}
    named = {
        each["payment_method"]
        for kind in ("charges", "payment_intents")
        for each in truth[kind].values()
        if each["payment_method"]
    }
    assert set(found) == attached | named
    assert named - attached


def test_a_failed_fetch_leaves_the_old_files(busy: Account, tmp_path: Path) -> None:
    """To the byte, wherever it failed, and nothing else in the folder."""
    fetched(busy, tmp_path)
    before = digests(tmp_path)
    for path, nth in [
        ("/v1/account", 1),
        ("/v1/charges", 1),
        ("/v1/customers/*", 1),
        ("/v1/payment_methods", 40),
    ]:
        busy.faults.replace(Script((Rule(Answer(401), path=path, nth=(nth,)),)))
        with pytest.raises(SourceRefused):
            fetched(busy, tmp_path)
        assert digests(tmp_path) == before
        assert not [each for each in tmp_path.iterdir() if each.is_dir()]


def test_a_fetch_says_when_it_began(busy: Account, tmp_path: Path) -> None:
    """For every file, and not later than the first call: whatever changed afterwards is newer."""
    fetched(busy, tmp_path)
    began = json.loads((tmp_path / "fetched_at.json").read_text())
    assert set(began) == set(LISTS)
    assert set(began.values()) == {busy.now().isoformat()}


def test_a_record_that_is_no_json_stays_a_line(busy: Account, tmp_path: Path) -> None:
    """It costs neither the file nor the fetch; who ingests the file names its line."""
    rule = Rule(Poison("NaN", field="name"), path="/v1/products", times=1)
    busy.faults.replace(Script((rule,)))
    fetched(busy, tmp_path)
    lines = (tmp_path / "products.json").read_text().splitlines()
    assert len([line for line in lines if "NaN" in line]) == 1
    assert len(lines) == len(expected(busy)["products"]) + 2


def test_the_files_are_their_owners(busy: Account, tmp_path: Path) -> None:
    """They hold customers' data: nobody else may look into the folder."""
    fetched(busy, tmp_path / "data" / "out", workers=1)
    assert (tmp_path / "data" / "out").stat().st_mode & 0o077 == 0


def test_an_empty_account_gives_empty_arrays(tmp_path: Path) -> None:
    """Which are whole files too."""
    with account_of(days=0, customers_per_day=0) as nobody:
        counts = fetched(nobody, tmp_path)
    assert counts["customers"] == counts["charges"] == 0
    assert json.loads((tmp_path / "charges.json").read_bytes()) == []
    assert counts["products"] == len(json.loads((tmp_path / "products.json").read_bytes())) > 0


def test_a_folder_that_cannot_be_written_is_refused(busy: Account, tmp_path: Path) -> None:
    """Before anything is fetched; the message names it."""
    taken = tmp_path / "taken"
    taken.write_text("")
    for folder in (taken, taken / "inside"):
        with pytest.raises(StorageError, match="taken"):
            fetched(busy, folder)


def test_a_stopped_fetch_stops_everywhere(busy: Account, tmp_path: Path) -> None:
    """Once one list is refused, the others ask no more."""
    busy.faults.replace(Script((Rule(Answer(403), path="/v1/products"), Rule(Latency(0.05)))))
    asked = busy.faults.stats()["requests"]
    with pytest.raises(SourceError, match="products answered 403"):
        fetched(busy, tmp_path)
    assert busy.faults.stats()["requests"] - asked < 30


@pytest.mark.parametrize("after", [0.5, 0.9, 1.3, 1.7])
def test_a_killed_fetch_leaves_whole_files(busy: Account, tmp_path: Path, after: float) -> None:
    """Old or new, never half; the next one completes and clears up what the killed one left."""
    command = command_in(tmp_path, MOCK_API_BASE_URL=busy.url)
    out = tmp_path / "out"
    fetched(busy, out)
    before = contents(out)
    busy.faults.replace(Script((Rule(Latency(0.02)),)))
    process = command.start("oltp", "fetch", "--out", str(out))
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert contents(out) == before
    busy.faults.replace(Script())
    for left in out.glob("_staging/.tmp-*"):
        os.utime(left, (0, 0))
    fetched(busy, out)
    assert contents(out) == before
    assert not [each for each in out.iterdir() if each.is_dir()]


def test_each_pending_object_is_given_out_once(tmp_path: Path) -> None:
    """What was seen is never asked for, what was asked for not again, and seeing it then is the first time."""
    with Pending(tmp_path / "pending") as pending:
        assert pending.see("customers", "a")
        assert not pending.see("customers", "a")
        pending.want([("customers", "a"), ("customers", "b"), ("prices", "a"), ("prices", "a")])
        taken = pending.take(2) + pending.take(2)
        assert sorted(taken) == [("customers", "b"), ("prices", "a")]
        pending.want([("customers", "b")])
        assert pending.take(9) == []
        assert pending.see("customers", "b")
        assert not pending.see("customers", "b")


def test_a_wrong_key_is_refused_in_one_line(busy: Account, tmp_path: Path) -> None:
    """Exit code 3, and no file."""
    command = command_in(tmp_path, MOCK_API_BASE_URL=busy.url, STRIPE_API_KEY="sk_wrong")
    assert "answered 401" in refusal(command("oltp", "fetch", "--out", "out"), 3)
    assert not list((tmp_path / "out").iterdir())
