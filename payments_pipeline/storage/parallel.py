"""Runs storage operations side by side: waiting for disks and networks is most of what they do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")
_THREADS = 8


def each(operation: Callable[[_T], None], items: Iterable[_T]) -> None:
    """Do `operation` for every item as it comes; the first failure is raised once the operations under way have ended."""
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="storage") as pool:
        try:
            for future in [pool.submit(operation, item) for item in items]:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
