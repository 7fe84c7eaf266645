from __future__ import annotations

import ast
import hashlib
import hmac
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stripe import SignatureVerificationError, WebhookSignature

from payments_pipeline.stripe import signature
from payments_pipeline.stripe.signature import BadSignature, Verifier, parse, sign

NOW = 1_790_000_000
OLD, NEW = b"whsec_test_old_secret", b"whsec_test_new_secret"
BODY = b'{"id": "evt_1", "text": "gr\xc3\xbc\xc3\x9fe"}'


def digest(timestamp: str = str(NOW), body: bytes = BODY, secret: bytes = NEW) -> str:
    """The signature, made without the code under test."""
    return hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


GOOD, T = digest(), f"t={NOW}"
WRONG = "0" * 64

ACCEPTED = {
    "plain": f"{T},v1={GOOD}",
    "signature first": f"v1={GOOD},{T}",
    "signed with the other secret": f"{T},v1={digest(secret=OLD)}",
    "both secrets": f"{T},v1={GOOD},v1={digest(secret=OLD)}",
    "a wrong one before": f"{T},v1={WRONG},v1={GOOD}",
    "a wrong one after": f"{T},v1={GOOD},v1={WRONG}",
    "fourteen wrong ones": f"{T}{f',v1={WRONG}' * 14},v1={GOOD}",
    "another scheme before": f"{T},v0={WRONG},v1={GOOD}",
    "another scheme after": f"{T},v1={GOOD},v0={WRONG}",
    "an unknown scheme": f"{T},v1={GOOD},v9=anything",
    "a part without a value": f"{T},v1={GOOD},v0=",
    "a malformed v1 beside it": f"{T},v1=abc,v1={GOOD}",
    "an empty v1 beside it": f"{T},v1=,v1={GOOD}",
    "oldest": f"t={NOW - 300},v1={digest(str(NOW - 300))}",
    "newest": f"t={NOW + 300},v1={digest(str(NOW + 300))}",
    "twice the same": f"{T},v1={GOOD},v1={GOOD}",
}

