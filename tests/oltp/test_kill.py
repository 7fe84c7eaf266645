"""kill -9 of the loader and of the server: the tables show the old state or the new one, and a rerun ends in the new one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from payments_pipeline.oltp import migrate
from payments_pipeline.oltp.database import Database, database_of, recreate
from payments_pipeline.oltp.server import Server
from payments_pipeline.settings import Settings
from tests.e2e.harness import Command, command_in, refusal
from tests.oltp.objects import SOME_TIME, Object, charge, customer, load, rows, write_all

STAGING, MERGING, FILLING = "copy pg_temp.", "insert into charges as target", 'insert into charges ("id"'
"""What the server is doing for the loader when the blow falls."""

ROWS = 10_500
Rows = list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class States:
    """Two states of one account as files, the second with twice the charges and every old one changed."""

    old: Path
    new: Path
    old_rows: Rows
    new_rows: Rows


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> States:
    """The files, and the rows of `charges` that they mean."""
    old = {f"ch_{n}": charge(n, customer=f"cus_{n % 50}") for n in range(ROWS // 3)}
    new = {f"ch_{n}": charge(n, customer=f"cus_{n % 70}", amount=7) for n in range(ROWS)}
    folders = []
    for at, charges in ((SOME_TIME, old), (SOME_TIME + 1, new)):
        folders.append(tmp_path_factory.mktemp("state"))
        customers = {f"cus_{n}": customer(n) for n in range(60)}
        write_all(folders[-1], {"charges": charges, "customers": customers}, at=at)
    return States(folders[0], folders[1], _expected(old), _expected(new))


def _expected(charges: dict[str, Object]) -> Rows:
    return [(key, charges[key], False) for key in sorted(charges)]


def _found(database: Database) -> Rows:
    with database.connect() as connection:
        return rows(connection, "charges", "id, raw, is_stub")


def _loader(database: Database, folder: Path) -> Command:
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    return command_in(folder, DATABASE_URL=url)


def _begin(database: Database, states: States) -> subprocess.Popen[str]:
    with database.connect() as connection:
        load(connection, states.old)
    return _loader(database, states.new).start("oltp", "ingest-all", "--json-dir", str(states.new))


def _finish(database: Database, states: States) -> None:
    _loader(database, states.new).ok("oltp", "ingest-all", "--json-dir", str(states.new))
    assert _found(database) == states.new_rows
    _loader(database, states.new).ok("oltp", "check", "--json-dir", str(states.new))


def _wait(connection: psycopg.Connection, process: subprocess.Popen[str], doing: str) -> None:
    """Until the server is doing that for the loader."""
    question = (
        b"select 1 from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() "
        b"and state = 'active' and position(%s in query) > 0"
    )
    while connection.execute(question, (doing,)).fetchone() is None:
        assert process.poll() is None, f"the loader ended before {doing!r} was seen"
        time.sleep(0.001)


def _kill_server(server: Server) -> None:
    """All of its processes: the one that a loader talks to would end its work before it missed the first."""
    first = int((server.folder / "data/postmaster.pid").read_text("ascii").split()[0])
    os.kill(first, signal.SIGSTOP)
    subprocess.run(["pkill", "-KILL", "-P", str(first)], check=True)
    os.kill(first, signal.SIGKILL)
    while Path(f"/proc/{first}").exists():
        time.sleep(0.01)


@pytest.fixture(scope="module")
def own(places: Path) -> Iterator[Server]:
    """A server that the tests of this file may kill."""
    found = Server(places / "killed" / "oltp")
    found.up()
    yield found
    found.down()


@pytest.fixture
def own_database(own: Server) -> Database:
    """An empty database of that server, of the newest schema."""
    found = database_of(Settings.from_env({"DATABASE_URL": own.url("stripe_db")}))
    recreate(found)
    migrate.upgrade(found)
    return found


@pytest.mark.parametrize("doing", [STAGING, MERGING])
def test_j1_a_killed_loader_leaves_the_old_state(database: Database, states: States, doing: str) -> None:
    """Its transaction vanishes with it; the next loader waits for that, and ends in the new state."""
    process = _begin(database, states)
    with database.connect() as connection:
        _wait(connection, process, doing)
    process.kill()
    process.communicate()
    assert _found(database) == states.old_rows
    _finish(database, states)


def test_j2_a_killed_server_comes_back_with_the_old_state(
    own: Server, own_database: Database, states: States
) -> None:
    """The loader says what happened and what to do, with exit code 4; after `up` it ends in the new state."""
    process = _begin(own_database, states)
    with own_database.connect() as connection:
        _wait(connection, process, MERGING)
        _kill_server(own)
        stdout, stderr = process.communicate(timeout=60)
        connection.close()
    line = refusal(subprocess.CompletedProcess([], process.returncode, stdout, stderr), 4)
    assert "oltp up" in line
    own.up()
    assert _found(own_database) == states.old_rows
    _finish(own_database, states)


def test_a_server_killed_in_a_first_load_comes_back_empty(
    own: Server, own_database: Database, states: States
) -> None:
    """What was written to the table's new file, and not to the log, is no part of it; the next load fills it."""
    process = _loader(own_database, states.new).start("oltp", "ingest-all", "--json-dir", str(states.new))
    with own_database.connect() as connection:
        _wait(connection, process, FILLING)
        _kill_server(own)
        process.communicate(timeout=60)
        connection.close()
    own.up()
    assert _found(own_database) == []
    _finish(own_database, states)


def test_a_server_killed_after_a_first_load_has_all_of_it(
    own: Server, own_database: Database, states: States
) -> None:
    """What was committed is in the table's file by then, references and indexes too."""
    _finish(own_database, states)
    _kill_server(own)
    own.up()
    assert _found(own_database) == states.new_rows
    with own_database.connect() as connection:
        connection.execute("set enable_seqscan = off")
        found = connection.execute("select count(*) from charges where customer_id = 'cus_7'").fetchone()
        assert found == (len([row for row in states.new_rows if row[1]["customer"] == "cus_7"]),)
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("insert into charges (id) values ('ch_1')")


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("victim", ["loader", "server"])
def test_killed_at_any_time(
    own: Server, own_database: Database, states: States, victim: str, seed: int
) -> None:
    """At a random moment between its start and its end: the old state or the new one, and then the new one."""
    began = time.monotonic()
    process = _begin(own_database, states)
    lasts = 1.5 * (time.monotonic() - began)
    time.sleep(random.Random(seed).uniform(0, lasts))
    kill: Callable[[], None] = process.kill if victim == "loader" else lambda: _kill_server(own)
    kill()
    process.communicate(timeout=60)
    own.up()
    assert _found(own_database) in (states.old_rows, states.new_rows)
    _finish(own_database, states)
