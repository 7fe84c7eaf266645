"""Runs the simulated Stripe over HTTP: in a thread of this process, or in the foreground."""

from __future__ import annotations

import asyncio
import gc
import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from mock_api.api import create_app
from mock_api.delivery import Endpoint, delivering
from mock_api.fault_layer import TRANSPORT
from mock_api.world import World

_START_SECONDS = 30.0
_STOP_SECONDS = 1


class _Protocol(H11Protocol):
    """HTTP/1.1 that shows the application its connection, to close it under a half-sent answer as a failing network does."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn itself narrows it
        super().connection_made(transport)
        app: ASGIApp = self.app

        async def with_transport(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, TRANSPORT: transport}, receive, send)

        self.app = with_transport


@dataclass(frozen=True, slots=True)
class Account:
    """What the simulated business is made from; the same three values give the same business."""

    seed: int
    start: date
    customers_per_day: int


def default_start(today: date, days: int) -> date:
    """The first day of the month that contains `today - days`, so that a restart within a month continues the same world."""
    return (today - timedelta(days=days)).replace(day=1)


@contextmanager
def with_history(world: World, until: int) -> Iterator[None]:
    """The world played forward to a second, most of what it will ever be made of.

    None of that is garbage, and a collector that looks through it again and again takes longer than making it: it
    rests meanwhile, and passes it over until the block ends.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        world.play(until)
        gc.freeze()
    finally:
        if collecting:
            gc.enable()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def running(app: ASGIApp, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serves the app in a thread until the block ends and yields its base URL once it answers.

    Port 0 takes a free port. Raises OSError if the port is taken and RuntimeError if the server does not come up.
    """
    with _bound(host, port) as listener:
        server = uvicorn.Server(_config(app))
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, name="mock-api", daemon=True
        )
        thread.start()
        try:
            bound_port = listener.getsockname()[1]
            _await_answer(thread, host, bound_port)
            yield f"http://{host}:{bound_port}"
        finally:
            server.should_exit = True
            thread.join()


def serve(app: ASGIApp, host: str, port: int) -> None:
    """Serves the app in the foreground until interrupted; raises OSError if the port is taken.

    The interrupt is raised again once it has shut down in good order.
    """
    with _bound(host, port) as listener:
        uvicorn.Server(_config(app)).run(sockets=[listener])


def main_serve(
    account: Account, *, host: str, port: int, clock: Callable[[], int], webhooks: Endpoint | None = None
) -> None:
    """Builds the account's world up to the clock's second and serves it in the foreground until interrupted.

    What happens from then on is delivered to `webhooks`, if an endpoint is given.
    """
    world = World(seed=account.seed, start=account.start, customers_per_day=account.customers_per_day)
    with ExitStack() as stack:
        stack.enter_context(with_history(world, clock()))
        if webhooks is not None:
            stack.enter_context(delivering(world, webhooks, clock=clock, wall_clock=clock))
        serve(create_app(world, clock=clock), host, port)


def _bound(host: str, port: int) -> socket.socket:
    # Named, because asyncio turns off the delay of small packets (40 ms an answer) only on what is known to be TCP.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def _config(app: ASGIApp) -> uvicorn.Config:
    """Errors alone are logged; plain asyncio; the `Date` header is the application's, since its clock is simulated."""
    return uvicorn.Config(
        app,
        loop="asyncio",
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )


def _await_answer(thread: threading.Thread, host: str, port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while thread.is_alive() and time.monotonic() < deadline:
        if _answers(host, port):
            return
        time.sleep(0.01)
    message = f"the mock API did not answer on {host}:{port} within {_START_SECONDS:.0f} s of its start"
    raise RuntimeError(message)


def _answers(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=_START_SECONDS)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