REFUSED = {
    "nothing": ("", "malformed_header"),
    "a word": ("hello", "malformed_header"),
    "only commas": (",,,", "malformed_header"),
    "only equals": ("=", "malformed_header"),
    "no timestamp": (f"v1={GOOD}", "malformed_header"),
    "no value of t": (f"t=,v1={GOOD}", "malformed_header"),
    "t alone": (f"t,v1={GOOD}", "malformed_header"),
    "no signature": (T, "no_signature"),
    "empty signature": (f"{T},v1=", "no_signature"),
    "v1 alone": (f"{T},v1", "no_signature"),
    "only v0": (f"{T},v0={GOOD}", "no_signature"),
    "only v2": (f"{T},v2={GOOD}", "no_signature"),
    "capital scheme": (f"{T},V1={GOOD}", "no_signature"),
    "capital T": (f"T={NOW},v1={GOOD}", "malformed_header"),
    "capital digits": (f"{T},v1={GOOD.upper()}", "no_signature"),
    "63 digits": (f"{T},v1={GOOD[:-1]}", "no_signature"),
    "65 digits": (f"{T},v1={GOOD}0", "no_signature"),
    "sha512": (f"{T},v1={GOOD * 2}", "no_signature"),
    "not hex": (f"{T},v1={'g' * 64}", "no_signature"),
    "0x": (f"{T},v1=0x{GOOD[2:]}", "no_signature"),
    "quoted": (f'{T},v1="{GOOD}"', "no_signature"),
    "space before v1": (f"{T}, v1={GOOD}", "no_signature"),
    "space after v1": (f"{T},v1 ={GOOD}", "no_signature"),
    "space before the digits": (f"{T},v1= {GOOD}", "no_signature"),
    "space after the digits": (f"{T},v1={GOOD} ", "no_signature"),
    "newline after the digits": (f"{T},v1={GOOD}\n", "no_signature"),
    "semicolon": (f"{T};v1={GOOD}", "malformed_header"),
    "all zeros": (f"{T},v1={WRONG}", "wrong_signature"),
    "one bit": (f"{T},v1={GOOD[:-1]}{int(GOOD[-1], 16) ^ 1:x}", "wrong_signature"),
    "of another body": (f"{T},v1={digest(body=BODY + b' ')}", "wrong_signature"),
    "of an empty body": (f"{T},v1={digest(body=b'')}", "wrong_signature"),
    "of another time": (f"t={NOW + 1},v1={GOOD}", "wrong_signature"),
    "of a stranger's secret": (f"{T},v1={digest(secret=b'whsec_stranger')}", "wrong_signature"),
    "of no secret": (f"{T},v1={digest(secret=b'')}", "wrong_signature"),
    "of the body alone": (f"{T},v1={hmac.new(NEW, BODY, hashlib.sha256).hexdigest()}", "wrong_signature"),
    "sha1 padded": (f"{T},v1={hmac.new(NEW, BODY, hashlib.sha1).hexdigest():0<64}", "wrong_signature"),
    "too old": (f"t={NOW - 301},v1={digest(str(NOW - 301))}", "too_old"),
    "from long ago": (f"t=0,v1={digest('0')}", "too_old"),
    "too new": (f"t={NOW + 301},v1={digest(str(NOW + 301))}", "too_new"),
    "from far ahead": (f"t=999999999999,v1={digest('999999999999')}", "too_new"),
    "thirteen digits": (f"t={NOW}000,v1={digest(f'{NOW}000')}", "malformed_header"),
    "five thousand digits": (f"t={'1' * 5000},v1={GOOD}", "malformed_header"),
    "negative": (f"t=-{NOW},v1={digest(f'-{NOW}')}", "malformed_header"),
    "plus sign": (f"t=+{NOW},v1={GOOD}", "malformed_header"),
    "leading zero": (f"t=0{NOW},v1={digest(f'0{NOW}')}", "malformed_header"),
    "underscore": (f"t=1_790_000_000,v1={GOOD}", "malformed_header"),
    "space before the time": (f"t= {NOW},v1={GOOD}", "malformed_header"),
    "space after the time": (f"t={NOW} ,v1={GOOD}", "malformed_header"),
    "fraction": (f"t={NOW}.0,v1={digest(f'{NOW}.0')}", "malformed_header"),
    "exponent": ("t=1e9,v1=" + digest("1e9"), "malformed_header"),
    "hexadecimal": (f"t={NOW:#x},v1={GOOD}", "malformed_header"),
    "a word for a time": (f"t=now,v1={digest('now')}", "malformed_header"),
    "nan": (f"t=nan,v1={digest('nan')}", "malformed_header"),
    "superscript two": (f"t=²,v1={GOOD}", "malformed_header"),
    "arabic digits": (f"t=١٧٩,v1={GOOD}", "malformed_header"),
    "full width digits": (f"t=１７９,v1={GOOD}", "malformed_header"),
    "two times": (f"{T},t={NOW},v1={GOOD}", "malformed_header"),
    "two different times": (f"t={NOW - 9999},{T},v1={GOOD}", "malformed_header"),
    "an empty time beside it": (f"t=,{T},v1={GOOD}", "malformed_header"),
    "seventeen parts": (f"{T}{f',v1={WRONG}' * 15},v1={GOOD}", "malformed_header"),
    "a thousand signatures": (f"{T}{f',v1={WRONG}' * 999},v1={GOOD}", "malformed_header"),
    "too long": (f"{T},v1={GOOD},v0={'x' * 4096}", "malformed_header"),
    "umlaut in a signature": (f"{T},v1=ü{GOOD[1:]}", "no_signature"),
    "nul": (f"{T},v1={GOOD}\0", "no_signature"),
    "equals inside": (f"{T},v1={GOOD}=", "no_signature"),
}


def official(header: str, secrets: tuple[bytes, ...] = (NEW, OLD)) -> bool:
    """Whether the official package believes it with one of the secrets."""
    for secret in secrets:
        try:
            if WebhookSignature.verify_header(BODY.decode(), header, secret.decode(), None):
                return True
        except (SignatureVerificationError, ValueError):
            continue
    return False


def refusal(header: bytes | None, *, body: bytes = BODY, now: float = NOW) -> str:
    """Why both secrets' verifier refuses the header."""
    with pytest.raises(BadSignature) as caught:
        Verifier([OLD, NEW]).check(header, body, now)
    return caught.value.reason


