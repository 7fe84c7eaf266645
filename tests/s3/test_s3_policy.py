"""The policy in docs/aws allows what the commands do in a bucket, and not what bronze must never suffer."""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from types_boto3_s3.client import S3Client

from payments_pipeline import cli
from payments_pipeline.errors import ObjectExists
from payments_pipeline.storage import open_storage, s3
from payments_pipeline.storage.s3_client import connect
from tests.e2e.harness import CHECKOUT, Account
from tests.seaweed import BUCKET

PREFIX = "lake-mock"
PART = "bronze/source=stripe/entity=charges/dt=2026-09-01/run_id=one/part-000001-00001.jsonl"
ACTIONS = {
    "HeadObject": ("s3:GetObject",),
    "CopyObject": ("s3:PutObject",),
    "ListObjectsV2": ("s3:ListBucket",),
    "ListMultipartUploads": ("s3:ListBucketMultipartUploads",),
    "CreateMultipartUpload": ("s3:PutObject",),
    "UploadPart": ("s3:PutObject",),
    "CompleteMultipartUpload": ("s3:PutObject",),
}
"""The IAM action that an API operation needs, where its name is another."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request as IAM sees it: the action, the key ("" for the bucket), and what conditions look at."""

    action: str
    key: str
    creates: bool = False
    is_conditional: bool = False


def _document(name: str, prefix: str) -> dict[str, Any]:
    """A file of docs/aws as docs/deploy.md says to fill it in."""
    text = (CHECKOUT / "docs/aws" / name).read_text().replace("BUCKET", BUCKET)
    filled: dict[str, Any] = json.loads(text.replace("PREFIX/", f"{prefix}/" if prefix else ""))
    return filled


def _is_met(statement: dict[str, Any], call: Call) -> bool:
    """Whether a statement's conditions hold; a kind of condition that is not known here fails the test."""
    seen = {
        ("Null", "s3:if-none-match"): str(not call.is_conditional).lower(),
        ("Bool", "s3:ObjectCreationOperation"): str(call.creates).lower(),
    }
    return all(
        seen[kind, name] == expected
        for kind, conditions in statement.get("Condition", {}).items()
        for name, expected in conditions.items()
    )


def _allows(call: Call, prefix: str = PREFIX) -> bool:
    """IAM's verdict over a lake with that prefix: some statement allows, and none denies."""
    place = f"arn:aws:s3:::{BUCKET}" + (f"/{call.key}" if call.key else "")
    effects = {
        statement["Effect"]
        for statement in _document("iam-policy.json", prefix)["Statement"]
        if call.action in _listed(statement["Action"])
        and any(fnmatchcase(place, pattern) for pattern in _listed(statement["Resource"]))
        and _is_met(statement, call)
    }
    return effects == {"Allow"}


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


@pytest.fixture
def calls(on_seaweed: str, monkeypatch: pytest.MonkeyPatch) -> set[Call]:
    """Every request that this process sends to the store, from now on."""
    found: set[Call] = set()

    def noted(params: dict[str, Any], model: Any, **_: object) -> None:
        for action in ACTIONS.get(model.name, (f"s3:{model.name}",)):
            creates = model.name in {"PutObject", "CopyObject", "CompleteMultipartUpload"}
            found.add(Call(action, params.get("Key", ""), creates, params.get("IfNoneMatch") == "*"))

    def tapped(region: str | None) -> S3Client:
        client = connect(region)
        client.meta.events.register("before-parameter-build.s3", noted)
        return client

    monkeypatch.setattr(s3, "connect", tapped)
    return found


@pytest.fixture
def command(on_seaweed: str, small: Account) -> Iterator[Callable[..., None]]:
    """The command line inside this process, over that lake."""
    kept = signal.getsignal(signal.SIGTERM)
    yield lambda *arguments: _check(
        cli.run(arguments, {"LOCAL_DATA_DIR": on_seaweed, "MOCK_API_BASE_URL": small.url})
    )
    signal.signal(signal.SIGTERM, kept)


