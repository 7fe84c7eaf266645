"""A lake in a bucket of Amazon S3, or of a store that speaks its protocol: the only module that imports boto3."""

from __future__ import annotations

import base64
import hashlib
import io
import secrets
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, TypedDict

from botocore.exceptions import BotoCoreError, ClientError

from payments_pipeline.errors import CorruptObject, ObjectExists, ObjectMissing, VersionConflict
from payments_pipeline.storage.base import (
    ABSENT,
    ObjectInfo,
    Remote,
    StorageOptions,
    Traffic,
    check_key,
    is_key,
)
from payments_pipeline.storage.s3_client import again, code_of, connect, explained, receiving
from payments_pipeline.storage.s3_ranges import S3Ranges

if TYPE_CHECKING:
    from types_boto3_s3.type_defs import CompletedPartTypeDef, GetObjectOutputTypeDef

_PART_BYTES = 16 * 2**20
_CHUNK_BYTES = 2**20
_LOST = {"PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey", "NoSuchUpload", "404", "409", "412"}
"""The answers to a conditional write that mean: somebody was faster, or this very write was, and its answer was lost."""


class _Condition(TypedDict, total=False):
    IfMatch: str
    IfNoneMatch: str


class _Encryption(TypedDict, total=False):
    ServerSideEncryption: Literal["AES256", "aws:kms"]
    SSEKMSKeyId: str


