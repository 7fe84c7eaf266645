"""The simulated Stripe as a FastAPI application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response, Security
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

from mock_api.control import add_control
from mock_api.errors import ApiError, unrecognized_url
from mock_api.fault_layer import FaultLayer
from mock_api.faults import PREFIX, Faults
from mock_api.gateway import FORM, Ask, Gateway, Reply
from mock_api.journal import Written
from mock_api.reads import read_routes
from mock_api.routes import Route
from mock_api.shapes import API_VERSION
from mock_api.traffic import TokenBucket
from mock_api.writes import write_routes

if TYPE_CHECKING:
    from mock_api.world import World

DESCRIPTION = """A simulated Stripe account behind Stripe's API: the same paths, list semantics, errors and headers.
Authorize with any key that begins with `sk_test_` or `rk_test_`, as a bearer token or as the user name of Basic."""


def create_app(
    world: World,
    *,
    clock: Callable[[], int],
    faults: Faults | None = None,
    rate_limit: float | None = None,
    written: Callable[[Written], object] | None = None,
) -> FastAPI:
    """The application over `world`, which every request first plays forward to `clock()` (simulated Unix seconds).

    `faults` is the script of what goes wrong (none by default), `rate_limit` the requests per real second above which 429 is answered.
    `written` hears of every request that may change the account, just before it does.
    """
    app = FastAPI(title="Simulated Stripe", description=DESCRIPTION, version=API_VERSION, redoc_url=None)
    # Only documents the key and gives Swagger its field for it: the gateway is what checks it.
    key = Security(HTTPBearer(auto_error=False, scheme_name="API key"))
    gateway = Gateway(world, clock=clock, written=written)
    for route in (*read_routes(), *write_routes()):
        app.add_api_route(
            route.path,
            _endpoint(gateway, route),
            methods=[route.method],
            tags=[route.tag],
            summary=route.summary,
            operation_id=f"{route.method} {route.path}",
            response_class=Response,
            dependencies=[key],
            openapi_extra=_documented(route),
        )
    faults = faults or Faults()
    add_control(app, world, clock=clock, faults=faults)
    app.add_exception_handler(HTTPException, _unrouted(gateway))
    bucket = None if rate_limit is None else TokenBucket(rate_limit, tick=faults.tick)
    app.add_middleware(FaultLayer, faults=faults, bucket=bucket)
    return app


def _endpoint(gateway: Gateway, route: Route) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return _response(gateway.answer(await _ask(request), route))

    return endpoint


async def _ask(request: Request) -> Ask:
    body = (await request.body()).decode("utf-8", "replace")
    parts = (part for part in (request.url.query, body) if part)
    return Ask(request.method, request.url.path, request.headers, "&".join(parts), request.path_params)


def _response(reply: Reply) -> Response:
    return Response(reply.body, reply.status, dict(reply.headers), media_type="application/json")


def _unrouted(gateway: Gateway) -> Callable[[Request, Exception], Awaitable[Response]]:
    """Answers a path or method without a route; outside the API with a plain 404."""

    async def handle(request: Request, _: Exception) -> Response:
        if not request.url.path.startswith(PREFIX):
            return Response("Not Found", 404, media_type="text/plain")
        error: ApiError = unrecognized_url(request.method, request.url.path)
        return _response(gateway.answer(await _ask(request), error))

    return handle


def _documented(route: Route) -> dict[str, Any]:
    """The parameters as OpenAPI describes them: in the query of a read, form fields of a write."""
    string = {"type": "string"}
    path = [{"name": "id", "in": "path", "required": True, "schema": string}] if "{id}" in route.path else []
    if route.method != "POST":
        query = [{"name": name, "in": "query", "schema": string} for name in route.params]
        return {"parameters": [*path, *query]}
    schema = {"type": "object", "properties": dict.fromkeys(route.params, string)}
    return {"parameters": path, "requestBody": {"content": {FORM: {"schema": schema}}}}
