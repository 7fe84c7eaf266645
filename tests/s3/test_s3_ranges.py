"""Of large files in a bucket a question fetches the columns and days that it needs, and trusts none of them unproven."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import pytest

from payments_pipeline.entities import ENTITIES
from payments_pipeline.errors import CorruptObject, ObjectMissing, StorageError
from payments_pipeline.excerpts import Excerpts
from payments_pipeline.flow import Partition, Quiet
from payments_pipeline.inspect import run_query
from payments_pipeline.lake import Lake, VerifiedFiles
from payments_pipeline.storage import LocalStorage, Storage, open_storage
from payments_pipeline.transform.connection import EngineOptions
from payments_pipeline.transform.duckdb_engine import DuckDBEngine
from payments_pipeline.transform.models import discover
from tests.lakes import Clock, charge, land, open_small_lake, page, publish
from tests.s3.proxy import Proxy, Spoil
from tests.seaweed import BUCKET, Seaweed

DAYS, CHARGES = 3, 30_000


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of a few days with files of more than a MiB. Not to be written to."""
    root, dice = tmp_path_factory.mktemp("large") / "lake", random.Random(7)
    charges = [
        charge(number % DAYS, id=f"ch_{dice.randbytes(40).hex()}", amount=dice.randrange(10**6))
        for number in range(DAYS * CHARGES)
    ]
    with open_small_lake(root, clock=Clock()) as opened:
        land(
            opened,
            "first",
            [page(charges[start : start + 10_000]) for start in range(0, len(charges), 10_000)],
        )
        publish(opened, "first")
    return root


@pytest.fixture
def local(large: Path) -> Iterator[Lake]:
    """That lake on the disk."""
    with open_small_lake(large, clock=Clock()) as opened:
        yield opened


@pytest.fixture
def url(large: Path, on_seaweed: str, direct: Storage) -> str:
    """A copy of it in a bucket."""
    for info in LocalStorage(large).list(""):
        if not info.key.startswith("bronze/"):
            direct.put(info.key, (large / info.key).read_bytes())
    return on_seaweed


@pytest.fixture
def remote(url: str, secure: Proxy, large: Path) -> Iterator[Lake]:
    """That copy, reached over TLS."""
    with _opened(url, large) as lake:
        yield lake


@pytest.fixture
def plain(url: str, large: Path) -> Iterator[Lake]:
    """That copy, reached over plain HTTP."""
    with _opened(url, large) as lake:
        yield lake


@contextmanager
def _opened(url: str, large: Path) -> Iterator[Lake]:
    storage = open_storage(url)
    engine = DuckDBEngine(
        ENTITIES.values(),
        folders=[storage.scratch()],
        scratch=storage.scratch(),
        options=EngineOptions(threads=8),
    )
    models = discover(large.parent / f"{large.name}-sql")
    lake = Lake(storage, engine, models, VerifiedFiles(storage), Clock(), Quiet())
    yield lake
    engine.close()
    storage.close()


def _of_charges(lake: Lake, dt: str) -> Partition:
    return lake.latest()["silver.charges"].partitions[dt]


def _days(proxy: Proxy) -> set[str]:
    """The days whose files were asked for."""
    return {found[1] for line in proxy.seen if (found := re.search(r"charges/dt=([\d-]+)", unquote(line)))}


def test_only_the_days_and_columns_that_a_question_needs_are_sent(
    remote: Lake, local: Lake, secure: Proxy
) -> None:
    """However the day is written: of its file the columns that are summed and filtered, of other files nothing."""
    partition = _of_charges(remote, "2026-01-02")
    assert partition.bytes > 2**20
    for condition in (
        "created_at::date = date '2026-01-02'",
        "created_at >= '2026-01-02' and created_at < '2026-01-03'",
        "date_trunc('day', created_at) = timestamp '2026-01-02'",
    ):
        sql, before = (
            f"select sum(amount_minor), count(*) from silver.charges where {condition}",
            remote.storage.traffic.bytes_read,
        )
        assert run_query(remote, sql) == run_query(local, sql)
        assert remote.storage.traffic.bytes_read - before < partition.bytes / 4
        assert _days(secure) <= {"2026-01-02", "2026-01-03"}, "the last one says what the columns are"


def test_to_count_rows_takes_the_smallest_column(remote: Lake, local: Lake) -> None:
    """Whatever the first one is; `select *` still has them in the order in which they were written."""
    files = sum(part.bytes for part in remote.latest()["silver.charges"].partitions.values())
    sql = "select count(*) from silver.charges"
    assert run_query(remote, sql) == run_query(local, sql)
    assert remote.storage.traffic.bytes_read < files / 10
    sql = "from silver.charges order by charge_id limit 1"
    assert run_query(remote, sql) == run_query(local, sql)


def test_statements_that_scan_several_files_at_once_end(remote: Lake, local: Lake) -> None:
    """A model joined with itself and with others, unions, nested questions: the answer is that of a disk."""
    for sql in (
        "select count(*), sum(a.amount_minor) from silver.charges a join silver.charges b using (charge_id)",
        "from gold.fct_sales join (select created_at::date as day, max(amount_minor) as m from silver.charges group by all) using (day) order by all",
        "select count(*) from (select charge_id from silver.charges where status = 'succeeded' union all select charge_id from silver.charges where amount_minor < 10)",
        "select charge_id, amount_minor from silver.charges order by amount_minor desc, charge_id limit 5",
        "select * from silver.charges where created_at >= '2026-01-03' order by charge_id limit 3",
        "select created_at::date as day, currency, sum(amount_minor), count(*) from silver.charges where created_at::date in ('2026-01-01', '2026-01-03') group by all order by all",
        "select count(*) from silver.charges where created_at is null",
        "select count(*) from silver.charges where created_at > '2030-01-01'",
        "select count(*) from silver.charges where amount_minor = (select max(amount_minor) from silver.charges)",
        "select count(*) from silver.charges",
    ):
        assert run_query(remote, sql) == run_query(local, sql), sql


