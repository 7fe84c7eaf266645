"""The contestants of the extraction benchmark, each run in a process of its own: `… <name> <url> <rows>`.

Prints one JSON line: rows, wall seconds, CPU seconds, peak memory. Imports are not timed.
"""

from __future__ import annotations

import asyncio
import http.client
import importlib
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from urllib.parse import urlsplit

import click

from benchmarks.server import DAYS, END

_PACED = 98
_CONNECTIONS = 20
_START = END - DAYS * 86_400


def one_connection(url: str) -> Callable[[], int]:
    """A floor: page after page on one connection, decoded and dropped; no retries, no checks, nothing kept."""
    decode = importlib.import_module("msgspec").json.decode

    def work() -> int:
        connection = http.client.HTTPConnection(urlsplit(url).netloc)
        rows, cursor, more = 0, "", True
        while more:
            connection.request("GET", f"/v1/charges?limit=100{cursor}")
            page = decode(connection.getresponse().read())
            rows += len(page["data"])
            cursor, more = f"&starting_after={page['data'][-1]['id']}", page["has_more"]
        connection.close()
        return rows

    return work


def paced(url: str) -> Callable[[], int]:
    """A floor: 20 connections on equal slices, 98 calls a second, decoded and dropped."""
    decode = importlib.import_module("msgspec").json.decode
    slices = [_START + (END - _START) * number // _CONNECTIONS for number in range(_CONNECTIONS + 1)]
    address = urlsplit(url)
    turns = iter(range(sys.maxsize))

    async def read(first: int, last: int, began: float) -> int:
        reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=2**20)
        rows, cursor, more = 0, "", True
        while more:
            await asyncio.sleep(began + next(turns) / _PACED - time.monotonic())
            path = f"/v1/charges?limit=100&created[gte]={first}&created[lt]={last}{cursor}"
            writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            page = decode(await reader.readexactly(int(head.rpartition(b"length: ")[2])))
            rows += len(page["data"])
            more = page["has_more"]
            cursor = f"&starting_after={page['data'][-1]['id']}" if more else ""
        writer.close()
        return rows

    async def everything() -> int:
        began = time.monotonic()
        return sum(await asyncio.gather(*(read(first, last, began) for first, last in pairwise(slices))))

    return lambda: asyncio.run(everything())


def ours(url: str, **environ: str) -> Callable[[], int]:
    """Our own extraction, from the API to committed bronze: lease, screening, checksums, manifests, coverage."""
    session = importlib.import_module("payments_pipeline.session")
    flow = importlib.import_module("payments_pipeline.flow")
    manifest = importlib.import_module("payments_pipeline.state.manifest")
    settings = importlib.import_module("payments_pipeline.settings").Settings
    request = manifest.Request.of(
        ("charges",),
        days=None,
        start=datetime.fromtimestamp(_START, UTC),
        end=datetime.fromtimestamp(END, UTC),
    )

    def work() -> int:
        with tempfile.TemporaryDirectory(prefix="payments-pipeline-bench-") as lake:
            found = settings.from_env({"MOCK_API_BASE_URL": url, "LOCAL_DATA_DIR": lake, **environ})
            done = session.execute(found, request, "bench", flow.Quiet(), publish=False)
            return int(done.rows())

    return work


def ours_paced(url: str) -> Callable[[], int]:
    """The same, told that the account allows 100 calls a second."""
    return ours(url, MAX_REQUESTS_PER_SECOND="100")


def sdk(url: str) -> Callable[[], int]:
    """The official SDK's `auto_paging_iter`, each object dropped."""
    stripe = importlib.import_module("stripe")
    stripe.enable_telemetry = False

    def work() -> int:
        client = stripe.StripeClient("sk_test_mock", base_addresses={"api": url})
        window = {"limit": 100, "created": {"gte": _START, "lt": END}}
        return sum(1 for _ in client.v1.charges.list(window).auto_paging_iter())

    return work


CONTESTANTS: Mapping[str, Callable[[str], Callable[[], int]]] = {
    "one-connection": one_connection,
    "paced": paced,
    "ours": ours,
    "ours-paced": ours_paced,
    "sdk": sdk,
}


@click.command()
@click.argument("name", type=click.Choice(list(CONTESTANTS)))
@click.argument("url")
def main(name: str, url: str) -> None:
    """Run one contestant against the load server at URL."""
    work = CONTESTANTS[name](url)
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    rows = work()
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found = {"rows": rows, "seconds": seconds, "cpu_seconds": cpu, "peak_mib": after.ru_maxrss / 1024}
    click.echo(json.dumps(found))


if __name__ == "__main__":
    main()
