"""The connection to an S3 store: how it is made, how long it is patient, and what its refusals mean."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
    ResponseStreamingError,
)

from payments_pipeline.errors import CorruptObject, ObjectMissing, StorageError

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

_T = TypeVar("_T")
_CONNECT_SECONDS, _READ_SECONDS, _CONNECTIONS = 5, 30, 64
_PATIENCE_SECONDS, _LONGEST_PAUSE = 60.0, 4.0
"""How long a store may be away. boto3's own retries give up after seconds, the sooner the more threads need them."""
_AWAY = {500, 502, 503, 504}
_UNREACHABLE = (EndpointConnectionError, ConnectTimeoutError, HTTPClientError)
_ATTEMPTS, _PAUSE_SECONDS = 5, 0.2
_PASSING = {"ConditionalRequestConflict", "OperationAborted", "BadDigest", "XAmzContentSHA256Mismatch"}

_PERMISSIONS = {
    "HeadObject": "s3:GetObject",
    "ListObjectsV2": "s3:ListBucket",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "CopyObject": "s3:GetObject and s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
}
"""The IAM action an operation needs, where its name is another."""

_EXPIRED = "the credentials have expired: renew them, and run again"
_ELSEWHERE = "the bucket is in another region: set AWS_REGION to it"
_LATER = "the store is overloaded or at fault: run again later"
_REMEDIES = {
    "RequestTimeTooSkewed": "this machine's clock is wrong by minutes: set it, and run again",
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "InvalidAccessKeyId": "the store does not know the access key: check the credentials",
    "InvalidToken": "the session token is not valid: check the credentials",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key: check the credentials",
    "PermanentRedirect": _ELSEWHERE,
    "AuthorizationHeaderMalformed": _ELSEWHERE,
    "IllegalLocationConstraintException": _ELSEWHERE,
    "301": _ELSEWHERE,
    "SlowDown": _LATER,
    "ServiceUnavailable": _LATER,
    "InternalError": _LATER,
    "NotImplemented": "a lake needs conditional writes (If-Match, If-None-Match), which this store does not have",
    "EntityTooLarge": "the store allows no object, or no copy, of this size",
}


class BrokenAnswer(StorageError):
    """The store's answer ended early, or its bytes changed on their way."""


def connect(region: str | None) -> S3Client:
    """A client with credentials, endpoint and, unless `region` is given, the region from boto3's own chain.

    It waits a minute for a store that goes away, unless `AWS_MAX_ATTEMPTS` says how often a request is tried.
    """
    session = botocore.session.Session()
    attempts = session.get_config_variable("max_attempts")
    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        max_pool_connections=_CONNECTIONS,
        retries={"mode": "standard", **({"total_max_attempts": attempts} if attempts else {})},
    )
    client = boto3.session.Session(botocore_session=session, region_name=region).client("s3", config=config)
    if not attempts:
        client.meta.events.register("needs-retry.s3", cast("Callable[..., None]", Patience()))
    return client


class Patience:
    """Asked by boto3 after each attempt: the pause before one more, or None if the request is not worth it.

    boto3's own retries are asked first; this goes on where they end, until a minute after the request's first
    failure. A store that has never answered is not waited for: its address is more likely to be wrong.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._has_answered = False

    def __call__(
        self,
        *,
        response: tuple[Any, Any] | None,
        caught_exception: Exception | None,
        request_dict: dict[str, Any],
        attempts: int,
        **_: object,
    ) -> float | None:
        """Seconds to wait. `request_dict` is the request's own: it remembers when the first attempt failed."""
        self._has_answered = self._has_answered or response is not None
        is_away = isinstance(caught_exception, _UNREACHABLE) or (
            response is not None and response[0].status_code in _AWAY
        )
        if not is_away or not self._has_answered:
            return None
        first: float = request_dict["context"].setdefault("first_failure", self._clock())
        if self._clock() - first > _PATIENCE_SECONDS:
            return None
        return float(min(_PAUSE_SECONDS * 2 ** (attempts - 1), _LONGEST_PAUSE))


def code_of(error: ClientError) -> str:
    """S3's code for what was wrong; the HTTP status where an answer has no body to hold one."""
    return str(error.response.get("Error", {}).get("Code", ""))


def again(action: Callable[[], _T], sleep: Callable[[float], None] = time.sleep) -> _T:
    """What `action` returns; done again if bytes were lost or changed on their way, or others wrote at that moment."""
    for attempt in range(_ATTEMPTS - 1):
        try:
            return action()
        except ClientError as error:
            if code_of(error) not in _PASSING:
                raise
        except (BrokenAnswer, CorruptObject):
            pass
        sleep(_PAUSE_SECONDS * 2**attempt)
    return action()


@contextmanager
def receiving(where: str) -> Iterator[None]:
    """`BrokenAnswer` if the body of an answer that is read in the block is cut off or differs from its checksum."""
    try:
        yield
    except (IncompleteReadError, ResponseStreamingError, ReadTimeoutError, FlexibleChecksumError) as error:
        raise BrokenAnswer(
            f"{where} arrives incomplete or changed, again and again ({type(error).__name__}). Nothing was "
            "changed; look at what lies between this machine and the store, and run again."
        ) from error


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Turn what boto3 or the scratch folder raises into a `StorageError` that says what, where and what to do."""
    try:
        yield
    except ClientError as error:
        raise _refused(code_of(error), error.operation_name, where) from error
    except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError) as error:
        raise StorageError(
            f"no usable AWS credentials for {where}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, "
            "or run under a role. Nothing was changed."
        ) from error
    except (EndpointConnectionError, ConnectTimeoutError, ReadTimeoutError) as error:
        raise StorageError(
            f"the store of {where} cannot be reached ({type(error).__name__}): check AWS_ENDPOINT_URL, AWS_REGION and "
            "the network. What was published before is untouched; run again."
        ) from error
    except BotoCoreError as error:
        raise StorageError(
            f"{where} cannot be used: {' '.join(str(error).split())}. What was published before is untouched."
        ) from error
    except OSError as error:
        raise StorageError(
            f"the local copy of {where} cannot be written or read: {error.strerror or error}. What was published "
            "before is untouched; free space, or set TMPDIR to a folder with more."
        ) from error


def _refused(code: str, operation: str, where: str) -> StorageError:
    """The error for a code that `operation` on `where`, a `s3://` URL, was answered with."""
    if code in {"NoSuchKey", "404"}:
        return ObjectMissing(f"{where} is not there.")
    if code == "NoSuchBucket":
        bucket = where.removeprefix("s3://").partition("/")[0]
        return StorageError(
            f"there is no bucket {bucket!r} for {where}: create it, or correct S3_BUCKET. Nothing was changed."
        )
    if code in {"AccessDenied", "403"}:
        needed = _PERMISSIONS.get(operation, f"s3:{operation}")
        return StorageError(
            f"access denied: the credentials lack {needed} on {where}. What was published before is untouched; "
            "allow it, and run again."
        )
    remedy = _REMEDIES.get(code, "the store's documentation explains that code")
    return StorageError(
        f"{operation} on {where} was answered with {code}: {remedy}. What was published before is untouched."
    )
