"""Where populate may not write: in production and with live keys, refused before any connection is made."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import command_in, refusal


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A door at which somebody would knock."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        door.setblocking(False)
        yield door


def knocked(door: socket.socket) -> bool:
    """Whether a connection was made."""
    try:
        door.accept()[0].close()
    except BlockingIOError:
        return False
    return True


LIVE = ["sk_live_mock", "rk_live_mock", "sk_org_live_mock", "sk_mock", "SK_TEST_mock", "pk_test_mock"]
REFUSED = [
    *(({"ENV": env}, ["populate"], "ENV is") for env in ("PROD", "prod", "STAGING")),
    ({"ENV": "PROD"}, ["populate", "--force"], "ENV is"),
    ({"ENV": "PROD"}, ["reset-db", "--yes"], "ENV is"),
    *(({"STRIPE_API_KEY": key}, ["populate"], "test keys only") for key in LIVE),
    ({"STRIPE_API_KEY": "sk_live_mock", "ENV": "DEV"}, ["populate", "--force"], "test keys only"),
    ({}, ["populate", "--fixture", "nothing.json"], "cannot be read"),
]


@pytest.mark.parametrize(("environ", "arguments", "message"), REFUSED, ids=str)
def test_nothing_is_even_connected_to(
    listener: socket.socket, tmp_path: Path, environ: dict[str, str], arguments: list[str], message: str
) -> None:
    """Exit code 2 and one line that shows no key; neither the API nor the database is asked, no file is made."""
    host, port = listener.getsockname()
    addresses = {
        "MOCK_API_BASE_URL": f"http://{host}:{port}",
        "DATABASE_URL": f"postgresql://u:p@{host}:{port}/stripe_db",
    }
    done = command_in(tmp_path, **addresses)("oltp", *arguments, **environ)
    line = refusal(done, 2)
    assert message in line
    assert "mock" not in line.replace(str(tmp_path), "")
    assert not knocked(listener)
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_the_door_is_knocked_at_when_nothing_forbids_it(listener: socket.socket, tmp_path: Path) -> None:
    """So that its silence in the other tests means something."""
    host, port = listener.getsockname()
    command = command_in(tmp_path, MOCK_API_BASE_URL=f"http://{host}:{port}", STRIPE_API_KEY="sk_test_mock")
    process = command.start("oltp", "populate")
    listener.settimeout(30)
    listener.accept()[0].close()
    process.kill()
    process.communicate()
