"""A PostgreSQL server of one's own: started, stopped, killed, and never telling its password."""

from __future__ import annotations

import os
import signal
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from payments_pipeline.errors import StorageError, UsageError
from payments_pipeline.oltp.database import Database, create_missing, database_of
from payments_pipeline.oltp.server import Server
from payments_pipeline.settings import Settings


@pytest.fixture(scope="module")
def own(places: Path) -> Iterator[Server]:
    """A server that the tests of this file may stop and kill."""
    found = Server(places / "own" / "oltp")
    yield found
    found.down()


def _maintenance(server: Server) -> Database:
    return database_of(Settings.from_env({"DATABASE_URL": server.url("postgres")}))


def test_up_and_down_keep_the_data_and_the_port(own: Server) -> None:
    """Starting twice is starting once; after a stop and a start everything is where it was."""
    own.up()
    before = own.url("postgres")
    assert own.up() == []
    with _maintenance(own).connect() as connection:
        connection.execute("create table if not exists kept (id int)")
    assert own.down()
    assert not own.down()
    assert not own.is_running()
    own.up()
    assert own.url("postgres") == before
    with _maintenance(own).connect() as connection:
        assert connection.execute("select count(*) from kept").fetchone() == (0,)


def test_it_starts_after_a_kill(own: Server) -> None:
    """kill -9 of the server: the next start replays its log, and nothing that was committed is lost."""
    own.up()
    with _maintenance(own).connect() as connection:
        connection.execute("drop table if exists survivors")
        connection.execute("create table survivors as select 1 as id")
    _kill(own)
    own.up()
    with _maintenance(own).connect() as connection:
        assert connection.execute("select id from survivors").fetchall() == [(1,)]


def _kill(server: Server) -> None:
    pid = int((server.folder / "data/postmaster.pid").read_text("ascii").split()[0])
    os.kill(pid, signal.SIGKILL)
    for _ in range(200):
        if not server.is_running():
            return
        time.sleep(0.05)
    raise AssertionError("the server does not die")


def test_it_stops_though_somebody_closed_a_folder_above_it(own: Server) -> None:
    """It can be stopped, and started again, when other accounts may no longer pass to its data."""
    own.up()
    own.folder.parent.chmod(0o700)
    assert own.down()
    assert not own.is_running()
    own.folder.parent.chmod(0o700)
    own.up()
    assert own.is_running()


def test_a_half_made_server_is_made_anew(places: Path) -> None:
    """Whoever is killed while the data folder is being made leaves nothing behind that stops the next."""
    server = Server(places / "half" / "oltp")
    unfinished = server.folder / "data.unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n", "ascii")
    (server.folder / "port").touch()
    server.up()
    assert server.down()


def test_it_listens_on_this_machine_and_asks_for_the_password(own: Server) -> None:
    """Without the password nobody gets in, and the file that holds it is the owner's alone."""
    own.up()
    with pytest.raises(psycopg.OperationalError, match=r"password|scram"):
        psycopg.connect(
            _maintenance(own).url.set(drivername="postgresql", password="guess").render_as_string(False)
        )
    assert stat.S_IMODE(own.password_file.stat().st_mode) == 0o600
    with _maintenance(own).connect() as connection:
        assert connection.execute("show listen_addresses").fetchone() == ("127.0.0.1",)


def test_a_taken_port_is_an_error_that_says_so(places: Path) -> None:
    """A port of somebody else's is not fought for."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = Server(places / "taken" / "oltp")
        with pytest.raises(StorageError, match="--port"):
            server.up(taken.getsockname()[1])
    server.up(None)
    server.down()


def test_init_db_creates_what_is_missing(own: Server) -> None:
    """stripe_db and stripe_test, once."""
    own.up()
    database = database_of(Settings.from_env({"DATABASE_URL": own.url("stripe_db")}))
    assert create_missing(database) == ["stripe_db", "stripe_test"]
    assert create_missing(database) == []


def test_a_missing_database_and_a_missing_server_say_what_to_do(own: Server, tmp_path: Path) -> None:
    """Neither message shows the password."""
    own.up()
    database = database_of(Settings.from_env({"DATABASE_URL": own.url("nowhere")}))
    with pytest.raises(StorageError, match="init-db") as caught, database.connect():
        pass
    password = own.password_file.read_text("ascii").strip()
    assert password not in str(caught.value)
    with pytest.raises(StorageError, match="oltp up"):
        database_of(Settings.from_env({"LOCAL_DATA_DIR": str(tmp_path)}))
    unreachable = Database(database.url.set(port=1))
    with pytest.raises(StorageError, match="cannot be used") as caught, unreachable.connect():
        pass
    assert password not in str(caught.value)


@pytest.mark.parametrize("url", ["mysql://root@127.0.0.1/x", "no url", "sqlite://"])
def test_another_database_url_is_refused(url: str) -> None:
    """Only PostgreSQL will do."""
    with pytest.raises(UsageError, match="DATABASE_URL"):
        database_of(Settings.from_env({"DATABASE_URL": url}))
