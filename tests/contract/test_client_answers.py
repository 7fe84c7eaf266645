"""What the client makes of each answer: statuses, headers and bodies, without a network and without waiting."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import httpx
import pydantic
import pytest

from payments_pipeline.entities import ENTITIES
from payments_pipeline.errors import SourceError, SourceRefused, SourceUnavailable, UsageError
from payments_pipeline.flow import Page, Window
from payments_pipeline.stripe.client import API_VERSION, ClientOptions, StripeClient
from payments_pipeline.stripe.retry import MAX_ATTEMPTS
from tests.unit.stripe.wire import JSON, KEY, START, URL, Script, Time, client_of, list_body, listing, problem

CHARGES = ENTITIES["charges"]
WINDOW = Window(1_700_000_000, 1_700_086_400)
CHARGE = b'{"id":"ch_1","object":"charge","created":1700000000}'
GOOD = listing(CHARGE)


def read(script: Script, time: Time | None = None) -> list[Page]:
    """The pages of one window, as the script answers."""
    with client_of(script, time) as client:
        return list(client.pages(CHARGES, WINDOW))


def failure_of(*answers: httpx.Response | Exception) -> SourceError:
    """How a listing that is answered so ends."""
    with pytest.raises(SourceError) as caught:
        read(Script(list(answers)))
    return caught.value


def test_every_call_carries_the_key_the_version_and_the_window() -> None:
    """And a page says when it was asked for, by which call, in which version."""
    script = Script([GOOD])
    (page,) = read(script)
    (asked,) = script.asked
    assert asked.url.path == "/v1/charges"
    assert dict(asked.url.params) == {
        "created[gte]": "1700000000",
        "created[lt]": "1700086400",
        "limit": "100",
    }
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.headers["stripe-version"] == API_VERSION
    assert page == Page("charges", "list", START, "req_1", API_VERSION, (CHARGE,))


def test_e22_a_page_says_which_version_it_was_rendered_in() -> None:
    """Whatever was asked for."""
    answer = httpx.Response(200, headers={**JSON, "stripe-version": "2019-05-16"}, content=list_body(CHARGE))
    assert read(Script([answer]))[0].api_version == "2019-05-16"


@pytest.mark.parametrize(
    ("header", "least"),
    [("5", 5.0), ("0", 0.0), ("-5", 0.0), ("soon", 0.0), ("Sat, 21 Nov 2026 12:00:09 GMT", 9.0)],
)
def test_e1_429_waits_at_least_what_it_is_asked_for(header: str, least: float) -> None:
    """The wait and some jitter, then the page arrives."""
    time = Time()
    script = Script([problem(429, {"retry-after": header}, code="rate_limit"), GOOD])
    assert len(read(script, time)) == 1
    assert len(script.asked) == 2
    assert least <= time.monotonic() <= least + 1.5


@pytest.mark.parametrize("header", ["61", "86400", "9" * 400, "Sun, 22 Nov 2026 12:00:00 GMT"])
def test_e1_a_wait_beyond_the_cap_ends_the_run_at_once(header: str) -> None:
    """With what to do, and without sleeping, neither this call nor the others."""
    time = Time()
    with client_of(Script([problem(429, {"retry-after": header}), GOOD]), time) as client:
        with pytest.raises(SourceUnavailable, match=r"429.*run again later to continue"):
            list(client.pages(CHARGES, WINDOW))
        assert len(list(client.pages(CHARGES, WINDOW))) == 1
    assert time.monotonic() < 0.1


class Meanwhile(Time):
    """A clock that lets another thread act at the beginning of the first long sleep."""

    act: Callable[[], object] | None = None

    def sleep(self, seconds: float) -> None:
        """As time goes by."""
        act, self.act = (self.act, None) if seconds >= 30 else (None, self.act)
        if act is not None:
            thread = threading.Thread(target=act)
            thread.start()
            thread.join()
        super().sleep(seconds)


def test_e1_a_wait_holds_for_other_threads_too() -> None:
    """The limit is the account's, not the call's."""
    time, asked = Meanwhile(), list[tuple[str, float]]()

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append((request.url.path, time.monotonic()))
        return problem(429, {"retry-after": "30"}) if len(asked) == 1 else GOOD

    with client_of(answer, time) as client:
        time.act = lambda: list(client.pages(ENTITIES["refunds"], WINDOW))
        list(client.pages(CHARGES, WINDOW))
    assert [path for path, _ in asked] == ["/v1/charges", "/v1/refunds", "/v1/charges"]
    assert asked[1][1] >= 30


@pytest.mark.parametrize(
    "reason",
    ["global-rate", "endpoint-rate", "global-concurrency", "endpoint-concurrency", "resource-specific"],
)
def test_e2_429_without_a_wait_backs_off_with_jitter(reason: str) -> None:
    """Whichever limit was met."""
    time = Time()
    script = Script([problem(429, {"stripe-rate-limited-reason": reason}, code="rate_limit")] * 3 + [GOOD])
    assert len(read(script, time)) == 1
    assert len(script.asked) == 4
    assert 0 < time.monotonic() < 0.5 + 1.0 + 2.0 + 0.1


@pytest.mark.parametrize(
    ("status", "code"), [(429, "lock_timeout"), (409, "lock_timeout"), (400, "rate_limit")]
)
def test_e2_limits_in_other_clothes_are_repeated(status: int, code: str) -> None:
    """Lock timeouts, and the rate limit as it once was."""
    script = Script([problem(status, code=code), GOOD])
    assert len(read(script)) == 1
    assert len(script.asked) == 2


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_e3_trouble_of_the_source_is_repeated(status: int) -> None:
    """With a body of Stripe's, or with a gateway's page."""
    gateway = httpx.Response(
        status, headers={"content-type": "text/html"}, content=b"<html>Bad gateway</html>"
    )
    script = Script([problem(status), gateway, GOOD])
    assert len(read(script)) == 1
    assert len(script.asked) == 3


@pytest.mark.parametrize(
    ("status", "advice", "calls"), [(500, "false", 1), (409, "false", 1), (400, "true", 2), (402, "true", 2)]
)
def test_e3_stripes_advice_decides(status: int, advice: str, calls: int) -> None:
    """Against the status, both ways."""
    script = Script([problem(status, {"stripe-should-retry": advice}), GOOD])
    if calls == 1:
        with pytest.raises(SourceRefused):
            read(script)
    else:
        assert len(read(script)) == 1
    assert len(script.asked) == calls


def test_e3_a_source_that_stays_broken_is_given_up() -> None:
    """After a bounded number of attempts, with the last answer's words."""
    time, script = Time(), Script([problem(503, message="Down for maintenance.")])
    with client_of(script, time) as client:
        with pytest.raises(SourceUnavailable, match=r"/v1/charges still fails.*503: Down for maintenance\."):
            list(client.pages(CHARGES, WINDOW))
        counts = client.counts
    assert len(script.asked) == counts.calls == MAX_ATTEMPTS
    assert (counts.retries, counts.failures, counts.statuses) == (MAX_ATTEMPTS - 1, 1, {503: MAX_ATTEMPTS})
    assert time.monotonic() < 60


