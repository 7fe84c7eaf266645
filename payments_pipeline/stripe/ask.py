"""One call to the API: what is asked for, and where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Ask:
    """One call; a POST carries the same idempotency `key` whenever it is repeated."""

    method: str
    path: str
    params: Mapping[str, str]
    key: str | None = None

    def __str__(self) -> str:
        return f"{self.method} /v1/{self.path}"


def path_of(*segments: str) -> str:
    """The path with these segments: whatever an id holds, it stays one segment, never `..`."""
    return "/".join(quote(segment, safe="").replace(".", "%2E") for segment in segments)
