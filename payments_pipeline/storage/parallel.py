"""Runs storage operations side by side: waiting for disks and networks is most of what they do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")
_THREADS = 8


def each(operation: Callable[[_T], None], items: Iterable[_T]) -> None:
    """Do `operation` for every item as it comes; the first failure is raised once the operations under way have ended."""
    failed = threading.Event()

    def attempt(item: _T) -> None:
        try:
            operation(item)
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="storage") as pool:
        running = []
        try:
            for item in items:
                running.append(pool.submit(attempt, item))
                if failed.is_set():
                    break
            for future in running:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