@pytest.mark.parametrize("header", ACCEPTED.values(), ids=ACCEPTED)
def test_w5_what_stripe_may_send_is_believed(header: str) -> None:
    """Any v1 signature with any active secret will do, and the official package believes it too."""
    Verifier([OLD, NEW]).check(header.encode(), BODY, NOW)
    assert official(header)


@pytest.mark.parametrize(("header", "reason"), REFUSED.values(), ids=REFUSED)
def test_w5_everything_else_is_refused(header: str, reason: str) -> None:
    """Each shape is refused for the reason it is counted under, never by an error."""
    assert refusal(header.encode()) == reason
    assert refusal(header.encode("latin-1", "replace")) in {reason, "malformed_header", "no_signature"}


def test_the_tables_are_long_enough() -> None:
    """Eighty shapes and more, and no header at all."""
    assert len(ACCEPTED) + len(REFUSED) >= 80
    assert refusal(None) == "no_header"


def test_w4_tolerance_ends_on_the_second_both_ways() -> None:
    """300 seconds are believed, 301 are not, in the past and in the future; fractions count."""
    verifier, header = Verifier([NEW]), f"{T},v1={GOOD}".encode()
    for offset in (-300, -299.5, 0, 299.5, 300):
        verifier.check(header, BODY, NOW + offset)
    assert refusal(header, now=NOW + 300.1) == "too_old"
    assert refusal(header, now=NOW - 300.1) == "too_new"
    Verifier([NEW], tolerance=1000).check(header, BODY, NOW + 1000)


def test_w6_a_secret_that_is_no_more_active_is_refused() -> None:
    """During a rotation both are believed, afterwards the old one is not."""
    header = sign(BODY, OLD, NOW).encode()
    Verifier([OLD, NEW]).check(header, BODY, NOW)
    with pytest.raises(BadSignature):
        Verifier([NEW]).check(header, BODY, NOW)
    with pytest.raises(BadSignature):
        Verifier([]).check(header, BODY, NOW)


def test_every_bit_of_the_body_counts() -> None:
    """A body that differs in any one bit is refused."""
    header = sign(BODY, NEW, NOW).encode()
    for position in range(len(BODY) * 8):
        changed = bytearray(BODY)
        changed[position // 8] ^= 1 << position % 8
        assert refusal(header, body=bytes(changed)) == "wrong_signature"


@given(st.text(), st.integers(0, 10**11))
def test_both_sign_alike(text: str, timestamp: int) -> None:
    """For any payload, our header is the one that the official package makes."""
    payload = text.encode("utf-8", "replace").decode()
    theirs = WebhookSignature.generate_signature_header(payload, NEW.decode(), timestamp)
    assert sign(payload.encode(), NEW, timestamp) == theirs


@given(
    st.lists(
        st.sampled_from([T, f"v1={GOOD}", f"v1={WRONG}", "v0=x", "t=1", "v1=", "=", "x", " "]), max_size=18
    )
)
def test_nothing_is_believed_that_stripe_would_refuse(parts: list[str]) -> None:
    """Whatever the parts and their order: if we believe a header, so does the official package."""
    header = ",".join(parts)
    try:
        Verifier([NEW]).check(header.encode(), BODY, NOW)
    except BadSignature:
        return
    assert official(header, (NEW,))


@given(st.binary(max_size=5000))
def test_no_bytes_are_an_error(header: bytes) -> None:
    """Any header is parsed or refused."""
    try:
        timestamp, signatures = parse(header)
    except BadSignature:
        return
    assert timestamp.isdigit()
    assert signatures


def test_digests_are_compared_in_constant_time() -> None:
    """No `==`, `!=` or `in` stands in the verifier: only `hmac.compare_digest` sees a digest."""
    tree = ast.parse(Path(signature.__file__).read_text("utf-8"))
    [verifier] = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Verifier"]
    operators = {
        type(operator).__name__
        for node in ast.walk(verifier)
        if isinstance(node, ast.Compare)
        for operator in node.ops
    }
    assert operators == {"Gt"}
    assert "compare_digest" in ast.dump(verifier)
