from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from mock_api.faults import Answer, Cut, Drop, Duplicate, Empty, Latency, Poison, Rule, Slow, Truncate

if TYPE_CHECKING:
    from mock_api.faults import AnyAction
    from tests.contract.mock_api.conftest import Serve, Served

AUTH = ("sk_test_mock", "")


def get(account: Served, path: str = "/v1/prices?limit=5", **options: Any) -> httpx.Response:
    """A request without the SDK, to see the bytes."""
    return httpx.get(f"{account.url}{path}", auth=AUTH, **options)


def get_with(serve: Serve, action: AnyAction) -> httpx.Response:
    """The answer of an account under one fault."""
    with serve(rules=(Rule(action),)) as account:
        return get(account)


def test_a_scripted_answer_carries_its_headers_and_body(serve: Serve) -> None:
    """Status, Stripe's headers, or any body at all, such as a captive portal's page with status 200."""
    limited = get_with(serve, Answer(429, {"Retry-After": "7", "Stripe-Should-Retry": "true"}))
    assert (limited.status_code, limited.json()["error"]["code"]) == (429, "rate_limit")
    assert (limited.headers["retry-after"], limited.headers["stripe-should-retry"]) == ("7", "true")
    page = get_with(serve, Answer(200, body="<html>Sign in</html>"))
    assert (page.status_code, page.headers["content-type"], page.text) == (
        200,
        "text/html; charset=utf-8",
        "<html>Sign in</html>",
    )


def test_a_scripted_answer_leaves_the_connection_usable(serve: Serve) -> None:
    """Also when the body of the request was never read; nothing was executed."""
    with (
        serve(rules=(Rule(Answer(503), method="POST", nth=(1,)),)) as account,
        httpx.Client(auth=AUTH) as client,
    ):
        statuses = [
            client.post(f"{account.url}/v1/customers", data={"description": "x" * 100_000}).status_code
            for _ in range(2)
        ]
        assert statuses == [503, 200]
        assert len([row for row in get(account, "/v1/customers").json()["data"] if row["description"]]) == 1


def test_a_drop_closes_the_connection_without_an_answer(serve: Serve) -> None:
    """Nothing is executed, and the server goes on."""
    with serve(rules=(Rule(Drop(), nth=(1,)),)) as account:
        with pytest.raises(httpx.TransportError):
            get(account)
        assert get(account).status_code == 200
        assert account.faults.stats()["dropped"] == 1


def test_a_cut_executes_the_request_and_breaks_the_body(serve: Serve) -> None:
    """A retry with the same idempotency key learns what had happened."""
    with serve(rules=(Rule(Cut(0.5), method="POST", nth=(1,)),)) as account:
        ask = {"url": f"{account.url}/v1/customers", "auth": AUTH, "headers": {"Idempotency-Key": "k"}}
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.post(**ask, data={"name": "Once"})  # type: ignore[arg-type]  # one set of options for both requests
        again = httpx.post(**ask, data={"name": "Once"})  # type: ignore[arg-type]  # as above
        assert again.headers["idempotent-replayed"] == "true"
        assert [row["name"] for row in get(account, "/v1/customers").json()["data"]].count("Once") == 1


def test_a_truncated_body_looks_complete_to_http(serve: Serve) -> None:
    """Content-Length matches; only the JSON is broken."""
    answer = get_with(serve, Truncate(0.5))
    assert (answer.status_code, int(answer.headers["content-length"])) == (200, len(answer.content))
    with pytest.raises(json.JSONDecodeError):
        answer.json()


