"""Who answers, and what time it is there."""

from __future__ import annotations

import httpx
import pytest

from payments_pipeline.errors import SourceRefused
from payments_pipeline.stripe.client import SourceInfo
from tests.unit.stripe.wire import JSON, START, Script, client_of, listing, problem

NOW = int(START.timestamp())
ACCOUNT = b'{"id":"acct_1","object":"account"}'


def account(date: str | None) -> httpx.Response:
    """The account, answered at that time."""
    return httpx.Response(200, headers={**JSON, **({"date": date} if date else {})}, content=ACCOUNT)


def info(*answers: httpx.Response) -> SourceInfo:
    """What the client finds out."""
    with client_of(Script(answers)) as client:
        return client.source_info()


@pytest.mark.parametrize(
    ("date", "now"),
    [
        ("Sat, 21 Nov 2026 14:00:00 GMT", NOW + 7200),
        ("Fri, 20 Nov 2026 12:00:00 GMT", NOW - 86_400),
        ("Sat, 21 Nov 2026 14:00:00 -0000", NOW + 7200),
        (None, NOW),
        ("soon", NOW),
        ("Sat, 21 Nov 99999999999999999999 12:00:00 GMT", NOW),
    ],
)
def test_e24_the_time_is_the_sources_own(date: str | None, now: int) -> None:
    """However wrong our clock is; ours only where the source does not say."""
    assert info(account(date)) == SourceInfo("acct_1", now, livemode=False)


@pytest.mark.parametrize("status", [403, 404])
def test_a_key_that_may_not_read_the_account_still_works(status: int) -> None:
    """A restricted key: the account stays unknown, its time does not."""
    script = Script([problem(status), listing()])
    with client_of(script) as client:
        assert client.source_info() == SourceInfo(None, NOW, livemode=False)
    assert [request.url.path for request in script.asked] == ["/v1/account", "/v1/customers"]


def test_e4_a_key_that_is_not_accepted_is_refused() -> None:
    """Before anything else is tried."""
    script = Script([problem(401)])
    with client_of(script) as client, pytest.raises(SourceRefused, match="check STRIPE_API_KEY"):
        client.source_info()
    assert len(script.asked) == 1