def test_e3_the_budget_ends_a_run_whose_calls_all_fail_sooner_or_later() -> None:
    """Half of all answers broken is no short outage: the run stops, whatever each call could still try."""
    time, asked = Time(), []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return GOOD if len(asked) % 2 == 0 else problem(500)

    with client_of(answer, time) as client, pytest.raises(SourceUnavailable):
        deque((list(client.pages(CHARGES, WINDOW)) for _ in range(10_000)), maxlen=0)
    assert len(asked) < 1000
    assert time.monotonic() < 600


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 424])
def test_e4_refusals_fail_at_once_and_say_why(status: int) -> None:
    """Stripe's message and request id, what to do, and never the key, not even when the answer echoes it."""
    script = Script([problem(status, message=f"No: {KEY}", code="some_code"), GOOD])
    with pytest.raises(SourceRefused) as caught:
        read(script)
    assert len(script.asked) == 1
    message = str(caught.value)
    assert message.startswith(f"GET /v1/charges answered {status}: No: [api key] (request id req_1).")
    assert KEY not in message
    assert (caught.value.status, caught.value.code) == (status, "some_code")
    hint = {401: "STRIPE_API_KEY", 403: "permission"}.get(status, "no retry can help")
    assert hint in message


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b'{"error":"flat"}', b'{"error":{"message":7}}', b"[" * 100_000, b"\xff"]
)
def test_e4_a_refusal_without_stripes_envelope_is_still_one(body: bytes) -> None:
    """A proxy may have spoken."""
    error = failure_of(httpx.Response(403, headers={"content-type": "application/json"}, content=body))
    assert isinstance(error, SourceRefused)
    assert "answered 403: no message (request id none)" in str(error)


