from __future__ import annotations

import pytest

from payments_pipeline.effort import Effort


class Clocks:
    """A second clock that runs at a share of the first."""

    def __init__(self, share: float) -> None:
        self.passed, self.share = 0.0, share

    def effort(self) -> Effort:
        return Effort(monotonic=lambda: self.passed, computed=lambda: self.passed * self.share)


@pytest.mark.parametrize(
    ("share", "running", "expected"),
    [
        (0.05, 1, 16),  # one thread that waits 95 % of its time leaves room for many
        (0.90, 1, 1),
        (0.50, 1, 2),
        (1.10, 4, 3),  # four already take more than one interpreter gives
        (0.00, 3, 3),
        (0.90, 0, 1),  # somebody must begin
    ],
)
def test_threads_are_added_only_while_the_process_waits(share: float, running: int, expected: int) -> None:
    """As many as keep a core busy, if each goes on to compute as much as those before it did."""
    clocks = Clocks(share)
    effort = clocks.effort()
    clocks.passed = 2.0
    assert effort.worthwhile(running) == expected


def test_nothing_is_known_before_any_time_has_passed() -> None:
    """The first thread is begun at once, and no second one on a guess."""
    assert Clocks(0.5).effort().worthwhile(0) == 1
    assert Clocks(0.5).effort().worthwhile(1) == 1
