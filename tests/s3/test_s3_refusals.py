"""Each thing a store refuses is one line that says what failed, where, and what to do; no secret is in it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from botocore.awsrequest import AWSRequest

from payments_pipeline.errors import ObjectMissing, StorageError
from payments_pipeline.storage import ABSENT, Storage, StorageOptions, open_storage
from payments_pipeline.storage.s3 import S3Storage
from tests.s3.proxy import Proxy, Spoil
from tests.seaweed import SECRET_KEY

REFUSALS = [
    ("C11", 403, "RequestTimeTooSkewed", "clock"),
    ("C12", 400, "ExpiredToken", "expired"),
    ("C12", 403, "InvalidAccessKeyId", "does not know the access key"),
    ("C12", 403, "SignatureDoesNotMatch", "secret key does not belong"),
    ("C14", 301, "PermanentRedirect", "AWS_REGION"),
    ("C14", 404, "NoSuchBucket", "S3_BUCKET"),
    ("C14", 501, "NotImplemented", "conditional writes"),
    ("C3", 400, "SomethingElse", "SomethingElse"),
]


@pytest.fixture
def impatient(lake_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    """The lake behind the proxy, for which a request is tried once."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    storage = open_storage(lake_url)
    yield storage
    storage.close()


def _operations(storage: Storage) -> list[Callable[[], object]]:
    draft = storage.scratch() / "draft"
    draft.write_bytes(b"x")

    def create() -> None:
        with storage.create("gold/a") as stream:
            stream.write(b"x")

    return [
        lambda: storage.read("gold/a"),
        lambda: storage.read_versioned("gold/a"),
        lambda: storage.put("gold/a", b"x"),
        lambda: storage.swap("gold/a", b"x", expected=ABSENT),
        lambda: storage.adopt(draft, "gold/a"),
        lambda: storage.promote("gold/a", "gold/b"),
        lambda: storage.delete("gold/a"),
        lambda: list(storage.list("gold/")),
        lambda: storage.sweep(0),
        lambda: storage.localize("gold/a"),
        create,
    ]


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [refusal[1:] for refusal in REFUSALS],
    ids=[" ".join(map(str, refusal[:3])) for refusal in REFUSALS],
)
def test_every_operation_explains_a_refusal(
    impatient: Storage, proxy: Proxy, status: int, code: str, said: str
) -> None:
    """C3, C11, C12, C14: whatever is being done, the error says what and where, in one line, and is exit code 4."""
    proxy.spoils = [Spoil("", "refuse", times=999, status=status, code=code)]
    for operation in _operations(impatient):
        with pytest.raises(StorageError, match=said) as caught:
            operation()
        assert not isinstance(caught.value, ObjectMissing)
        assert "\n" not in str(caught.value)
        assert SECRET_KEY not in str(caught.value)
        assert "s3://" in str(caught.value)


def test_c13_a_missing_permission_is_named(impatient: Storage, proxy: Proxy) -> None:
    """C13: the IAM action and the key, for each operation its own."""
    proxy.spoils = [Spoil("", "refuse", times=999, status=403, code="AccessDenied")]
    needed = [
        *("s3:GetObject", "s3:GetObject", "s3:PutObject", "s3:PutObject", "s3:PutObject"),
        *(
            "s3:GetObject and s3:PutObject",
            "s3:DeleteObject",
            "s3:ListBucket",
            "s3:ListBucketMultipartUploads",
        ),
        *("s3:GetObject", "s3:PutObject"),
    ]
    for operation, action in zip(_operations(impatient), needed, strict=True):
        with pytest.raises(StorageError, match=f"lack {action} on s3://") as caught:
            operation()
        assert "/gold" in str(caught.value) or action == "s3:ListBucketMultipartUploads"


def test_a_store_that_cannot_be_reached_is_said_to_be(
    on_seaweed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C3: an endpoint where nobody listens is named as what to check."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        storage = open_storage(on_seaweed)
        with pytest.raises(StorageError, match=r"cannot be reached.*AWS_ENDPOINT_URL"):
            storage.read("a")
        storage.close()


def test_c12_without_credentials_the_variables_are_named(
    on_seaweed: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """C12: no credentials anywhere is an error that says how to give them."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    storage = open_storage(on_seaweed)
    with pytest.raises(StorageError, match=r"no usable AWS credentials.*AWS_PROFILE"):
        storage.put("a", b"x")
    storage.close()


def test_an_unknown_profile_is_said_to_be(on_seaweed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """C12: what boto3 refuses before any request is explained too."""
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(StorageError, match="nobody"):
        open_storage(on_seaweed)


def test_a_full_scratch_folder_is_named(on_seaweed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be kept on the local disk is an error that says where room is needed."""
    storage = open_storage(on_seaweed)
    storage.put("a", b"x")
    storage.scratch().rmdir()
    with pytest.raises(StorageError, match="TMPDIR"):
        storage.localize("a")
    storage.close()


ENCRYPTIONS = [
    (StorageOptions(encryption="AES256"), {"x-amz-server-side-encryption": "AES256"}),
    (
        StorageOptions(encryption="aws:kms", kms_key_id="k-1"),
        {"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": "k-1"},
    ),
]


@pytest.mark.parametrize(("options", "expected"), ENCRYPTIONS, ids=["AES256", "aws:kms"])
def test_every_write_asks_for_encryption_and_sends_its_checksum(
    on_moto: str, options: StorageOptions, expected: dict[str, str]
) -> None:
    """Each request that makes an object names the encryption that is set; each that carries bytes, their SHA-256."""
    storage = open_storage(on_moto, options)
    assert isinstance(storage, S3Storage)
    made: list[tuple[str, AWSRequest]] = []
    storage._client.meta.events.register(
        "before-sign.s3", lambda request, operation_name, **_: made.append((operation_name, request))
    )
    storage.put("a", b"x")
    storage.swap("state", b"x", expected=ABSENT)
    with storage.create("big") as stream:
        stream.write(bytes(17 * 2**20))
    storage.promote("big", "final")
    storage.close()
    makers = {"PutObject", "CreateMultipartUpload", "CopyObject"}
    assert makers | {"UploadPart"} <= {name for name, _ in made}
    for name, request in made:
        if name in makers:
            assert expected == {key: _text(request.headers.get(key)) for key in expected}, name
        if name in {"PutObject", "UploadPart"}:
            assert request.headers["x-amz-checksum-sha256"], name


def _text(value: str | bytes | None) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
