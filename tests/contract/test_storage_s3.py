"""The S3 storage keeps the contract, on a real S3 server and on a simulated one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from payments_pipeline.storage import Storage, open_storage
from tests.contract.storage import StorageContract


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
    def storage(self, on_moto: str) -> Iterator[Storage]:
        """A lake under a prefix of its own."""
        storage = open_storage(on_moto)
        yield storage
        storage.close()
