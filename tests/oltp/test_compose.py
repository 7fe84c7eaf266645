"""docker-compose.yaml, as far as it can be held against something without Docker."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
import yaml

from payments_pipeline.oltp.database import DATABASE, Database, database_of
from payments_pipeline.oltp.server import Server, binaries
from payments_pipeline.settings import Settings

FILE = Path(__file__).resolve().parent.parent.parent / "docker-compose.yaml"


@pytest.fixture
def service() -> dict[str, Any]:
    """The one service that the file describes."""
    [found] = yaml.safe_load(FILE.read_text("utf-8"))["services"].values()
    return dict(found)


@pytest.fixture
def named() -> sqlalchemy.URL:
    """The DATABASE_URL that the file tells its reader to set."""
    [line] = re.findall(r'DATABASE_URL="(.+)"', FILE.read_text("utf-8"))
    settings = Settings.from_env({"DATABASE_URL": line.replace("$POSTGRES_PASSWORD", "secret")})
    return database_of(settings).url


def test_the_url_that_it_names_leads_to_the_port_that_it_opens(
    service: dict[str, Any], named: sqlalchemy.URL
) -> None:
    """On this machine only; the superuser, since the file names no other, with the password that it asks for."""
    assert service["ports"] == [f"{named.host}:{named.port}:5432"]
    assert (named.host, named.username, named.password, named.database) == (
        "127.0.0.1",
        "postgres",
        "secret",
        DATABASE,
    )
    assert service["environment"]["POSTGRES_PASSWORD"].startswith("${POSTGRES_PASSWORD:?")


def test_it_is_the_version_that_the_tests_run_on(service: dict[str, Any], database: Database) -> None:
    """The same major version; from 18 on the image keeps its data one folder higher than before."""
    with database.connect() as connection:
        version = connection.info.server_version // 10_000
    assert service["image"] == f"postgres:{version}"
    assert version >= 18
    assert service["volumes"] == ["postgres:/var/lib/postgresql"]


def test_its_health_check_asks_over_the_network(service: dict[str, Any], server: Server) -> None:
    """It finds a running server, none where none listens, and not the image's own first one, which has only a socket."""
    word, program, *arguments = service["healthcheck"]["test"]
    assert word == "CMD"
    assert arguments[arguments.index("--host") + 1] == "127.0.0.1"
    port = sqlalchemy.make_url(server.url("postgres")).port
    answers = [
        subprocess.run(
            [str(binaries() / program), *arguments],
            env={"PGPORT": str(each)},
            capture_output=True,
            check=False,
        ).returncode
        for each in (port, 1)
    ]
    assert answers == [0, 2]
