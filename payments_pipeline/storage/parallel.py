"""Runs storage operations side by side: waiting for disks and networks is most of what they do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")
_THREADS = 8


def each(operation: Callable[[_T], None], items: Iterable[_T]) -> None:
    """Do `operation` for every item; the first failure is raised once the operations under way have ended."""
    items = [*items]
    if len(items) <= 1:
        for item in items:
            operation(item)
        return
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="storage") as pool:
        futures = [pool.submit(operation, item) for item in items]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
