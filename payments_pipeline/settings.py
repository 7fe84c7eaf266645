"""Settings: what the environment says, checked once; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self
from urllib.parse import urlsplit

import pydantic

from payments_pipeline.errors import UsageError

STRIPE_URL = "https://api.stripe.com"
_EXAMPLES = {"s3_bucket": "my-bucket", "duckdb_memory_limit": "2GB"}
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


class Settings(pydantic.BaseModel):
    """Everything that can be set, each by the environment variable of the same name in capitals.

    With neither `mock_api_base_url` nor `stripe_api_key` the simulated account runs inside the process.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    env: str = "DEV"
    pipeline_env: Literal["LOCAL", "AWS"] = "LOCAL"
    local_data_dir: str = pydantic.Field("./_local_data", min_length=1)
    s3_bucket: str | None = pydantic.Field(None, pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    s3_prefix: str = ""
    s3_sse: Literal["AES256", "aws:kms"] | None = None
    s3_kms_key_id: str | None = None
    aws_region: str | None = None
    mock_api_base_url: str | None = None
    stripe_api_key: pydantic.SecretStr | None = None
    max_page_size: int = pydantic.Field(100, ge=1, le=100)
    max_requests_per_second: float | None = pydantic.Field(None, gt=0, le=1000)
    max_connections: int = pydantic.Field(16, ge=1, le=64)
    safety_window_seconds: int = pydantic.Field(3600, ge=0)
    max_quarantine_share: float = pydantic.Field(0.01, ge=0, le=1)
    duckdb_memory_limit: str = pydantic.Field("2GB", pattern=r"^\d+(\.\d+)? ?[KMGT]i?B$")
    duckdb_threads: int | None = pydantic.Field(None, ge=1, le=256)
    run_id: str | None = None
    database_url: pydantic.SecretStr | None = None
    verify_webhook_signatures: bool = True
    webhook_secret: pydantic.SecretStr | None = None
    webhook_tolerance_seconds: int = pydantic.Field(300, ge=1, le=86_400)

    @pydantic.field_validator("mock_api_base_url")
    @classmethod
    def _safe_url(cls, value: str | None) -> str | None:
        """https, or plain http to this machine only: a key must not travel in the clear."""
        if value is None:
            return None
        url = urlsplit(value)
        if (
            url.scheme not in {"http", "https"}
            or not url.hostname
            or url.username
            or url.query
            or url.fragment
        ):
            raise ValueError("not a plain http(s) URL")
        if url.scheme == "http" and url.hostname not in _LOOPBACK:
            raise ValueError("plain http is for this machine only (127.0.0.1, localhost); use https")
        return value.rstrip("/")

    @pydantic.model_validator(mode="after")
    def _one_lake(self) -> Self:
        """`UsageError` where two settings would mean two lakes, or one lacks what it needs."""
        if self.pipeline_env == "AWS" and self.s3_bucket is None:
            raise UsageError(
                "PIPELINE_ENV=AWS needs S3_BUCKET, the bucket of the lake. Nothing was read or written."
            )
        if self.s3_bucket is not None and "pipeline_env" not in self.model_fields_set:
            raise UsageError(
                "S3_BUCKET is set and PIPELINE_ENV is not: set PIPELINE_ENV=AWS for the lake in the bucket, "
                "PIPELINE_ENV=LOCAL for the one in LOCAL_DATA_DIR. Nothing was read or written."
            )
        if self.s3_kms_key_id is not None and self.s3_sse != "aws:kms":
            raise UsageError("S3_KMS_KEY_ID needs S3_SSE=aws:kms. Nothing was read or written.")
        return self

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """The settings in `environ`; an empty variable counts as not set. `UsageError` names what is wrong.

        `LOCAL_DATA_DIR=s3://bucket/prefix` is another way to write `PIPELINE_ENV=AWS`, `S3_BUCKET` and `S3_PREFIX`.
        """
        values = {
            name: environ[name.upper()] for name in cls.model_fields if environ.get(name.upper(), "").strip()
        }
        try:
            return cls.model_validate(_with_bucket(values))
        except pydantic.ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            name = str(problem["loc"][0])
            why = f"write it like {_EXAMPLES[name]}" if name in _EXAMPLES else problem["msg"]
            raise UsageError(
                f"environment variable {name.upper()} is not usable: {why}. Nothing was read or written."
            ) from error

    def require_development(self, command: str) -> None:
        """`UsageError` unless ENV is DEV: `command` makes up data, or throws data away."""
        if self.env.upper() != "DEV":
            raise UsageError(
                f"ENV is {self.env!r}, and '{command}' is for ENV=DEV only: it makes up data or throws data away. "
                "Nothing was read or written."
            )

    @property
    def lake(self) -> str:
        """Where the lake is: a folder's path, or `s3://bucket/prefix`."""
        if self.pipeline_env == "LOCAL":
            return self.local_data_dir
        return f"s3://{self.s3_bucket}/{self.s3_prefix.strip('/')}".rstrip("/")

    @property
    def uses_embedded_mock(self) -> bool:
        """Whether the simulated account is to be started inside this process."""
        return self.mock_api_base_url is None and self.stripe_api_key is None

    @property
    def source(self) -> str:
        """Which API is read, in words for people."""
        if self.uses_embedded_mock:
            return "the simulated account (neither STRIPE_API_KEY nor MOCK_API_BASE_URL is set)"
        if self.mock_api_base_url is not None:
            return f"the API at {self.mock_api_base_url}"
        return "Stripe in live mode" if self._is_live else "Stripe in test mode"

    @property
    def rate(self) -> float:
        """Calls a second: what is set, else half of Stripe's live limit for a live key, most of the sandbox's, free for the mock."""
        if self.max_requests_per_second is not None:
            return self.max_requests_per_second
        if self.stripe_api_key is None:
            return 1000.0
        return 50.0 if self._is_live else 20.0

    @property
    def _is_live(self) -> bool:
        return self.stripe_api_key is not None and "_live_" in self.stripe_api_key.get_secret_value()


def _with_bucket(values: dict[str, str]) -> dict[str, str]:
    """The values with an `s3://` URL taken apart; `UsageError` if they name another lake beside it."""
    url = values.get("local_data_dir", "")
    if not url.startswith("s3://"):
        return values
    if values.get("pipeline_env", "AWS") != "AWS" or values.keys() & {"s3_bucket", "s3_prefix"}:
        raise UsageError(
            f"LOCAL_DATA_DIR is {url}, and PIPELINE_ENV, S3_BUCKET or S3_PREFIX name another lake; leave one of them "
            "out. Nothing was read or written."
        )
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    others = {name: value for name, value in values.items() if name != "local_data_dir"}
    return {**others, "pipeline_env": "AWS", "s3_bucket": bucket, "s3_prefix": prefix}
