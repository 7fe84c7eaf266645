"""The one-liners `make init-all`, `populate-all` and `all`: the installed command, an API over HTTP, a real PostgreSQL."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
import stripe

from payments_pipeline.oltp.database import database_of
from payments_pipeline.settings import Settings
from tests.e2e.harness import CHECKOUT, Command, command_in
from tests.oltp.shop import fixture

BIN = Path(sys.executable).parent
Make = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[str]:
    """A simulated account of a few days, served by a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    arguments = ["--port", str(port), "--days", "1", "--customers-per-day", "1"]
    process = command_in(tmp_path / "api").start("mock-api", *arguments)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            if _answers(url):
                break
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.communicate()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def checkout(places: Path) -> Iterator[Path]:
    """What `make` needs of a checkout in which everything is installed; the server it starts is stopped afterwards."""
    folder = Path(tempfile.mkdtemp(dir=places))
    (folder / ".venv/bin").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, folder)
    shutil.copytree(CHECKOUT / "requirements", folder / "requirements")
    for stamp in ("bin/python", ".run", ".dev"):
        (folder / ".venv" / stamp).touch()
    yield folder
    command_in(folder).ok("oltp", "down")


@pytest.fixture
def make(checkout: Path, api: str) -> Make:
    """Runs `make` in the checkout against the account."""

    def run(*targets: str) -> subprocess.CompletedProcess[str]:
        environ = {"PATH": os.environ["PATH"], "HOME": str(checkout), "MOCK_API_BASE_URL": api}
        return subprocess.run(
            ["make", "--no-print-directory", f"BIN={BIN}", *targets],
            cwd=checkout,
            env=environ,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    return run


def _subscribed(checkout: Path) -> list[tuple[str, str, int, str]]:
    """Customer, product, amount and status of the fixture's live subscriptions, as PostgreSQL has them."""
    database = database_of(Settings.from_env({"LOCAL_DATA_DIR": str(checkout / "_local_data")}))
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url) as connection:
        return connection.execute(
            "select c.email, p.name, r.unit_amount, s.status from subscriptions s "
            "join customers c on c.id = s.customer_id join prices r on r.id = s.price_id "
            "join products p on p.id = r.product_id "
            "where c.email like '%@populate.example.com' and s.status <> 'canceled' order by 1, 2"
        ).fetchall()


def _wanted() -> list[tuple[str, str, int, str]]:
    amounts = {
        product.name: next(price.amount for price in product.prices if price.interval)
        for product in fixture().products
    }
    return sorted(
        (each.customer_email, each.product_name, amounts[each.product_name], "active")
        for each in fixture().subscriptions
    )


def test_make_all_runs_to_the_end_as_often_as_it_is_typed(make: Make, checkout: Path, api: str) -> None:
    """The fixture is in the tables, each table is equal to its file, and `make populate-force` then `populate-all` too."""
    for targets in (["all"], ["all"], ["populate-force"], ["populate-all"]):
        done = make(*targets)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "❌" not in done.stdout
        if targets != ["populate-force"]:
            assert done.stdout.count("✅") == 9
            assert _subscribed(checkout) == _wanted()
    client = stripe.StripeClient("sk_test_mock", base_addresses={"api": api})
    shown = client.v1.customers.list({"email": "ada@populate.example.com"}).data
    assert len(shown) == 1


def test_production_is_filled_but_never_populated(make: Make, checkout: Path) -> None:
    """`make all ENV=PROD` fetches, ingests and checks; `populate` and its relatives refuse."""
    for target in ("populate", "populate-force", "populate-all"):
        done = make(target, "ENV=PROD")
        assert done.returncode == 2
        assert "ENV is 'PROD'" in done.stderr
    assert not (checkout / "data").exists()
    done = make("all", "ENV=PROD")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("✅") == 9
    assert _subscribed(checkout) == []


def test_every_target_does_what_it_is_called(make: Make, checkout: Path) -> None:
    """One table at a time, from files and from the API, children before parents; the schema down and up again."""
    assert make("init-all").returncode == 0
    for target in ("init-db", "init-migration", "upgrade", "fetch"):
        done = make(target)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing to migrate" in make("migrate", "m=nothing").stdout
    assert "needs a message" in make("migrate").stderr
    for target in (
        "charge",
        "invoice_payment",
        "payment-intent",
        "invoice",
        "subscription",
        "price",
        "product",
    ):
        done = make(f"ingest-{target}", "SOURCE=json")
        assert done.returncode == 0, done.stdout + done.stderr
    done = make("check-db")
    assert "❌" in done.stdout
    assert "Error 1" in done.stderr
    done = make("ingest-customer", "FILE=data/imported_stripe_data/charges.json")
    assert "type 'charge' instead of 'customer'" in done.stderr
    assert make("ingest-customer", "FILE=data/imported_stripe_data/customers.json").returncode == 0
    assert make("ingest-payment-method", "SOURCE=api").returncode == 0
    done = make("check-db")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "'foo' is not one of" in make("ingest-all", "SOURCE=foo").stderr
    assert "The tables are gone." in make("downgrade").stdout
    assert "no schema yet" in make("ingest-all").stderr


def test_the_steps_can_be_taken_one_by_one(checkout: Path, api: str) -> None:
    """Without `make`, as in a container: the same commands."""
    command: Command = command_in(checkout, MOCK_API_BASE_URL=api)
    for line in ("up", "init-db", "upgrade", "populate", "fetch", "ingest-all", "check"):
        command.ok("oltp", line)
    assert _subscribed(checkout) == _wanted()
