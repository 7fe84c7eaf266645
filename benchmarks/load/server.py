"""A Stripe-shaped list of charges, served fast enough never to be what a benchmark measures.

`python -m benchmarks.load.server --rows 50000` prints one JSON line with its address and then serves until its standard
input ends. Charges of 2,450 bytes are made from one template, so that a million of them need no memory.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import sys
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

import click

END = 1_790_812_800
"""2026-10-01 00:00:00 UTC, after the newest charge."""

DAYS = 30
"""The charges were created within that many days before `END`, if nothing else is said."""

RECORD_BYTES = 2_450
_SEPARATOR = b",\n"
_HEAD = b'{"object":"list","url":"/v1/charges","has_more":%s,"data":['
_ID, _CREATED = b"@id@@@@@@", b"@created@@"
_BY_HOUR = (1, 1, 1, 1, 1, 2, 3, 4, 6, 8, 9, 9, 9, 9, 9, 9, 9, 9, 8, 8, 7, 5, 3, 2)


@dataclass(frozen=True, slots=True)
class Terms:
    """What is served and how: the number of charges, the days they fill, seconds before each answer, calls allowed in any second."""

    rows: int
    days: int = DAYS
    latency: float = 0.0
    rate: int = 0


@dataclass(slots=True)
class Counts:
    """What the server has seen so far."""

    requests: int = 0
    refused: int = 0
    under_way: int = 0
    most_under_way: int = 0
    recent: deque[float] = field(default_factory=deque)

    def cpu_seconds(self) -> float:
        """What this process has cost."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime


class Charges:
    """`rows` charges, newest first, as pages of any cut."""

    def __init__(self, rows: int, days: int = DAYS) -> None:
        self.rows = rows
        self._created = _moments(rows, days)
        record = _template()
        self._at_id = record.index(_ID)
        self._at_created = record.index(_CREATED)
        self._width = len(record) + len(_SEPARATOR)
        self._blank = (record + _SEPARATOR) * 100

    def page(self, params: Mapping[str, str]) -> bytes:
        """The body that answers a list call with these parameters."""
        first, last = self._span(params)
        count = min(int(params.get("limit", "10")), max(0, last - first))
        body = bytearray(memoryview(self._blank)[: count * self._width])
        at = 0
        for number in range(first, first + count):
            body[at + self._at_id : at + self._at_id + len(_ID)] = b"%09d" % number
            second = b"%010d" % self._created[self.rows - 1 - number]
            body[at + self._at_created : at + self._at_created + len(_CREATED)] = second
            at += self._width
        head = _HEAD % (b"true" if first + count < last else b"false")
        return head + body[: max(0, len(body) - len(_SEPARATOR))] + b"]}"

    def _span(self, params: Mapping[str, str]) -> tuple[int, int]:
        """The numbers of the charges that a call asks for, `first` the newest, `last` exclusive."""
        first, last = 0, self.rows
        if "created[lt]" in params:
            first = self.rows - bisect_left(self._created, int(params["created[lt]"]))
        if "created[gte]" in params:
            last = self.rows - bisect_left(self._created, int(params["created[gte]"]))
        if "starting_after" in params:
            first = max(first, int(params["starting_after"][3:12]) + 1)
        return first, last


class Connection(asyncio.Protocol):
    """One connection: a GET at a time, answered after the latency, or refused with 429 above the rate."""

    def __init__(self, charges: Charges, terms: Terms, counts: Counts) -> None:
        self._charges, self._terms, self._counts = charges, terms, counts
        self._loop = asyncio.get_running_loop()
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=4 * 2**20)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            self._take(head.split(b" ", 2)[1].decode())

    def _take(self, target: str) -> None:
        if target == "/stats":
            self._send(200, json.dumps(_stats(self._counts)).encode())
            return
        counts = self._counts
        counts.requests += 1
        counts.under_way += 1
        counts.most_under_way = max(counts.most_under_way, counts.under_way)
        refused = self._terms.rate > 0 and not self._admitted()
        counts.refused += refused
        if self._terms.latency and not refused:
            self._loop.call_later(self._terms.latency, self._answer, target, refused)
        else:
            self._answer(target, refused)

    def _admitted(self) -> bool:
        """Whether fewer calls than the rate were admitted within the last second."""
        now, recent = self._loop.time(), self._counts.recent
        while recent and recent[0] <= now - 1:
            recent.popleft()
        if len(recent) >= self._terms.rate:
            return False
        recent.append(now)
        return True

    def _answer(self, target: str, refused: bool) -> None:
        self._counts.under_way -= 1
        if refused:
            body = b'{"error":{"type":"invalid_request_error","code":"rate_limit","message":"Too many requests"}}'
            self._send(429, body, b"stripe-rate-limited-reason: global-rate\r\n")
            return
        parts = urlsplit(target)
        if parts.path == "/v1/charges":
            self._send(200, self._charges.page(dict(parse_qsl(parts.query))))
        elif parts.path == "/v1/account":
            self._send(200, b'{"id":"acct_benchmark","object":"account","created":1500000000}')
        else:
            self._send(200, b'{"object":"list","url":"/v1","has_more":false,"data":[]}')

    def _send(self, status: int, body: bytes, headers: bytes = b"") -> None:
        reason = b"OK" if status == 200 else b"Too Many Requests"
        self._transport.write(
            b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\nrequest-id: req_benchmark\r\n"
            b"stripe-version: 2026-10-28.endive\r\n%bcontent-length: %d\r\n\r\n"
            % (status, reason, headers, len(body))
        )
        self._transport.write(body)


