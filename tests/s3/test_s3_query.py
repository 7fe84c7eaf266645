"""A question to a lake in a bucket fetches the files of the models that it names, and trusts nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from payments_pipeline import layout
from payments_pipeline.errors import CorruptObject, ObjectMissing
from payments_pipeline.inspect import run_query
from payments_pipeline.lake import Lake
from payments_pipeline.session import open_for_reading
from payments_pipeline.state.snapshot import snapshot_of
from payments_pipeline.storage import ABSENT, LocalStorage, Storage
from payments_pipeline.storage.parallel import each
from tests.e2e.harness import settings_for
from tests.s3.proxy import Proxy, Spoil


@pytest.fixture
def bucket(loaded: Path, lake_url: str, direct: Storage) -> str:
    """The URL of a bucket's copy of a loaded lake, reached through the proxy."""
    files = [info.key for info in LocalStorage(loaded).list("") if not info.key.startswith(layout.BRONZE)]
    each(lambda key: direct.put(key, (loaded / key).read_bytes()), files)
    return lake_url


@pytest.fixture
def remote(bucket: str) -> Iterator[Lake]:
    """That lake, opened as `query` opens it."""
    with open_for_reading(settings_for(bucket)) as opened:
        yield opened


@pytest.fixture
def local(loaded: Path) -> Iterator[Lake]:
    """The one on the disk."""
    with open_for_reading(settings_for(loaded)) as opened:
        yield opened


def _fetched(proxy: Proxy) -> set[str]:
    """Keys of published files that were fetched, or looked into."""
    lines = [unquote(line) for line in proxy.seen if line.startswith("GET ") and "data.parquet" in line]
    return {line[line.index("gold/") :] for line in lines}


def test_every_model_gives_the_same_rows_and_types_as_on_a_disk(remote: Lake, local: Lake) -> None:
    """All of every model, compared by DuckDB's own text of each row; columns and types are the same."""
    for lake in (remote, local):
        lake.show_published()
    for model in local.models.built:
        for sql in (
            f"describe {model.qualified}",
            f"select columns(*)::varchar from {model.qualified} order by all",
        ):
            assert remote.engine.query(sql) == local.engine.query(sql), model.qualified


def test_a_document_crosses_the_wire_once_for_each_of_its_versions(spoilt: Storage, direct: Storage) -> None:
    """What this process wrote or has read is not sent again; what somebody else wrote since is."""
    version = spoilt.swap("state", b"own", expected=ABSENT)
    assert spoilt.read_versioned("state") == (b"own", version)
    assert spoilt.traffic.bytes_read == 0
    other = direct.swap("state", b"other", expected=version)
    assert [spoilt.read_versioned("state"), spoilt.read_versioned("state")] == [(b"other", other)] * 2
    assert spoilt.traffic.bytes_read == len(b"other")
    direct.delete("state")
    assert spoilt.read_versioned("state") == (b"", ABSENT)


def test_a_question_about_a_model_fetches_that_models_files_only(
    remote: Lake, local: Lake, proxy: Proxy
) -> None:
    """Whatever the SQL is like: files of models that it does not name are not fetched."""
    payments = {part.key for part in local.latest()["gold.fct_payments"].partitions.values()}
    for sql in (
        "select count(*) from gold.fct_payments",
        "with p as (from GOLD.fct_payments) select max(created_at) from p, range(2) where exists (from p)",
        "describe gold.fct_payments",
    ):
        assert run_query(remote, sql) == run_query(local, sql)
    assert _fetched(proxy) == payments
    dynamic = "select count(*) from query_table('gold.dim_customers')"
    assert run_query(remote, dynamic).rows == run_query(local, dynamic).rows != [(0,)]


def test_a_damaged_object_is_named_and_not_served(remote: Lake, direct: Storage) -> None:
    """An object that is not the recorded one is `CorruptObject`; questions about other models are answered."""
    partitions = snapshot_of(remote.latest())["gold.fct_payments"]
    partition = next(iter(partitions.values()))
    data = bytearray(direct.read(partition.key))
    data[len(data) // 2] ^= 1
    direct.put(partition.key, bytes(data))
    with pytest.raises(CorruptObject, match=partition.key):
        run_query(remote, "select * from gold.fct_payments")
    assert run_query(remote, "select count(*) from gold.fct_invoices").rows


def test_a_missing_object_and_a_cut_answer_are_told_or_mended(
    bucket: str, local: Lake, direct: Storage, proxy: Proxy
) -> None:
    """What the store fails to deliver is asked for again, or is the error; never an answer from half of the data."""
    sql = "select * from gold.fct_payments order by all"
    proxy.spoils = [Spoil("GET .*fct_payments.*parquet", "truncate", times=3)]
    with open_for_reading(settings_for(bucket)) as opened:
        assert run_query(opened, sql) == run_query(local, sql)
    assert proxy.spoils[0].done == 3
    key = next(iter(snapshot_of(local.latest())["gold.fct_payments"].values())).key
    direct.delete(key)
    with open_for_reading(settings_for(bucket)) as opened, pytest.raises(ObjectMissing, match=key):
        run_query(opened, sql)
