"""The contestants of the extraction benchmark, each run in a process of its own: `… <name> <url>`.

Prints one JSON line: rows, wall seconds, CPU seconds, peak memory. Imports are not timed.
"""

from __future__ import annotations

import asyncio
import http.client
import importlib
import json
import math
import os
import resource
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count, pairwise
from typing import Any
from urllib.parse import urlsplit

import click

from benchmarks.load.server import DAYS, END

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


def server(url: str) -> Callable[[], int]:
    """The load server's own ceiling: eight connections at full speed, only the last id of a page looked at."""
    return lambda: asyncio.run(_slices(url, _Reading(connections=8, rate=math.inf, parse=_last_of_bytes)))


def paced(url: str) -> Callable[[], int]:
    """A floor: 20 connections on equal slices, 98 calls a second, decoded and dropped; a refused call is repeated."""
    decode = importlib.import_module("msgspec").json.decode

    def parse(body: bytes) -> tuple[int, str]:
        page = decode(body)
        return len(page["data"]), page["data"][-1]["id"] if page["has_more"] else ""

    return lambda: asyncio.run(_slices(url, _Reading(connections=20, rate=98, parse=parse)))


@dataclass(frozen=True, slots=True)
class _Reading:
    """How slices are read; `parse` gives a page's records and the id after which to continue, if there are more."""

    connections: int
    rate: float
    parse: Callable[[bytes], tuple[int, str]]


async def _slices(url: str, how: _Reading) -> int:
    """The records of equal slices of the time, each read on a connection of its own."""
    bounds = [_START + (END - _START) * number // how.connections for number in range(how.connections + 1)]
    turns, began = count(), time.monotonic()

    async def ask(streams: tuple[asyncio.StreamReader, asyncio.StreamWriter], path: str) -> bytes:
        while True:
            await asyncio.sleep(began + next(turns) / how.rate - time.monotonic())
            streams[1].write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
            head = await streams[0].readuntil(b"\r\n\r\n")
            body = await streams[0].readexactly(int(head.rpartition(b"length: ")[2]))
            if head.startswith(b"HTTP/1.1 200"):
                return body

    async def read(first: int, last: int) -> int:
        streams = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port, limit=2**20)
        window, rows, cursor = f"limit=100&created[gte]={first}&created[lt]={last}", 0, ""
        while True:
            found, after = how.parse(await ask(streams, f"/v1/charges?{window}{cursor}"))
            rows += found
            if not after:
                break
            cursor = f"&starting_after={after}"
        streams[1].close()
        return rows

    return sum(await asyncio.gather(*(read(*slice_) for slice_ in pairwise(bounds))))


def _last_of_bytes(body: bytes) -> tuple[int, str]:
    begin = b'{"id": "'
    at = body.rfind(begin + b"ch_") + len(begin)
    after = body[at : body.index(b'"', at)].decode() if b'"has_more":true' in body[:80] else ""
    return body.count(begin), after


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
    stripe: Any = importlib.import_module("stripe")
    stripe.enable_telemetry = False

    def work() -> int:
        client = stripe.StripeClient("sk_test_mock", base_addresses={"api": url})
        window = {"limit": 100, "created": {"gte": _START, "lt": END}}
        return sum(1 for _ in client.v1.charges.list(window).auto_paging_iter())

    return work


def dlt(url: str) -> Callable[[], int]:
    """dlt's REST source into JSON lines in a folder."""
    os.environ |= {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "CRITICAL"}
    library = importlib.import_module("dlt")
    rest = importlib.import_module("dlt.sources.rest_api")
    paginators = importlib.import_module("dlt.sources.helpers.rest_client.paginators")
    paginator = paginators.JSONResponseCursorPaginator(
        cursor_path="data[-1].id", cursor_param="starting_after", has_more_path="has_more"
    )
    window = {"limit": 100, "created[gte]": _START, "created[lt]": END}
    endpoint = {"path": "charges", "params": window, "data_selector": "data", "paginator": paginator}
    client = {"base_url": f"{url}/v1/", "auth": {"type": "bearer", "token": "sk_test_mock"}}

    def work() -> int:
        with tempfile.TemporaryDirectory(prefix="payments-pipeline-bench-") as folder:
            source = rest.rest_api_source(
                {"client": client, "resources": [{"name": "charges", "endpoint": endpoint}]}
            )
            lake = library.destinations.filesystem(f"file://{folder}/lake")
            pipeline = library.pipeline("bench", pipelines_dir=folder, destination=lake, dataset_name="bench")
            pipeline.run(source, loader_file_format="jsonl")
            return int(pipeline.last_trace.last_normalize_info.row_counts["charges"])

    return work


CONTESTANTS: Mapping[str, Callable[[str], Callable[[], int]]] = {
    "server": server,
    "one-connection": one_connection,
    "paced": paced,
    "ours": ours,
    "ours-paced": ours_paced,
    "sdk": sdk,
    "dlt": dlt,
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
