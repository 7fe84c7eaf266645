"""Buckets that are not as plain as others: whose listings lag, or that keep every version."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from payments_pipeline.errors import CorruptObject, ObjectMissing
from payments_pipeline.flow import Quiet
from payments_pipeline.maintenance import collect_garbage, verify_lake
from payments_pipeline.session import open_existing
from payments_pipeline.storage import Storage, open_storage
from tests.e2e.harness import DAY, Account, account_of, digest_of, rebuild, run, settings_for
from tests.s3.proxy import Proxy, Spoil
from tests.seaweed import BUCKET, Seaweed, new_prefix

VERSIONED = "versioned"


@pytest.fixture
def account() -> Iterator[Account]:
    """A small account of the test's own, whose time can pass."""
    with account_of(days=1.4, customers_per_day=2) as served:
        yield served


def _cared_for(lake: Path | str, account: Account) -> int:
    """Collect garbage and verify; how many objects are as recorded."""
    with open_existing(settings_for(lake), account.now, Quiet()) as opened:
        collect_garbage(opened, min_age_seconds=0, dry_run=False)
        return verify_lake(opened)


def test_c10_a_listing_that_lags_takes_nothing_away(
    lake_url: str, direct: Storage, proxy: Proxy, account: Account, tmp_path: Path
) -> None:
    """C10: while listings show yesterday's keys only, runs and rebuilds are right, verify finds no damage and gc takes nothing away."""
    for lake in (lake_url, tmp_path):
        run(lake, account, environ={"RUN_ID": "first"})
    prefix = lake_url.removeprefix(f"s3://{BUCKET}/")
    shown = frozenset(f"{prefix}/{info.key}" for info in direct.list(""))
    proxy.spoils = [Spoil("GET .*list-type=2", "hide", times=sys.maxsize, shown=shown)]
    account.clock.advance(DAY // 2)
    truth = digest_of(run(tmp_path, account, environ={"RUN_ID": "second"}))
    assert digest_of(run(lake_url, account, environ={"RUN_ID": "second"})) == truth
    assert _cared_for(lake_url, account) > 0
    assert digest_of(rebuild(lake_url, account)) == truth
    assert proxy.spoils[0].done > 0
    proxy.spoils = []
    assert _cared_for(lake_url, account) == _cared_for(tmp_path, account)


@pytest.fixture
def versioned(seaweed: Seaweed, on_seaweed: str) -> str:
    """A lake in a bucket that keeps every version of every object."""
    with closing(seaweed.client()) as client:
        client.create_bucket(Bucket=VERSIONED)
        client.put_bucket_versioning(Bucket=VERSIONED, VersioningConfiguration={"Status": "Enabled"})
    return f"s3://{VERSIONED}/{new_prefix()}"


def test_c16_a_bucket_that_keeps_versions_is_a_bucket(
    versioned: str, seaweed: Seaweed, account: Account, tmp_path: Path
) -> None:
    """C16: runs and gc see the latest versions only, and the same content as on a disk; what was deleted is gone."""
    for lake in (versioned, tmp_path):
        run(lake, account, environ={"RUN_ID": "first"})
    account.clock.advance(DAY // 2)
    digests = {digest_of(run(lake, account, environ={"RUN_ID": "second"})) for lake in (versioned, tmp_path)}
    assert len(digests) == 1
    assert _cared_for(versioned, account) == _cared_for(tmp_path, account)
    with closing(open_storage(versioned)) as remote, closing(open_storage(str(tmp_path))) as local:
        listed = {info.key for info in remote.list("")}
        published = {info.key for info in local.list("silver/")}
        assert {key for key in listed if key.startswith("silver/")} == published
        assert not [key for key in listed if key.startswith("_staging/")]
        part = min(key for key in listed if key.startswith("bronze/"))
        remote.delete(part)
        with pytest.raises(ObjectMissing):
            remote.read(part)
    with pytest.raises(CorruptObject, match=part):
        _cared_for(versioned, account)
    with closing(seaweed.client()) as client:
        found = client.list_object_versions(
            Bucket=VERSIONED, Prefix=versioned.removeprefix(f"s3://{VERSIONED}/")
        )
        key = f"{versioned.removeprefix(f's3://{VERSIONED}/')}/{part}"
        [marker] = [each for each in found["DeleteMarkers"] if each["Key"] == key]
        client.delete_object(Bucket=VERSIONED, Key=key, VersionId=marker["VersionId"])
    assert _cared_for(versioned, account) > 0
