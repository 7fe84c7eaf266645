"""A simulated S3 server in this process: moto, for what the real one of the tests has not (encryption)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server


class _Silent(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


@contextmanager
def moto_with(bucket: str) -> Iterator[str]:
    """The server's URL. It serves one request at a time: its conditional writes are not atomic by themselves."""
    server = make_server(
        "127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), request_handler=_Silent
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        httpx.put(f"{url}/{bucket}").raise_for_status()
        yield url
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
