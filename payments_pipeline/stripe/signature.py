"""Stripe's webhook signatures: `Stripe-Signature: t=<Unix seconds>,v1=<hex of HMAC-SHA256 over "t.body">,…`."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Reason = Literal["no_header", "malformed_header", "no_signature", "wrong_signature", "too_old", "too_new"]
"""Why a delivery is not believed; counted, never told to the sender."""

MAX_HEADER_BYTES = 4096
MAX_PARTS = 16
DEFAULT_TOLERANCE_SECONDS = 300

_TIMESTAMP = re.compile(rb"0|[1-9][0-9]{0,11}")
_DIGEST = re.compile(rb"[0-9a-f]{64}")


class BadSignature(ValueError):
    """The delivery is not one of Stripe's, or not a recent one; `reason` says why, in a word."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


@dataclass(frozen=True, slots=True)
class Verifier:
    """Believes bodies signed with any of the `secrets` within `tolerance` seconds, before or after now."""

    secrets: Sequence[bytes]
    tolerance: int = DEFAULT_TOLERANCE_SECONDS

    def check(self, header: bytes | None, body: bytes, now: float) -> None:
        """`BadSignature` unless the header signs exactly these bytes.

        Every signature is compared with that of every secret, in constant time and without stopping at a match.
        """
        timestamp, signatures = parse(header)
        is_right = False
        for secret in self.secrets:
            expected = _digest(timestamp, body, secret)
            for found in signatures:
                is_right |= hmac.compare_digest(expected, found)
        if not is_right:
            raise BadSignature("wrong_signature")
        if now - int(timestamp) > self.tolerance:
            raise BadSignature("too_old")
        if int(timestamp) - now > self.tolerance:
            raise BadSignature("too_new")


def parse(header: bytes | None) -> tuple[bytes, list[bytes]]:
    """The timestamp's digits and every `v1` signature; other schemes are passed over.

    `BadSignature` for a header that is absent, longer than 4,096 bytes or 16 parts, or without exactly one
    timestamp of 1 to 12 digits.
    """
    if header is None:
        raise BadSignature("no_header")
    parts = header.split(b",", MAX_PARTS)
    if len(header) > MAX_HEADER_BYTES or len(parts) > MAX_PARTS:
        raise BadSignature("malformed_header")
    pairs = [part.partition(b"=")[::2] for part in parts]
    stamps = [value for scheme, value in pairs if scheme == b"t"]
    if len(stamps) != 1 or not _TIMESTAMP.fullmatch(stamps[0]):
        raise BadSignature("malformed_header")
    signatures = [value for scheme, value in pairs if scheme == b"v1" and _DIGEST.fullmatch(value)]
    if not signatures:
        raise BadSignature("no_signature")
    return stamps[0], signatures


def sign(body: bytes, secret: bytes, timestamp: int) -> str:
    """The header with which Stripe would send `body` at `timestamp` (Unix seconds)."""
    stamp = str(timestamp).encode()
    return f"t={timestamp},v1={_digest(stamp, body, secret).decode()}"


def _digest(timestamp: bytes, body: bytes, secret: bytes) -> bytes:
    return hmac.new(secret, timestamp + b"." + body, hashlib.sha256).hexdigest().encode()