def test_e4_a_foreign_text_is_one_plain_line() -> None:
    """No escape sequences for the terminal, no forged log lines, no megabytes."""
    error = failure_of(problem(400, message="a\x1b[31m\nERROR forged\u2028" + "x" * 10_000))
    assert str(error).isprintable()
    assert len(str(error)) < 1000


@pytest.mark.parametrize("key", ["", " ", "sk_test_mock\n", "sk test", "sk_tést", "sk_test\x00"])
def test_e4_a_key_that_cannot_be_sent_is_refused_without_showing_it(key: str) -> None:
    """A stray line break is common where keys are pasted; libraries print such headers in full."""
    with pytest.raises(UsageError, match="check STRIPE_API_KEY") as caught:
        StripeClient(ClientOptions(URL, pydantic.SecretStr(key)), lambda: START)
    assert "sk" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("refused"),
        httpx.ReadError("reset"),
        httpx.RemoteProtocolError("server disconnected"),
        httpx.ReadTimeout("timed out"),
        httpx.PoolTimeout("busy"),
    ],
)
def test_e5_failures_of_the_network_are_repeated(error: httpx.TransportError) -> None:
    """They are counted as calls that brought no answer."""
    script = Script([error, error, GOOD])
    with client_of(script) as client:
        assert len(list(client.pages(CHARGES, WINDOW))) == 1
        assert client.counts.statuses == {0: 2, 200: 1}
        assert client.counts.retries == 2


def test_e6_truncated_json_is_repeated_wherever_it_was_cut() -> None:
    """No cut is taken for a page: not an empty one, not a shorter one, not the last one."""
    body = list_body(CHARGE, CHARGE, has_more=False)
    for end in range(len(body)):
        cut = httpx.Response(200, headers=JSON, content=body[:end])
        (page,) = read(Script([cut, GOOD]))
        assert page.records == (CHARGE,)


def test_e6_a_refusal_that_is_cut_off_is_asked_for_again() -> None:
    """Half an error does not say whether the object is unknown or the call is wrong."""
    whole = problem(404, message="No such charge", code="resource_missing")
    for end in range(1, len(whole.content)):
        half = httpx.Response(404, headers=JSON, content=whole.content[:end])
        script = Script([half, GOOD])
        read(script)
        assert len(script.asked) == 2


def test_e6_json_that_stays_truncated_is_given_up() -> None:
    """Nothing of it is kept."""
    error = failure_of(httpx.Response(200, headers=JSON, content=list_body(CHARGE)[:-1]))
    assert isinstance(error, SourceUnavailable)
    assert "cut off" in str(error)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/html", b"<html>Sign in to the hotel's network</html>"),
        ("text/html", list_body(CHARGE)),
        ("text/plain", b""),
        (None, list_body(CHARGE)),
    ],
)
def test_e8_an_answer_that_is_not_json_is_refused(kind: str | None, body: bytes) -> None:
    """A captive portal answers 200 to everything; asking again would not change that."""
    script = Script([httpx.Response(200, headers={"content-type": kind} if kind else {}, content=body), GOOD])
    with pytest.raises(SourceError, match=r"instead of JSON.*check the base URL and proxies"):
        read(script)
    assert len(script.asked) == 1


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b"null", b'{"object":"charge"}', b'{"data":[],"has_more":false}']
)
def test_e8_json_that_is_no_list_is_not_an_empty_list(body: bytes) -> None:
    """Another service's JSON must not pass for an account without charges."""
    error = failure_of(httpx.Response(200, headers=JSON, content=body))
    assert isinstance(error, SourceUnavailable)


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, gzip"])
def test_e9_a_compression_nobody_asked_for_is_refused(encoding: str) -> None:
    """Compressed twice, one packet could become gigabytes."""

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["accept-encoding"] == "gzip"
        return httpx.Response(
            200, headers={**JSON, "content-encoding": encoding}, stream=httpx.ByteStream(b"x")
        )

    with client_of(answer) as client, pytest.raises(SourceError, match="compressed"):
        list(client.pages(CHARGES, WINDOW))


def test_e9_a_broken_compression_is_repeated() -> None:
    """Something on the way has damaged it."""
    broken = httpx.Response(
        200, headers={**JSON, "content-encoding": "gzip"}, stream=httpx.ByteStream(b"junk")
    )
    assert len(read(Script([broken, GOOD]))) == 1
