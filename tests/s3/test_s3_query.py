"""A question to a lake in a bucket fetches the files that it needs, and trusts nothing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

import pytest

from payments_pipeline import layout
from payments_pipeline.errors import CorruptObject, ObjectMissing
from payments_pipeline.inspect import run_query, showing
from payments_pipeline.lake import Lake
from payments_pipeline.session import open_for_reading
from payments_pipeline.state.documents import load, replace
from payments_pipeline.state.head import Head, RunLine
from payments_pipeline.state.snapshot import snapshot_of
from payments_pipeline.storage import ABSENT, LocalStorage, Storage
from payments_pipeline.storage.parallel import each
from payments_pipeline.transform.models import ModelSpec
from tests.e2e.harness import command_in, settings_for
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


def _questions(model: ModelSpec) -> list[str]:
    """What a model is asked: its columns and their types, all of it, a day of it, and of it beside itself."""
    name, asked = model.qualified, f"select columns(*)::varchar from {model.qualified} order by all"
    if model.partition_by is None:
        return [f"describe {name}", asked]
    day = f"{model.partition_by}::date"
    return [
        f"describe {name}",
        asked,
        f"from {name} where {day} = (select min({day}) from {name} where {day} > '2026-01-01') order by all",
        f"select {day}, count(*) from {name} where {day} >= '2026-11-02' or {day} is null group by all order by all",
    ]


@pytest.mark.parametrize("whole_below", [0, 2**20], ids=["columns", "whole"])
def test_every_model_answers_as_on_a_disk(
    bucket: str, local: Lake, secure: Proxy, direct: Storage, whole_below: int
) -> None:
    """The same rows, names and types, whether files are fetched whole or only columns of them."""
    local.show_published()
    with (
        open_for_reading(settings_for(bucket, DUCKDB_THREADS="8")) as remote,
        showing(remote, None, whole_below),
    ):
        for sql in (sql for model in local.models.built for sql in _questions(model)):
            assert remote.engine.query(sql) == local.engine.query(sql), sql
    assert any("bytes=" in line for line in secure.seen) == (whole_below == 0)


def test_a_day_of_a_model_is_fetched_alone(remote: Lake, local: Lake, proxy: Proxy) -> None:
    """And the last one, which says what the columns are; other files of the model are not looked at."""
    partitions = local.latest()["gold.fct_payments"].partitions
    first, *_, last = sorted(partitions)
    sql = f"select currency, sum(amount_minor) from gold.fct_payments where created_at::date = '{first}' "
    sql += "group by all order by all"
    assert run_query(remote, sql) == run_query(local, sql)
    assert _fetched(proxy) == {partitions[first].key, partitions[last].key}


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


def test_long_documents_are_sent_packed(spoilt: Storage, direct: Storage, tmp_path: Path) -> None:
    """A fifth of the bytes or less, and read like the others; in a folder they can be read by eye."""
    runs = tuple(
        RunLine(run_id=f"run-{number}", outcome="published", at=datetime(2026, 1, 2, tzinfo=UTC), rows=3)
        for number in range(50)
    )
    head, local = Head(lake_id="lake", runs=runs), LocalStorage(tmp_path)
    for storage in (spoilt, local):
        replace(storage, layout.HEAD, head, expected=ABSENT)
    assert local.read(layout.HEAD) == head.sealed()
    assert len(direct.read(layout.HEAD)) < len(head.sealed()) / 5
    assert load(direct, layout.HEAD, Head)[0] == head


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


def test_an_interrupted_question_ends_at_once(bucket: str, proxy: Proxy, folder: Path) -> None:
    """While it fetches files from a slow store: exit code 130 within seconds, and nothing is left behind."""
    scratch = folder / "tmp"
    scratch.mkdir()
    aws = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    command = command_in(folder, LOCAL_DATA_DIR=bucket, TMPDIR=str(scratch), **aws)
    proxy.spoils = [Spoil("GET .*data.parquet", "stall", times=999)]
    process = command.start("query", "select count(*) from query_table('silver.charges'), gold.fct_payments")
    while not any("data.parquet" in line for line in proxy.seen):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    process.communicate(timeout=60)
    assert (process.returncode, list(scratch.iterdir())) == (130, [])
    assert time.monotonic() - started < 5
