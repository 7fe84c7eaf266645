"""Stripe's error envelope: `{"error": {"type", "code"?, "message", "param"?, "doc_url"?, "decline_code"?}}` with its HTTP status."""

from __future__ import annotations

from typing import Any

from mock_api.state import WorldError

_DOCS_OF_CODES = "https://stripe.com/docs/error-codes/"


class ApiError(Exception):
    """An answer that is not 2xx. `fields` are the optional members of the envelope (code, param, decline_code, charge …)."""

    def __init__(self, status: int, kind: str, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.fields = {name: value for name, value in fields.items() if value is not None}

    def envelope(self, request_id: str) -> dict[str, Any]:
        """The body of the answer."""
        error = {"type": self.kind, "message": self.message, **self.fields}
        if "code" in self.fields:
            error["doc_url"] = _DOCS_OF_CODES + str(self.fields["code"]).replace("_", "-")
        error["request_log_url"] = f"https://dashboard.stripe.com/test/logs/{request_id}"
        return {"error": error}


def bad_request(message: str, *, param: str | None = None, code: str | None = None) -> ApiError:
    """400 `invalid_request_error`."""
    return ApiError(400, "invalid_request_error", message, code=code, param=param)


def missing(noun: str, object_id: str, *, param: str = "id", status: int = 404) -> ApiError:
    """`resource_missing`: 404 when the id is in the URL, 400 when it is in a parameter."""
    return ApiError(
        status,
        "invalid_request_error",
        f"No such {noun}: '{object_id}'",
        code="resource_missing",
        param=param,
    )


def unrecognized_url(method: str, path: str) -> ApiError:
    """404 for a path or a method that the API does not have."""
    message = f"Unrecognized request URL ({method}: {path}). Please see https://stripe.com/docs or we can help at https://support.stripe.com/."
    return ApiError(404, "invalid_request_error", message)


def rate_limited() -> ApiError:
    """429 as the global limiter gives it."""
    message = "Request rate limit exceeded. You can learn more about rate limits here https://stripe.com/docs/rate-limits."
    return ApiError(429, "invalid_request_error", message, code="rate_limit")


def refused(error: WorldError) -> ApiError:
    """What the simulated account itself refuses, as Stripe words it."""
    return bad_request(error.message, code=error.code, param=error.param)