def _check(code: int) -> None:
    assert code == 0


def test_the_policy_allows_whatever_the_commands_do(
    calls: set[Call], command: Callable[..., None], on_seaweed: str, tmp_path: Path
) -> None:
    """A run, a rebuild, gc, verify, status, query, and objects in many parts: all of it, action by action and key by key."""
    command("run-pipeline", "--days", "3")
    storage = open_storage(on_seaweed)
    storage.put("_staging/run_id=lost/000009-gold.fct_refunds-2026-09-01.parquet", b"left over")
    for line in ("rebuild", "gc --min-age-hours 0", "verify", "status"):
        command(*line.split())
    command("query", "select count(*) from gold.fct_payments")
    big = hashlib.shake_128(b"seed").digest(17 * 2**20)
    for _ in range(2):
        try:
            with storage.create(PART) as stream:
                stream.write(big)
        except ObjectExists:
            pass
    storage.close()
    prefix = on_seaweed.removeprefix(f"s3://{BUCKET}/")
    assert {call.action for call in calls} == {
        action
        for statement in _document("iam-policy.json", prefix)["Statement"]
        if statement["Effect"] == "Allow"
        for action in _listed(statement["Action"])
    }
    refused = sorted((call.action, call.key) for call in calls if not _allows(call, prefix))
    assert refused == []


@pytest.mark.parametrize("prefix", ["lake-mock", "deep/er", ""])
@pytest.mark.parametrize(
    "call",
    [
        Call("s3:DeleteObject", PART),
        Call("s3:DeleteObjectVersion", PART),
        Call("s3:PutObject", PART, creates=True),
        Call(
            "s3:DeleteObject", "quarantine/source=stripe/entity=charges/dt=2026-09-01/run_id=one/part-1.jsonl"
        ),
        Call("s3:PutObject", "elsewhere", creates=True),
    ],
    ids=lambda call: f"{call.action} {call.key[:20]}",
)
def test_the_policy_refuses_what_bronze_must_not_suffer(call: Call, prefix: str) -> None:
    """Bronze of runs is neither removed nor overwritten, quarantine not removed, nothing else touched."""
    inside = replace(call, key="/".join(filter(None, (prefix, call.key))))
    assert not _allows(inside, prefix)


@pytest.mark.parametrize(
    "call",
    [
        Call("s3:PutBucketPolicy", ""),
        Call("s3:GetObject", f"another-lake/{PART}"),
        Call("s3:PutObject", "_state/lake.json", creates=True),
        Call("s3:DeleteObject", "another-lake/_state/lake.json"),
    ],
    ids=lambda call: f"{call.action} {call.key[:20]}",
)
def test_the_policy_reaches_no_other_lake(call: Call) -> None:
    """The bucket itself stays as it is, and so does whatever lies beside the lake's prefix."""
    assert not _allows(call)


def test_bronze_that_is_new_may_be_added() -> None:
    """The refusals above are those of the documents' conditions, not of a prefix that nothing matches."""
    assert _allows(Call("s3:PutObject", f"{PREFIX}/{PART}", creates=True, is_conditional=True))


@pytest.mark.parametrize("prefix", ["lake-mock", ""])
def test_the_lifecycle_touches_nothing_that_is_published_or_needed(prefix: str) -> None:
    """Only staging expires; silver, gold and the state have no rule of their own, bronze only moves to a cheaper class."""
    root = f"{prefix}/" if prefix else ""
    rules = _document("lifecycle.json", prefix)["Rules"]
    assert [rule["Filter"]["Prefix"] for rule in rules if "Expiration" in rule] == [f"{root}_staging/"]
    assert {rule["Filter"]["Prefix"] for rule in rules} == {root, f"{root}_staging/", f"{root}bronze/"}
    assert all(rule["Status"] == "Enabled" for rule in rules)
