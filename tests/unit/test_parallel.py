from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from payments_pipeline.storage.parallel import each


def test_the_first_failure_ends_what_still_comes() -> None:
    """Items that come one after another, like files that are being written, are not waited for after a failure."""
    failed, asked = threading.Event(), []

    def items() -> Iterator[int]:
        for number in range(1000):
            asked.append(number)
            yield number
            failed.wait(10)
            time.sleep(0.01)

    def fail(number: int) -> None:
        failed.set()
        raise OSError(f"item {number} cannot be stored")

    with pytest.raises(OSError, match="item 0 cannot be stored"):
        each(fail, items())
    assert len(asked) < 1000


def test_every_item_is_done_once() -> None:
    """Also none, and one."""
    for count in (0, 1, 50):
        done: list[int] = []
        each(done.append, range(count))
        assert sorted(done) == list(range(count))
