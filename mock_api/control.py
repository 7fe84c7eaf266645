"""The routes beside the API: health, index, and the control of faults, clock and truth for end-to-end tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from fastapi import APIRouter, FastAPI, Request, Response

from mock_api.clock import ManualClock
from mock_api.faults import Faults, Script
from mock_api.gateway import encoded
from mock_api.shapes import API_VERSION

if TYPE_CHECKING:
    from mock_api.world import World


class _Time(msgspec.Struct, forbid_unknown_fields=True):
    now: int


def add_control(app: FastAPI, world: World, *, clock: Callable[[], int], faults: Faults) -> None:
    """Adds `/`, `/health` and `/_mock/…`; the clock's routes exist only when it is a `ManualClock`."""
    app.include_router(_index(world, clock), tags=["Server"])
    app.include_router(_control(world, clock, faults), prefix="/_mock", tags=["Control"])
    if isinstance(clock, ManualClock):
        app.include_router(_clock(clock), prefix="/_mock", tags=["Control"])


def _index(world: World, clock: Callable[[], int]) -> APIRouter:
    router = APIRouter()

    @router.get("/", summary="What this is", response_class=Response)
    async def index() -> Response:
        links = {
            "documentation": "/docs",
            "health": "/health",
            "statistics": "/_mock/stats",
            "truth": "/_mock/truth",
        }
        about = {
            "name": "Simulated Stripe",
            "api_version": API_VERSION,
            "account": world.account["id"],
            "world": world.account["metadata"],
        }
        return _json({**about, "now": clock(), "links": links})

    @router.get("/health", summary="Whether the server answers", response_class=Response)
    async def health() -> Response:
        return _json({"status": "ok"})

    return router


def _control(world: World, clock: Callable[[], int], faults: Faults) -> APIRouter:
    router = APIRouter()

    @router.post("/faults", summary="Replace the script of faults", response_class=Response)
    async def replace(request: Request) -> Response:
        try:
            script = msgspec.json.decode(await request.body(), type=Script)
        except msgspec.DecodeError as error:
            return _json({"error": str(error)}, status=400)
        faults.replace(script)
        return _json(script)

    @router.get("/stats", summary="What clients did", response_class=Response)
    async def stats() -> Response:
        return _json(faults.stats())

    @router.get(
        "/truth", summary="The current state of every object, by kind and id", response_class=Response
    )
    async def truth() -> Response:
        with world.lock:
            world.play(clock())
            return _json(world.truth())

    return router


def _clock(clock: ManualClock) -> APIRouter:
    router = APIRouter()

    @router.get("/clock", summary="The simulated second", response_class=Response)
    async def read() -> Response:
        return _json({"now": clock()})

    @router.post("/clock", summary="Move the simulated clock forward", response_class=Response)
    async def move(request: Request) -> Response:
        try:
            clock.set(msgspec.json.decode(await request.body(), type=_Time).now)
        except (msgspec.DecodeError, ValueError) as error:
            return _json({"error": str(error)}, status=400)
        return _json({"now": clock()})

    return router


def _json(value: Any, *, status: int = 200) -> Response:
    return Response(encoded(value), status, media_type="application/json")