@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_a_damaged_object_is_named_before_a_byte_of_it_is_served(
    remote: Lake, direct: Storage, secure: Proxy, damage: str
) -> None:
    """Also where the question needs a column that is whole; other days are answered."""
    key = _of_charges(remote, "2026-01-02").key
    data = direct.read(key)
    direct.put(key, data[:-1] if damage == "cut" else b"X" + data[1:])
    with pytest.raises(CorruptObject, match=key):
        run_query(remote, "select max(amount_minor) from silver.charges where created_at < '2026-01-03'")
    assert not [line for line in secure.seen if line.startswith("GET") and unquote(line).count(key)]
    assert run_query(remote, "select count(*) from silver.charges where created_at < '2026-01-02'").rows


def test_a_missing_object_is_named(remote: Lake, direct: Storage) -> None:
    """As it is where whole files are read."""
    key = _of_charges(remote, "2026-01-02").key
    direct.delete(key)
    with pytest.raises(ObjectMissing, match=key):
        run_query(remote, "select max(amount_minor) from silver.charges")


def test_an_object_that_is_replaced_while_it_is_read_is_not_mixed(remote: Lake, direct: Storage) -> None:
    """The columns of a file are those of one object, or there is an error."""
    partition = _of_charges(remote, "2026-01-02")
    assert remote.storage.remote is not None
    with Excerpts(remote.storage, remote.storage.remote, remote.verified, 0) as excerpts:
        excerpts(partition, frozenset({"amount_minor"}))
        direct.put(partition.key, direct.read(partition.key)[::-1])
        with pytest.raises(StorageError, match="changed by somebody else"):
            excerpts(partition, frozenset({"currency"}))


def test_a_full_disk_is_named(remote: Lake) -> None:
    """What cannot be kept here is an error that says where room is needed."""
    assert remote.storage.remote is not None
    with Excerpts(remote.storage, remote.storage.remote, remote.verified, 0) as excerpts:
        excerpts._folder.rmdir()
        with pytest.raises(StorageError, match="TMPDIR"):
            excerpts(_of_charges(remote, "2026-01-02"))


def test_an_object_that_the_store_does_not_vouch_for_is_fetched_whole(
    remote: Lake, local: Lake, seaweed: Seaweed, direct: Storage
) -> None:
    """One that was written by other means, whatever its metadata say, is compared with the recorded SHA-256."""
    partition = _of_charges(remote, "2026-01-02")
    name = f"{direct.url.removeprefix(f's3://{BUCKET}/')}/{partition.key}"
    client, data = seaweed.client(), direct.read(partition.key)
    sql = "select sum(amount_minor) from silver.charges where created_at::date = '2026-01-02'"
    metadata = {"sha256": partition.sha256}
    client.put_object(Bucket=BUCKET, Key=name, Body=data[::-1], ChecksumAlgorithm="CRC32", Metadata=metadata)
    with pytest.raises(CorruptObject, match=partition.key):
        run_query(remote, sql)
    client.put_object(Bucket=BUCKET, Key=name, Body=data, ChecksumAlgorithm="CRC32")
    client.close()
    assert run_query(remote, sql) == run_query(local, sql)


def test_over_plain_http_files_are_fetched_whole(plain: Lake, local: Lake) -> None:
    """Nobody vouches for the way: a changed byte would not be noticed in a range. Days are left out all the same."""
    partition = _of_charges(plain, "2026-01-03")
    sql = "select sum(amount_minor) from silver.charges where created_at::date = '2026-01-03'"
    assert run_query(plain, sql) == run_query(local, sql)
    assert partition.bytes < plain.storage.traffic.bytes_read < 2 * partition.bytes


def test_what_a_scan_cannot_fetch_is_the_error_as_it_was_met(remote: Lake, secure: Proxy) -> None:
    """Not what DuckDB makes of it; what only passes is asked for again, and the next question is answered."""
    sql = "select sum(amount_minor), count(distinct status) from silver.charges"
    secure.spoils = [
        Spoil("GET .*charges.*parquet bytes=", "refuse", times=99, status=403, code="AccessDenied")
    ]
    with pytest.raises(StorageError, match="s3:GetObject"):
        run_query(remote, sql)
    secure.spoils = [Spoil("GET .*charges.*parquet bytes=", "truncate", times=2)]
    assert run_query(remote, sql).rows
    assert secure.spoils[0].done == 2


def test_a_store_that_dies_in_mid_question_is_told_in_time(
    url: str, large: Path, secure: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the attempts that were allowed are spent; the lists were read, and no row is answered."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    secure.spoils = [Spoil("GET .*charges.*parquet bytes=", "refuse", times=99)]
    with _opened(url, large) as lake:
        started = time.monotonic()
        with pytest.raises(StorageError, match="published before is untouched"):
            run_query(lake, "select sum(amount_minor) from silver.charges")
        assert time.monotonic() - started < 30
