"""A client's open connections, so that whoever stops a run need not wait for a server that does not answer."""

from __future__ import annotations

import socket
import threading
import weakref
from collections.abc import Mapping
from contextlib import suppress
from typing import Any


class OpenSockets:
    """Hears of every connection through `trace`; after `shut` each of them, and each later one, is at its end."""

    def __init__(self) -> None:
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._is_shut = False

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """The HTTP library's `trace` extension: notes the socket of a connection that was made."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            with self._lock:
                self._sockets.add(info["return_value"].get_extra_info("socket"))
            if self._is_shut:
                self.shut()

    def shut(self) -> None:
        """End every connection: a thread that reads from one gets an error at once; safe from any thread."""
        with self._lock:
            self._is_shut = True
            for each in self._sockets:
                with suppress(OSError):
                    # Not the method of an SSL socket: that would take the session from under the reading thread.
                    socket.socket.shutdown(each, socket.SHUT_RDWR)
