"""Calls on the wire: the only module that speaks HTTP."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import httpx

from payments_pipeline.errors import SourceError
from payments_pipeline.stripe.ask import Ask
from payments_pipeline.stripe.retry import Transient
from payments_pipeline.stripe.sockets import OpenSockets

_MAX_BODY_BYTES = 64 * 2**20
_DEADLINE_SECONDS = 120.0
_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
# A proxy that the environment names is not asked for these: it does not lead back here.
_THIS_MACHINE = ("all://127.0.0.1", "all://[::1]", "all://localhost")

Transport: TypeAlias = httpx.BaseTransport
"""What carries a call instead of the network."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer read to its end; the names in `headers` are found in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Wire:
    """Up to `connections` calls to one host at the same time, each on a connection of its own; safe to use from threads.

    A pool that threads share asks every one of its connections, under one lock, whether it is still alive, before
    each call: threads then wait for each other.
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        *,
        connections: int,
        transport: Transport | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sockets = OpenSockets()
        self._monotonic = monotonic
        self._connect = partial(
            httpx.Client,
            base_url=base_url,
            headers={"Accept-Encoding": "gzip", **headers},
            timeout=_TIMEOUT,
            verify=httpx.create_ssl_context(),
            transport=transport,
            mounts=dict.fromkeys(_THIS_MACHINE),
        )
        self._made: list[httpx.Client] = []
        self._idle: queue.LifoQueue[httpx.Client | None] = queue.LifoQueue()
        for _ in range(connections):
            self._idle.put(None)

    def exchange(self, ask: Ask, answered: Callable[[], None]) -> Answer:
        """One call; `answered` is called once the head of the answer is there.

        `Transient` if no whole answer came back, `SourceError` if it is not one to be read.
        """
        query, form = (None, ask.params) if ask.method == "POST" else (ask.params, None)
        headers = {"Idempotency-Key": ask.key} if ask.key else {}
        traced = {"trace": self._sockets.trace}
        try:
            with (
                self._client() as client,
                client.stream(
                    ask.method, f"/v1/{ask.path}", params=query, data=form, headers=headers, extensions=traced
                ) as response,
            ):
                answered()
                return Answer(response.status_code, response.headers, self._read(response))
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise Transient(f"{type(error).__name__}: {error}") from error

    def shut(self) -> None:
        """End every connection: who reads from one gets an error at once; safe from any thread."""
        self._sockets.shut()

    def close(self) -> None:
        """Give the connections back."""
        for client in self._made:
            client.close()

    @contextmanager
    def _client(self) -> Iterator[httpx.Client]:
        """The connection that was used last, and so is the most likely to be open; a new one if all are busy."""
        client = self._idle.get()
        try:
            if client is None:
                client = self._connect()
                self._made.append(client)
            yield client
        finally:
            self._idle.put(client)

    def _read(self, response: httpx.Response) -> bytes:
        """The body, within the limits of size and time."""
        if response.headers.get("content-encoding", "identity") not in {"gzip", "identity"}:
            # Others, or gzip in gzip, could make gigabytes of one packet.
            raise SourceError("an answer is compressed in a way that was not asked for; it was not read.")
        deadline = self._monotonic() + _DEADLINE_SECONDS
        chunks, size = [], 0
        for chunk in response.iter_bytes():
            chunks.append(chunk)
            size += len(chunk)
            if size > _MAX_BODY_BYTES:
                raise SourceError(
                    f"an answer is larger than {_MAX_BODY_BYTES} bytes; it was not read to its end."
                )
            if self._monotonic() > deadline:
                raise Transient(f"the answer took longer than {_DEADLINE_SECONDS:.0f} s")
        return b"".join(chunks)
