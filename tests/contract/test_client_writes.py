"""What the client writes: once for each idempotency key, under the same rules of retry and refusal as its reads."""

from __future__ import annotations

import httpx
import pytest

from payments_pipeline.errors import SourceRefused, SourceUnavailable
from payments_pipeline.stripe.client import Written
from payments_pipeline.stripe.retry import MAX_ATTEMPTS
from tests.unit.stripe.wire import JSON, KEY, Script, Time, client_of, problem

CUSTOMER = b'{"id":"cus_1","object":"customer"}'
GOOD = httpx.Response(200, headers=JSON, content=CUSTOMER)
PARAMS = {"email": "a+b@example.com", "items[0][price]": "price_1"}


def post(script: Script, time: Time | None = None) -> Written:
    """One write, as the script answers."""
    with client_of(script, time) as client:
        return client.post("customers", params=PARAMS, key="key-1")


def test_a_post_is_a_form_with_its_idempotency_key() -> None:
    """Brackets and all, in the body and not in the address."""
    script = Script([GOOD])
    assert post(script) == Written(CUSTOMER, replayed=False)
    (asked,) = script.asked
    assert (asked.method, asked.url.path, asked.url.query) == ("POST", "/v1/customers", b"")
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    assert asked.headers["idempotency-key"] == "key-1"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert dict(httpx.QueryParams(asked.content.decode())) == PARAMS


@pytest.mark.parametrize(
    "failure",
    [
        problem(429, {"retry-after": "2"}, code="rate_limit"),
        problem(409, code="idempotency_key_in_use"),
        problem(500),
        httpx.ReadError("connection reset"),
        httpx.ReadTimeout("too slow"),
        httpx.Response(200, headers=JSON, content=CUSTOMER[:-9]),
    ],
    ids=["429", "409", "500", "reset", "timeout", "cut off"],
)
def test_a_repeated_post_is_the_same_post(failure: httpx.Response | Exception) -> None:
    """Whatever became of the first attempt, the API can tell that it is asked for the same thing."""
    script = Script([failure, failure, GOOD])
    assert post(script).record == CUSTOMER
    assert len(script.asked) == 3
    assert {(asked.headers["idempotency-key"], asked.content) for asked in script.asked} == {
        ("key-1", script.asked[0].content)
    }


def test_a_post_waits_as_long_as_it_is_asked_to() -> None:
    """The shared limit holds for writes too."""
    time = Time()
    post(Script([problem(429, {"retry-after": "7"}), GOOD]), time)
    assert 7.0 <= time.monotonic() <= 8.5


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404])
def test_a_refused_post_is_not_repeated(status: int) -> None:
    """The message says what was asked for and what Stripe said."""
    script = Script([problem(status, message="Your card was declined.", code="card_declined")])
    with pytest.raises(SourceRefused, match=rf"POST /v1/customers answered {status}: Your card") as caught:
        post(script)
    assert (caught.value.status, caught.value.code) == (status, "card_declined")
    assert len(script.asked) == 1


def test_a_post_that_keeps_failing_is_given_up() -> None:
    """After as many attempts as a read gets."""
    script = Script([problem(503)])
    with pytest.raises(SourceUnavailable, match=r"POST .*/v1/customers still fails"):
        post(script)
    assert len(script.asked) == MAX_ATTEMPTS


def test_an_answer_that_is_only_repeated_says_so() -> None:
    """Then the object may have changed since: the caller must look."""
    answer = httpx.Response(200, headers={**JSON, "idempotent-replayed": "true"}, content=CUSTOMER)
    assert post(Script([answer])) == Written(CUSTOMER, replayed=True)


def test_an_id_stays_one_segment_of_the_path() -> None:
    """Whatever it holds, another path cannot be reached with it."""
    script = Script([GOOD])
    with client_of(script) as client:
        client.post("customers", "../charges?x=1", params={}, key="key-1")
    assert script.asked[0].url.raw_path == b"/v1/customers/%2E%2E%2Fcharges%3Fx%3D1"


def test_a_delete_is_repeated_and_may_find_its_work_done() -> None:
    """Without a body or a key; that the object is gone is told like any other refusal."""
    script = Script([problem(502), problem(404, code="resource_missing")])
    with client_of(script) as client, pytest.raises(SourceRefused) as caught:
        client.delete("subscriptions", "sub_1")
    assert caught.value.code == "resource_missing"
    assert [(asked.method, asked.url.path, asked.content) for asked in script.asked] == [
        ("DELETE", "/v1/subscriptions/sub_1", b"")
    ] * 2
