"""Sends signed webhooks over keep-alive connections as fast as they are acknowledged, and kills receivers meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

SECRET = "whsec_benchmark"  # noqa: S105 - of a receiver that lives for seconds
_PADDING = "x" * 1800
_UNSYNCED = "import os, sys; os.fsync = os.fdatasync = lambda handle: None"
_MAIN = "from payments_pipeline.cli import main; sys.argv[0] = 'payments-pipeline'; main()"


@dataclass(slots=True)
class Sent:
    """What the senders were told: ids acknowledged, and seconds from the first byte sent to the answer."""

    acknowledged: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    refused: int = 0

    def quantile(self, share: float) -> float:
        """Milliseconds within which that share was answered."""
        ordered = sorted(self.seconds)
        return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def deliveries(name: str) -> Iterator[tuple[str, bytes]]:
    """Endless (id, request): events of about 2 kB, no two alike."""
    for number in count():
        event_id = f"evt_{name}_{number}"
        body = json.dumps(
            {
                "id": event_id,
                "object": "event",
                "type": "charge.succeeded",
                "created": int(time.time()),
                "api_version": "2026-10-28.endive",
                "data": {"object": {"id": f"ch_{name}_{number}", "object": "charge", "text": _PADDING}},
            },
            indent=2,
        ).encode()
        stamp = b"%d" % time.time()
        digest = hmac.new(SECRET.encode(), stamp + b"." + body, hashlib.sha256).hexdigest().encode()
        yield (
            event_id,
            b"POST /webhooks/stripe HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Stripe-Signature: t=%b,v1=%b\r\nContent-Length: %d\r\n\r\n%b"
            % (stamp, digest, len(body), body),
        )


async def send(port: int, name: str, sent: Sent, *, connections: int, until: asyncio.Event) -> None:
    """Keep the connections busy until told, or until the receiver is gone."""
    requests = deliveries(name)

    async def one() -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:  # killed already
            return
        with suppress(OSError, asyncio.IncompleteReadError):
            while not until.is_set():
                event_id, request = next(requests)
                began = time.perf_counter()
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
                sent.seconds.append(time.perf_counter() - began)
                if head.startswith(b"HTTP/1.1 200"):
                    sent.acknowledged.append(event_id)
                else:
                    sent.refused += 1
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    await asyncio.gather(*(one() for _ in range(connections)))


def start(lake: Path, *, is_synced: bool = True) -> tuple[subprocess.Popen[str], int]:
    """A receiver of this lake in a process of its own, and its port; without syncs it is the floor."""
    script = f"{'import sys' if is_synced else _UNSYNCED}; {_MAIN}"
    command = [sys.executable, "-c", script, "run-webhooks", "--port", "0", "--lake", str(lake)]
    environ = {**os.environ, "WEBHOOK_SECRET": SECRET}
    process = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    found = re.search(r":(\d+)/webhooks/stripe", process.stderr.readline())
    assert found, process.stderr.read()
    return process, int(found[1])


def run(port: int, name: str, *, connections: int, seconds: float) -> Sent:
    """What happened while the senders were busy for some seconds."""
    sent = Sent()

    async def timed() -> None:
        until = asyncio.Event()
        asyncio.get_running_loop().call_later(seconds, until.set)
        await send(port, name, sent, connections=connections, until=until)

    asyncio.run(timed())
    return sent


def kill_loop(lake: Path, *, kills: int, least: int, connections: int = 32, seed: int = 1) -> set[str]:
    """The ids acknowledged while receivers of one lake were killed again and again, after at least `least` events each."""
    dice, acknowledged = random.Random(seed), set[str]()  # noqa: S311 - chance is all it is for
    for number in range(kills):
        process, port = start(lake)
        sent = Sent()

        async def killed(
            process: subprocess.Popen[str] = process,
            port: int = port,
            sent: Sent = sent,
            name: str = f"k{number}",
        ) -> None:
            sending = asyncio.create_task(
                send(port, name, sent, connections=connections, until=asyncio.Event())
            )
            while len(sent.acknowledged) < least:  # noqa: ASYNC110 - senders count, and tell nobody
                await asyncio.sleep(0.005)
            await asyncio.sleep(dice.random() * 0.1)
            process.kill()
            await sending

        try:
            asyncio.run(killed())
        finally:
            process.kill()
            process.communicate()
        acknowledged |= set(sent.acknowledged)
    return acknowledged


def kept(lake: Path) -> list[str]:
    """The id of every event in the lake's bronze, read without the code under test; a torn line is an error."""
    files = lake.glob("bronze/source=stripe/entity=webhook_events/dt=*/*/part-*.jsonl")
    return [json.loads(line)["data"]["id"] for file in files for line in file.read_bytes().splitlines()]
