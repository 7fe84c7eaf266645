"""Runs storage operations side by side: waiting for disks and networks is most of what they do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")
_THREADS = 8
_ALONE = 0.005
"""Seconds: what is done by then needs no threads, and to begin them takes longer."""


def each(operation: Callable[[_T], None], items: Iterable[_T]) -> None:
    """Do `operation` for every item as it comes; the first failure is raised once the operations under way have ended.

    One after another in the first moment, then side by side.
    """
    left, failed, until = iter(items), threading.Event(), time.monotonic() + _ALONE
    for item in left:
        operation(item)
        if time.monotonic() > until:
            break

    def attempt(item: _T) -> None:
        try:
            operation(item)
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="storage") as pool:
        running = []
        try:
            for item in left:
                running.append(pool.submit(attempt, item))
                if failed.is_set():
                    break
            for future in running:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
