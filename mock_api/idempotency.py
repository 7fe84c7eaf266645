"""Idempotency keys of POST requests: the first result of a key is kept for 24 simulated hours and replayed."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from mock_api.errors import ApiError, bad_request

MAX_LENGTH = 255
KEPT_SECONDS = 24 * 3600


@dataclass(frozen=True, slots=True)
class Kept:
    """The first result of a key and what was asked then."""

    at: int
    path: str
    params: Any
    request_id: str
    status: int
    body: bytes


class IdempotencyKeys:
    """The results kept by key. The caller holds the world's lock, so two requests with one key never overlap."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Kept] = OrderedDict()

    def find(self, key: str, path: str, params: Any) -> Kept | None:
        """The kept result; raises `ApiError` (400 `idempotency_error`) when the key was used for something else."""
        if len(key) > MAX_LENGTH:
            raise bad_request(
                f"Idempotency keys must be at most {MAX_LENGTH} characters long.", param="Idempotency-Key"
            )
        kept = self._kept.get(key)
        if kept is None:
            return None
        if kept.path != path:
            raise _reused(f"for the same endpoint they were first used for ('{path}' vs '{kept.path}')", key)
        if kept.params != params:
            raise _reused("with the same parameters they were first used with", key)
        return kept

    def keep(self, key: str, result: Kept) -> None:
        """Keeps a result that an execution produced; never call it for parameters that failed validation."""
        self._kept[key] = result

    def prune(self, now: int) -> None:
        """Forgets the results that are older than 24 hours."""
        while self._kept and next(iter(self._kept.values())).at <= now - KEPT_SECONDS:
            self._kept.popitem(last=False)


def _reused(rule: str, key: str) -> ApiError:
    message = f"Keys for idempotent requests can only be used {rule}. Try using a key other than '{key}' if you meant to execute a different request."
    return ApiError(400, "idempotency_error", message)