def _stats(counts: Counts) -> dict[str, float]:
    return {
        "requests": counts.requests,
        "refused": counts.refused,
        "most_under_way": counts.most_under_way,
        "cpu_seconds": counts.cpu_seconds(),
    }


def _moments(rows: int, days: int) -> list[int]:
    """When the charges were created, oldest first: days alike, nights quiet; seconds may be shared."""
    generator = random.Random(7)  # noqa: S311 - the same charges every time
    hours = generator.choices(range(days * 24), weights=_BY_HOUR * days, k=rows)
    start = END - days * 86_400
    return sorted(start + hour * 3600 + generator.randrange(3600) for hour in hours)


def _template() -> bytes:
    """A charge in the shape and with the fields of API version 2026-10-28.endive, padded to `RECORD_BYTES`."""
    address = {"city": "Springfield", "country": "US", "line1": "1 Main Street", "line2": None}
    card = {
        "amount_authorized": 4200,
        "brand": "visa",
        "checks": {
            "address_line1_check": "pass",
            "address_postal_code_check": "pass",
            "cvc_check": "pass",
        },
        "country": "US",
        "exp_month": 8,
        "exp_year": 2030,
        "fingerprint": "fp0000000000000",
        "funding": "credit",
        "installments": None,
        "last4": "4242",
        "mandate": None,
        "network": "visa",
        "network_token": {"used": False},
        "three_d_secure": None,
        "wallet": None,
    }
    charge: dict[str, object] = {
        "id": f"ch_{_ID.decode()}000000000000",
        "object": "charge",
        "amount": 4200,
        "amount_captured": 4200,
        "amount_refunded": 0,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": None,
        "billing_details": {
            "address": {**address, "postal_code": "12345", "state": "IL"},
            "email": "somebody@example.com",
            "name": "Some Body",
            "phone": None,
            "tax_id": None,
        },
        "calculated_statement_descriptor": "BENCHMARK",
        "captured": True,
        "created": _CREATED.decode(),
        "currency": "usd",
        "customer": None,
        "description": "Subscription update",
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "fraud_details": {},
        "livemode": False,
        "metadata": {"order": "0001", "padding": ""},
        "on_behalf_of": None,
        "outcome": {
            "advice_code": None,
            "network_advice_code": None,
            "network_decline_code": None,
            "network_status": "approved_by_network",
            "reason": None,
            "risk_level": "normal",
            "risk_score": 12,
            "seller_message": "Payment complete.",
            "type": "authorized",
        },
        "paid": True,
        "payment_intent": None,
        "payment_method": None,
        "payment_method_details": {"card": card, "type": "card"},
        "receipt_email": None,
        "receipt_number": None,
        "receipt_url": "https://pay.example.com/receipts/0000000000000000000000000000000000000000",
        "refunded": False,
        "review": None,
        "shipping": None,
        "source_transfer": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "succeeded",
        "transfer_data": None,
        "transfer_group": None,
    }
    created = f'"{_CREATED.decode()}"'
    missing = RECORD_BYTES - len(json.dumps(charge).replace(created, created.strip('"')))
    charge["metadata"] = {"order": "0001", "padding": "x" * missing}
    return json.dumps(charge).replace(created, created.strip('"')).encode()


async def _serve(terms: Terms) -> None:
    charges, counts = Charges(terms.rows, terms.days), Counts()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(charges, terms, counts), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    click.echo(json.dumps({"url": f"http://127.0.0.1:{port}"}))
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


@click.command()
@click.option("--rows", default=50_000, help="Charges to serve.")
@click.option("--days", default=DAYS, help="Days they fill.")
@click.option("--latency", default=0.0, help="Seconds before each answer.")
@click.option("--rate", default=0, help="Calls a second; more are answered 429. 0: no limit.")
def main(rows: int, days: int, latency: float, rate: int) -> None:
    """Serve until standard input ends."""
    asyncio.run(_serve(Terms(rows, days, latency, rate)))


if __name__ == "__main__":
    main()
