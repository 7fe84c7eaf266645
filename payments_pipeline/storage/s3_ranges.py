"""Parts of objects in a bucket, read only where the store vouches for the whole."""

from __future__ import annotations

import base64
import re
from contextlib import closing
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from payments_pipeline.errors import VersionConflict
from payments_pipeline.storage.base import Traffic, Vouched, check_key
from payments_pipeline.storage.s3_client import BrokenAnswer, again, code_of, explained, receiving

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

_SHA256 = re.compile("[A-Za-z0-9+/]{43}=")
_REPLACED = {"PreconditionFailed", "InvalidRange", "NoSuchKey", "404", "412", "416"}


class S3Ranges:
    """Ranges of the objects below a prefix, each asked for by the ETag of the object that was vouched for.

    A range proves nothing by itself. So the store must know the SHA-256 of the whole object, which it compared when
    it took the object in, and be reached over TLS, under which no byte changes on its way.
    """

    def __init__(self, client: S3Client, bucket: str, prefix: str, traffic: Traffic) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._traffic = traffic

    def vouched(self, key: str) -> Vouched | None:
        check_key(key)
        if not self._client.meta.endpoint_url.startswith("https://"):
            return None
        name = self._prefix + key
        with explained(self._where(key)):
            found = self._client.head_object(Bucket=self._bucket, Key=name, ChecksumMode="ENABLED")
        checksum = found.get("ChecksumSHA256", "")
        if not _SHA256.fullmatch(checksum):  # there is none, or it is one of the checksums of parts
            return None
        return Vouched(found["ETag"], found["ContentLength"], base64.b64decode(checksum).hex())

    def read_range(self, key: str, start: int, stop: int, *, version: str) -> bytes:
        check_key(key)
        with explained(self._where(key)):
            try:
                return again(lambda: self._received(key, start, stop, version))
            except ClientError as error:
                if code_of(error) not in _REPLACED:
                    raise
                raise VersionConflict(
                    f"{self._where(key)} was changed by somebody else while it was read; ask again."
                ) from error

    def _received(self, key: str, start: int, stop: int, version: str) -> bytes:
        where = self._where(key)
        answer = self._client.get_object(
            Bucket=self._bucket,
            Key=self._prefix + key,
            Range=f"bytes={start}-{stop - 1}",
            IfMatch=version,
        )
        with receiving(where), closing(answer["Body"]) as body:
            data = body.read()
        self._traffic.add(read=len(data))
        if not answer.get("ContentRange", "").startswith(f"bytes {start}-{stop - 1}/"):
            raise BrokenAnswer(f"{where}: the store answered with other bytes than it was asked for.")
        return data

    def _where(self, key: str) -> str:
        return f"s3://{self._bucket}/{self._prefix}{key}"