class S3Storage:
    """Objects below a prefix of a bucket.

    Versions are ETags; `create` and `swap` are conditional writes, so the store decides who was first. A write
    whose answer was lost and whose repetition is refused is recognised by the token in the object's metadata.
    SHA-256 is sent with every write and checked on every whole read. Credentials, region and endpoint come from
    boto3's own chain; a store that goes away is waited for a minute.
    """

    def __init__(self, bucket: str, prefix: str = "", options: StorageOptions | None = None) -> None:
        chosen = options or StorageOptions()
        self.url = f"s3://{bucket}/{prefix}".rstrip("/")
        self.traffic = Traffic()
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._encryption = _encryption(chosen)
        with explained(self.url):
            self._client = connect(chosen.region)
        self.remote: Remote | None = S3Ranges(self._client, bucket, self._prefix, self.traffic)
        self._copies: dict[str, tuple[str, Path]] = {}
        self._documents: dict[str, tuple[str, bytes]] = {}
        self._scratch: Path | None = None
        self._lock = threading.Lock()

    def read(self, key: str) -> bytes:
        with explained(self._where(key)):
            return again(lambda: self._whole(key))[0]

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        try:
            with explained(self._where(key)):
                return again(lambda: self._whole(key))
        except ObjectMissing:
            return b"", ABSENT

    def swap(self, key: str, data: bytes, *, expected: str) -> str:
        version = self._store(key, io.BytesIO(data), expected=expected)
        self._documents[key] = (version, data)
        return version

    def put(self, key: str, data: bytes) -> None:
        self._documents[key] = (self._store(key, io.BytesIO(data)), data)

    @contextmanager
    def create(self, key: str) -> Iterator[BinaryIO]:
        check_key(key)
        draft = self._draft()
        try:
            with explained(self._where(key)):
                with draft.open("xb") as stream:
                    yield stream
                self._upload(draft, key, expected=ABSENT)
        except VersionConflict as error:
            raise ObjectExists(f"{self._where(key)} exists, and it is never overwritten.") from error
        finally:
            draft.unlink(missing_ok=True)

    def adopt(self, path: Path, key: str) -> None:
        with explained(self._where(key)):
            self._upload(path, key)

    def promote(self, source: str, target: str) -> None:
        origin, name = self._key(source), self._key(target)
        with explained(self._where(source)):
            self._client.copy_object(
                Bucket=self._bucket,
                Key=name,
                CopySource={"Bucket": self._bucket, "Key": origin},
                ChecksumAlgorithm="SHA256",
                **self._encryption,
            )
        self.delete(source)

    def delete(self, key: str) -> None:
        with explained(self._where(key)):
            self._client.delete_object(Bucket=self._bucket, Key=self._key(key))
        self._copies.pop(key, None)
        self._documents.pop(key, None)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix + prefix
        )
        with explained(self._where(prefix)):
            found = [
                ObjectInfo(
                    entry["Key"].removeprefix(self._prefix), entry["Size"], entry["LastModified"].timestamp()
                )
                for page in pages
                for entry in page.get("Contents", ())
            ]
        # Some stores list folder by folder, which is not the order of the keys' text.
        yield from sorted((info for info in found if is_key(info.key)), key=lambda info: info.key)

    def sweep(self, before: float) -> int:
        pages = self._client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self._bucket, Prefix=self._prefix
        )
        with explained(self.url):
            old = [
                upload
                for page in pages
                for upload in page.get("Uploads", ())
                if upload["Initiated"].timestamp() < before
            ]
            for upload in old:
                self._abort(upload["Key"], upload["UploadId"])
        return len(old)

    def localize(self, key: str) -> Path:
        check_key(key)
        with explained(self._where(key)):
            return again(lambda: self._localized(key))

    def scratch(self) -> Path:
        with self._lock:
            if self._scratch is None:
                self._scratch = Path(tempfile.mkdtemp(prefix="payments-pipeline-"))
            return self._scratch

    def close(self) -> None:
        self._client.close()
        self._copies.clear()
        self._documents.clear()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None

    def _key(self, key: str) -> str:
        check_key(key)
        return self._prefix + key

    def _where(self, key: str) -> str:
        return f"{self.url}/{key}".rstrip("/")

    def _draft(self) -> Path:
        return self.scratch() / f".tmp-{secrets.token_hex(8)}"

    def _whole(self, key: str) -> tuple[bytes, str]:
        """The bytes and their version, fetched unless they are still those that this process has read or written."""
        version, data = self._documents.get(key, (ABSENT, b""))
        answer = self._unless(key, version)
        if answer is not None:
            data, version = self._received(key, answer), answer["ETag"]
            self._check(key, answer, hashlib.sha256(data).hexdigest())
            self._documents[key] = (version, data)
        return data, version

    def _unless(self, key: str, version: str) -> GetObjectOutputTypeDef | None:
        """The object; None if it still has this version."""
        condition = _Condition(IfNoneMatch=version) if version != ABSENT else _Condition()
        try:
            return self._client.get_object(Bucket=self._bucket, Key=self._key(key), **condition)
        except ClientError as error:
            if condition and code_of(error) == "304":
                return None
            raise

    def _localized(self, key: str) -> Path:
        """The local copy, fetched unless the object is still the one that was copied."""
        version, path = self._copies.get(key, (ABSENT, Path()))
        answer = self._unless(key, version)
        if answer is None:
            return path
        draft, digest = self._draft(), hashlib.sha256()
        try:
            with receiving(self._where(key)), closing(answer["Body"]) as body, draft.open("xb") as stream:
                for chunk in body.iter_chunks(_CHUNK_BYTES):
                    self.traffic.add(read=len(chunk))
                    digest.update(chunk)
                    stream.write(chunk)
            self._check(key, answer, digest.hexdigest())
            return self._keep(draft, key, answer["ETag"])
        finally:
            draft.unlink(missing_ok=True)

    def _keep(self, path: Path, key: str, version: str) -> Path:
        """Move a file to where `localize` finds it, so that what this process wrote is not fetched again."""
        folder = self.scratch() / hashlib.sha256(f"{version} {key}".encode()).hexdigest()[:32]
        folder.mkdir(exist_ok=True)
        kept = folder / key.rpartition("/")[2]
        shutil.move(path, kept)
        self._copies[key] = (version, kept)
        return kept

    def _check(self, key: str, answer: GetObjectOutputTypeDef, found: str) -> None:
        """`CorruptObject` unless the bytes are those that were written; objects of other writers are taken as they are."""
        expected = answer["Metadata"].get("sha256", found)
        if found != expected:
            raise CorruptObject(
                f"{self._where(key)} is not the object that was written (sha256 {found[:12]}…, expected "
                f"{expected[:12]}…). It was not used."
            )

    def _received(self, key: str, answer: GetObjectOutputTypeDef) -> bytes:
        """The bytes of an answer, all of them."""
        with receiving(self._where(key)), closing(answer["Body"]) as body:
            data = body.read()
        self.traffic.add(read=len(data))
        return data

    def _upload(self, path: Path, key: str, *, expected: str | None = None) -> None:
        """Make a file the object, and keep it as the object's local copy."""
        with path.open("rb") as stream:
            version = self._store(key, stream, expected=expected)
        self._keep(path, key, version)

    def _store(self, key: str, body: BinaryIO, *, expected: str | None = None) -> str:
        """Write the object if it is what is `expected` (None: whatever it is); its version, or `VersionConflict`."""
        name, token = self._key(key), secrets.token_hex(16)
        metadata = {"sha256": _sha256(body), "token": token}
        size = body.seek(0, io.SEEK_END)
        send = self._send if size <= _PART_BYTES else self._send_in_parts
        with explained(self._where(key)):
            try:
                version = again(lambda: send(name, body, metadata, _condition(expected)))
            except ClientError as error:
                if code_of(error) not in _LOST:
                    raise
                version = self._version_written(name, token)
                if version == ABSENT:
                    raise VersionConflict(
                        f"{self._where(key)} was changed by somebody else; nothing was written."
                    ) from error
        self.traffic.add(written=size)
        return version

    def _send(self, name: str, body: BinaryIO, metadata: dict[str, str], condition: _Condition) -> str:
        body.seek(0)
        return self._client.put_object(
            Bucket=self._bucket,
            Key=name,
            Body=body,
            Metadata=metadata,
            ChecksumSHA256=base64.b64encode(bytes.fromhex(metadata["sha256"])).decode(),
            **condition,
            **self._encryption,
        )["ETag"]

    def _send_in_parts(
        self, name: str, body: BinaryIO, metadata: dict[str, str], condition: _Condition
    ) -> str:
        upload = self._client.create_multipart_upload(
            Bucket=self._bucket, Key=name, Metadata=metadata, ChecksumAlgorithm="SHA256", **self._encryption
        )["UploadId"]
        try:
            body.seek(0)
            parts = [
                self._send_part(name, upload, number, chunk)
                for number, chunk in enumerate(iter(lambda: body.read(_PART_BYTES), b""), 1)
            ]
            return self._client.complete_multipart_upload(
                Bucket=self._bucket, Key=name, UploadId=upload, MultipartUpload={"Parts": parts}, **condition
            )["ETag"]
        except BaseException:
            with suppress(ClientError, BotoCoreError):  # `sweep` finds what is left of it
                self._abort(name, upload)
            raise

    def _send_part(self, name: str, upload: str, number: int, chunk: bytes) -> CompletedPartTypeDef:
        checksum = base64.b64encode(hashlib.sha256(chunk).digest()).decode()
        answer = self._client.upload_part(
            Bucket=self._bucket,
            Key=name,
            UploadId=upload,
            PartNumber=number,
            Body=chunk,
            ChecksumSHA256=checksum,
        )
        return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum}

    def _abort(self, name: str, upload: str) -> None:
        self._client.abort_multipart_upload(Bucket=self._bucket, Key=name, UploadId=upload)

    def _version_written(self, name: str, token: str) -> str:
        """The object's version if it was written with `token`, `ABSENT` otherwise."""
        try:
            found = self._client.head_object(Bucket=self._bucket, Key=name)
        except ClientError as error:
            if code_of(error) == "404":
                return ABSENT
            raise
        return found["ETag"] if found["Metadata"].get("token") == token else ABSENT


def _sha256(body: BinaryIO) -> str:
    digest = hashlib.sha256()
    for chunk in iter(lambda: body.read(_CHUNK_BYTES), b""):
        digest.update(chunk)
    return digest.hexdigest()


def _condition(expected: str | None) -> _Condition:
    if expected is None:
        return {}
    return {"IfMatch": expected} if expected != ABSENT else {"IfNoneMatch": "*"}


def _encryption(options: StorageOptions) -> _Encryption:
    if options.encryption is None:
        return {}
    chosen: _Encryption = {"ServerSideEncryption": options.encryption}
    return {**chosen, "SSEKMSKeyId": options.kms_key_id} if options.kms_key_id else chosen
