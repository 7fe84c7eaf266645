"""Writes remembered, to be repeated on an account that is made anew in another process."""

from __future__ import annotations

import http.client
from dataclasses import dataclass
from urllib.parse import urlsplit

_KEY = "sk_test_journal"
_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Written:
    """A request that may have written: the account's second, the request's id, and the request as it was sent."""

    at: int
    request_id: str
    method: str
    path: str
    form: str
    key: str | None
    """Its idempotency key."""
    version: str | None = None
    """The API version that it asked for."""


def repeat(url: str, write: Written) -> None:
    """Send the request again, under its id, to the account at `url`; what was refused then is refused now."""
    headers = {"Authorization": f"Bearer {_KEY}", "Content-Type": _FORM, "Request-Id": write.request_id}
    if write.key is not None:
        headers["Idempotency-Key"] = write.key
    if write.version is not None:
        headers["Stripe-Version"] = write.version
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    try:
        connection.request(write.method, write.path, write.form, headers)
        connection.getresponse().read()
    finally:
        connection.close()
