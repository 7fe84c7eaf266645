"""Log lines hold no secret and no personal data, wherever in an event it was put."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from payments_pipeline.cli.context import reporting
from payments_pipeline.errors import UsageError
from payments_pipeline.log import LogReporter, Redactor, make_logger
from payments_pipeline.quality.gate import masked
from payments_pipeline.settings import Settings

CONFIGURED = ["hunter2-configured", "sk_test_mock", "päss wörd", 'quote"back\\slash']
"""Secrets that are known because they are set."""

CANARIES = [
    *CONFIGURED,
    "sk_live_canary0123456789",
    "sk_test_canary0123456789",
    "rk_live_canary0123456789",
    "rk_test_canary0123456789",
    "whsec_canary0123456789",
    "AKIACANARY0123456789",
    "Bearer canary-0123456789",
    "bearer canary-lower-case",
    "canary:password@db.example.com",
    "canary.person@example.com",
    "canary+tag@example.co.uk",
    "canary_x@mail.example.com",
    "CANARY.UPPER@EXAMPLE.COM",
    "4242 4242 4242 4242",
    "4000-0566-5566-5556",
    "5555555555554444",
    "3782 822463 10005",
]
"""What must never be seen: credentials by their shape, e-mail addresses, card numbers."""

assert len(CANARIES) >= 20


def _written(event: str, **fields: object) -> str:
    return _written_with(CONFIGURED, event, **fields)


def _written_with(secrets: Sequence[str], event: str, **fields: object) -> str:
    stream = io.StringIO()
    reporter = LogReporter(make_logger(Redactor(secrets), stream), "run-1")
    reporter.event(event, **fields)
    return stream.getvalue()


def _shown(canary: str, text: str) -> bool:
    """Whether the canary, or its telling part, is in the text, as it is or escaped as JSON."""
    core = (
        canary.split("@", maxsplit=1)[0].rsplit(" canary", maxsplit=1)[-1]
        if "canary" in canary.lower()
        else canary
    )
    return core in text or json.dumps(core)[1:-1] in text or canary in text


@pytest.mark.parametrize("canary", CANARIES)
def test_no_canary_is_seen(canary: str) -> None:
    """As a value, inside a text, deep in lists and mappings, in bytes, as a key, as the event and in an exception."""
    url = f"https://{canary}/x?q=1" if ":" in canary and "@" in canary else canary
    lines = [
        _written("event", value=url),
        _written("event", message=f"calling {url}, then again ({url})"),
        _written("event", deep={"a": [{"b": ("x", url)}]}, one={url}, frozen=frozenset([url])),
        _written("event", raw=url.encode()),
        _written("event", keys={url: 1}),
        _written(f"event about {url}"),
        _written("event", error=ValueError(f"refused: {url}")),
        _written("event", exc_info=_raised(url)),
    ]
    for line in lines:
        assert not _shown(canary, line), line
        assert json.loads(line)["run_id"] == "run-1"


def _raised(text: str) -> ValueError:
    """An error with a cause, as it is after having been raised."""
    try:
        try:
            raise KeyError(text)
        except KeyError as cause:
            raise ValueError(f"cannot use {text}") from cause
    except ValueError as error:
        return error


def test_without_the_redactor_every_canary_would_be_seen() -> None:
    """The test above can fail: what takes the canaries out is the redactor, and the configured ones need it set."""
    plain = json.dumps(CANARIES, ensure_ascii=False)
    assert all(_shown(canary, plain) for canary in CANARIES)
    assert _shown("hunter2-configured", _written_with([], "event", value="hunter2-configured"))


def test_a_secret_within_a_secret_leaves_nothing() -> None:
    """The longest is taken out first."""
    line = _written_with(["abc", "abcdef", ""], "event", value="abcdef")
    assert json.loads(line)["value"] == "[redacted]"


def test_ordinary_values_stay() -> None:
    """Counts, times, ids, keys and run ids are what logs are for."""
    fields: dict[str, object] = {
        "records": 12345678901234,
        "entity": "charges",
        "key": "bronze/source=stripe/entity=charges/dt=2026-01-10/run_id=run-20260110T000000-abcdef/part-000001-00001.jsonl",
        "ids": ["ch_00000001", "in_1"],
        "share": 0.25,
        "none": None,
        "flag": True,
        "digest": "0123456789abcdef" * 4,
        "seconds": 1767225600,
        "url": "https://api.stripe.com/v1/charges",
    }
    found = json.loads(_written("extract_complete", **fields))
    assert {name: found[name] for name in fields} == fields
    assert (found["event"], found["level"]) == ("extract_complete", "info")
    assert datetime.fromisoformat(found["timestamp"]).tzinfo == UTC


def test_a_line_stays_one_line() -> None:
    """Newlines and escape codes in a value cannot forge a line or a colour."""
    line = _written("event", value='a\n{"event": "forged"}\r\x1b[31m')
    assert line.count("\n") == 1
    assert "\x1b" not in line


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("ch_3AbCdEf123456", "ch_…3456"),
        ("price_1AbCdEf123456", "price_…3456"),
        ("Jenny Rosen", "<11 characters>"),
        ("jenny@example.com", "<17 characters>"),
        ("=cmd|' /C calc'!A0", "<18 characters>"),
        ("\x1b[31mred", "<8 characters>"),
        ("succeeded", "succeeded"),
        ("usd", "usd"),
        ("2026-01-01", "2026-01-01"),
        (12, "12"),
        (None, "None"),
    ],
)
def test_samples_are_masked(value: object, shown: str) -> None:
    """Reports show what kind of value was bad, never whose."""
    assert masked(value) == shown


def test_a_refusal_is_one_line_without_a_trace(capsys: pytest.CaptureFixture[str]) -> None:
    """What is refused on purpose says all in its message, which is redacted like the rest."""
    with pytest.raises(UsageError), reporting(Settings.from_env({}), "run-1"):
        raise UsageError("whsec_canary0123456789 is no secret")
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["exit_code"], line["error"]) == ("run_failed", 2, "[redacted] is no secret")
    assert "exception" not in line
