"""What an interrupt does while modules are loaded."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Import what a command needs in this block, in which Ctrl-C ends the process at once, without a word, by exit code 130.

    A module that is interrupted half-way may raise an error of its own, swallow the interrupt or abort the process,
    and there is nothing yet that would have to be put in order.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # somebody else has decided what an interrupt does
        return
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
