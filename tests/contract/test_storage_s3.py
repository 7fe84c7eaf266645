"""The S3 storage keeps the contract, on a real S3 server and on a simulated one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from payments_pipeline.storage import Storage, open_storage
from tests.contract.storage import StorageContract
from tests.seaweed import BUCKET, Seaweed, new_prefix, shared_seaweed


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Seaweed]:
    base = tmp_path_factory.getbasetemp()
    with shared_seaweed(base.parent if worker_id != "master" else base) as server:
        yield server


class TestSeaweedFS(StorageContract):
    @pytest.fixture
    def storage(self, seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
        """A lake under a prefix of its own."""
        for name, value in seaweed.environ().items():
            monkeypatch.setenv(name, value)
        storage = open_storage(f"s3://{BUCKET}/{new_prefix()}")
        yield storage
        storage.close()