def test_a_slow_body_outlasts_a_read_timeout_but_is_whole(serve: Serve) -> None:
    """Pieces arrive after pauses."""
    with serve(rules=(Rule(Slow(bytes=2000, seconds=0.05)),)) as account:
        answer = get(account)
        assert len(answer.json()["data"]) == 5
        assert answer.elapsed.total_seconds() > 0.05 * (len(answer.content) // 2000)
    with serve(rules=(Rule(Slow(seconds=0.5)),)) as account, pytest.raises(httpx.ReadTimeout):
        get(account, timeout=0.2)


def test_latency_delays_one_request_without_stopping_others(serve: Serve) -> None:
    """The server stays responsive."""
    with serve(rules=(Rule(Latency(0.3), path="/v1/prices"),)) as account:
        started = time.monotonic()
        get(account)
        assert time.monotonic() - started >= 0.3
        with pytest.raises(httpx.ReadTimeout):
            get(account, timeout=0.1)
        assert get(account, "/v1/products", timeout=0.2).status_code == 200


def test_spoiled_pages(serve: Serve) -> None:
    """Duplicated rows, an empty page that promises more, and a record no parser should take."""
    rows = get_with(serve, Duplicate(2)).json()["data"]
    assert (len(rows), rows[5:]) == (7, rows[:2])
    empty = get_with(serve, Empty()).json()
    assert (empty["data"], empty["has_more"]) == ([], True)
    poisoned = get_with(serve, Poison("NaN", field="unit_amount", row=1))
    assert '"unit_amount": NaN' in poisoned.text
    assert [isinstance(row["unit_amount"], float) for row in poisoned.json()["data"]] == [
        False,
        True,
        False,
        False,
        False,
    ]
    assert get_with(serve, Poison('"\\ud800"', field="nickname")).json()["data"][0]["nickname"] == "\ud800"


def test_pages_only_are_spoiled_by_what_is_about_pages(serve: Serve) -> None:
    """A single object passes unchanged."""
    with serve(rules=(Rule(Empty()),)) as account:
        assert get(account, "/v1/account").json()["object"] == "account"


def test_the_script_is_replaced_and_the_traffic_read_over_http(shop: Served) -> None:
    """End-to-end tests steer a server in another process; a script that makes no sense is refused."""
    script = {
        "rules": [{"action": {"type": "answer", "status": 503}, "path": "/v1/charges*", "times": 1}],
        "seed": 3,
    }
    assert httpx.post(f"{shop.url}/_mock/faults", json=script).status_code == 200
    assert [get(shop, "/v1/charges").status_code for _ in range(2)] == [503, 200]
    stats = httpx.get(f"{shop.url}/_mock/stats").json()
    assert (stats["requests"], stats["by_status"], stats["fired"]) == (2, {"200": 1, "503": 1}, [1])
    assert stats["by_path"] == {"/v1/charges": 2}
    bad = httpx.post(f"{shop.url}/_mock/faults", json={"rules": [{"action": {"type": "explode"}}]})
    assert bad.status_code == 400
    assert "explode" in bad.json()["error"]


def test_the_truth_is_served_as_of_now(shop: Served) -> None:
    """By kind and id, played forward to the clock."""
    truth = httpx.get(f"{shop.url}/_mock/truth").json()
    assert (
        set(truth["prices"])
        == {row["id"] for row in get(shop, "/v1/prices?limit=100").json()["data"]}
        != set()
    )
    with shop.world.lock:
        assert truth == shop.world.truth()


def test_the_manual_clock_moves_forward_only(shop: Served) -> None:
    """And what happens meanwhile happens."""
    now = httpx.get(f"{shop.url}/_mock/clock").json()["now"]
    before = len(httpx.get(f"{shop.url}/_mock/truth").json()["events"])
    assert httpx.post(f"{shop.url}/_mock/clock", json={"now": now + 5 * 86_400}).json() == {
        "now": now + 5 * 86_400
    }
    assert len(httpx.get(f"{shop.url}/_mock/truth").json()["events"]) > before
    assert httpx.post(f"{shop.url}/_mock/clock", json={"now": now}).status_code == 400


def test_control_and_health_never_go_wrong(serve: Serve) -> None:
    """Faults and limits are about the API alone."""
    with serve(rules=(Rule(Answer(500)),), rate_limit=1.0) as account:
        for _ in range(3):
            assert httpx.get(f"{account.url}/health").json() == {"status": "ok"}
        assert httpx.get(f"{account.url}/").json()["links"]["documentation"] == "/docs"
        assert account.faults.stats()["requests"] == 0


def test_swagger_lists_every_endpoint(served: Served) -> None:
    """Grouped by tag, with the parameters of each list."""
    assert "swagger" in httpx.get(f"{served.url}/docs").text.lower()
    paths = httpx.get(f"{served.url}/openapi.json").json()["paths"]
    listing = paths["/v1/subscriptions"]["get"]
    assert listing["tags"] == ["Billing"]
    assert {"limit", "starting_after", "created", "status"} <= {
        parameter["name"] for parameter in listing["parameters"]
    }
    assert {"get", "post", "delete"} == set(paths["/v1/customers/{id}"])
