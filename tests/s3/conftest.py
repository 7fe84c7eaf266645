"""A lake in a bucket behind a proxy that can spoil what goes to and fro."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from payments_pipeline.storage import Storage, open_storage
from tests.authority import Authority
from tests.s3.proxy import Proxy, proxy_to
from tests.seaweed import Seaweed


@pytest.fixture
def proxy(seaweed: Seaweed) -> Iterator[Proxy]:
    """It passes everything on until a test says what to spoil."""
    with proxy_to(seaweed.endpoint) as made:
        yield made


@pytest.fixture
def secure(seaweed: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy that speaks TLS, which boto3 is told of."""
    authority, pem, known = Authority.new(), tmp_path / "server.pem", tmp_path / "known.pem"
    pem.write_bytes(authority.issue("127.0.0.1", timedelta(days=1)))
    known.write_bytes(authority.certificate())
    with proxy_to(seaweed.endpoint, pem) as made:
        monkeypatch.setenv("AWS_ENDPOINT_URL", made.url)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(known))
        yield made


@pytest.fixture
def lake_url(on_seaweed: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> str:
    """A lake that is reached through the proxy; nothing is there yet."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    return on_seaweed


@pytest.fixture
def spoilt(lake_url: str) -> Iterator[Storage]:
    """That lake's storage."""
    storage = open_storage(lake_url)
    yield storage
    storage.close()


@pytest.fixture
def direct(on_seaweed: str, seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    """The same lake, as it really is."""
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", seaweed.endpoint)
        storage = open_storage(on_seaweed)
    yield storage
    storage.close()
