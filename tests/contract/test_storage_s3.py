"""The S3 storage keeps the contract, on a real S3 server and on a simulated one."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import httpx
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from payments_pipeline.storage import Storage, open_storage
from tests.contract.storage import StorageContract
from tests.seaweed import BUCKET, environ_of, new_prefix


class TestSeaweedFS(StorageContract):
    rounds = 2  # its losers wait for the winner in steps of a second

    @pytest.fixture
    def storage(self, on_seaweed: str) -> Iterator[Storage]:
        """A lake under a prefix of its own."""
        storage = open_storage(on_seaweed)
        yield storage
        storage.close()


class TestMoto(StorageContract):
    many = 200  # it is slow, and pages like the other

    @pytest.fixture
    def storage(self, moto: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
        """A lake under a prefix of its own."""
        for name, value in environ_of(moto).items():
            monkeypatch.setenv(name, value)
        storage = open_storage(f"s3://{BUCKET}/{new_prefix()}")
        yield storage
        storage.close()


class _Silent(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """The simulated S3's URL. It serves one request at a time: its own conditional writes are not atomic."""
    app = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, app, request_handler=_Silent)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    httpx.put(f"{url}/{BUCKET}").raise_for_status()
    yield url
    server.shutdown()
    thread.join()
    server.server_close()
