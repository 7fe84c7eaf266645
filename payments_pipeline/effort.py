"""How many threads are worth having: more than one core's work gains nothing, they would wait for the interpreter."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

_ENOUGH = 0.8
"""The share of a core from which on another thread would take from the others what it gives."""


class Effort:
    """Holds what this process computes against the time that passes, both in seconds since it was made."""

    def __init__(
        self,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        computed: Callable[[], float] = time.process_time,
    ) -> None:
        self._monotonic, self._computed = monotonic, computed
        self._began, self._had_computed = monotonic(), computed()

    def worthwhile(self, running: int) -> int:
        """How many threads keep a core busy, if `running` of them have made it as busy as it was; at least one."""
        passed = self._monotonic() - self._began
        busy = (self._computed() - self._had_computed) / passed if passed > 0 else 0.0
        if running == 0 or busy <= 0:
            return max(1, running)
        return max(1, math.ceil(running * _ENOUGH / busy))
