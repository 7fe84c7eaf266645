"""Scripted faults: rules that say which requests go wrong, and how.

A rule matches requests by path, method and count; the first rule of the script that fires decides. Actions either take the
place of the answer (`Answer`, `Drop` before it) or spoil the real one, whose writes have then happened (`Cut`, `Slow`, …).
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from mock_api.traffic import Traffic

PREFIX = "/v1/"
"""Only requests under it are counted and can go wrong."""


class Action(msgspec.Struct, frozen=True, tag_field="type", tag=str.lower, forbid_unknown_fields=True):
    """What happens to a request; in JSON `{"type": "<name in lower case>", …}`."""


class Answer(Action, frozen=True):
    """Answers `status` without asking the account: Stripe's error envelope for that status, or `body` word for word (HTML, say)."""

    status: int
    headers: dict[str, str] = {}
    body: str | None = None


class Drop(Action, frozen=True):
    """Closes the connection before the first byte of an answer; the request was not executed."""


class Cut(Action, frozen=True):
    """Executes the request and closes the connection after this share of the body, short of its Content-Length."""

    share: float = 0.5


class Truncate(Action, frozen=True):
    """Executes the request and answers only this share of the body, with a Content-Length that matches."""

    share: float = 0.5


class Slow(Action, frozen=True):
    """Sends the body in pieces of `bytes`, each after a pause of `seconds`."""

    bytes: int = 1
    seconds: float = 0.1


class Latency(Action, frozen=True):
    """Executes the request after a pause."""

    seconds: float


class Duplicate(Action, frozen=True):
    """Repeats the first `rows` rows of a page at its end."""

    rows: int = 1


class Poison(Action, frozen=True):
    """Replaces a field of a page's row by raw JSON text (`NaN`, `1.5`, `"\\ud800"`), whatever that text is."""

    raw: str = "NaN"
    field: str = "created"
    row: int = 0


class Empty(Action, frozen=True):
    """Empties a page and says that there is more."""


AnyAction = Answer | Drop | Cut | Truncate | Slow | Latency | Duplicate | Poison | Empty


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Applies `action` to requests whose path matches the shell pattern `path` and whose method is `method` ("*": any).

    `nth` counts the matching requests from 1: only those (empty: all). `probability` is drawn for each of them, `times` bounds how often the rule fires.
    """

    action: AnyAction
    path: str = "*"
    method: str = "*"
    nth: tuple[int, ...] = ()
    probability: float = 1.0
    times: int | None = None

    def matches(self, method: str, path: str) -> bool:
        """Whether the rule is about this request at all."""
        return self.method in ("*", method) and fnmatchcase(path, self.path)


class Script(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rules in order, and the seed of their probabilities."""

    rules: tuple[Rule, ...] = ()
    seed: int = 0


class Faults:
    """The script in force and the traffic it met; every method is safe to call from any thread."""

    def __init__(
        self, rules: Sequence[Rule] = (), *, seed: int = 0, tick: Callable[[], float] = time.monotonic
    ) -> None:
        self.tick = tick
        self.traffic = Traffic(tick=tick)
        self._lock = threading.Lock()
        self.replace(Script(tuple(rules), seed))

    def replace(self, script: Script) -> None:
        """Puts another script in force; its counts begin anew, the traffic counters go on."""
        with self._lock:
            self._script = script
            self._random = random.Random(script.seed)
            self._matched = [0] * len(script.rules)
            self._fired = [0] * len(script.rules)

    def draw(self, method: str, path: str) -> AnyAction | None:
        """What goes wrong with this request; each call counts as one request."""
        with self._lock:
            drawn = None
            for number, rule in enumerate(self._script.rules):
                if rule.matches(method, path):
                    self._matched[number] += 1
                    if drawn is None and self._fires(number, rule):
                        self._fired[number] += 1
                        drawn = rule.action
            return drawn

    def _fires(self, number: int, rule: Rule) -> bool:
        if rule.times is not None and self._fired[number] >= rule.times:
            return False
        if rule.nth and self._matched[number] not in rule.nth:
            return False
        return rule.probability >= 1.0 or self._random.random() < rule.probability

    def stats(self) -> dict[str, Any]:
        """The traffic counters, and how often each rule of the script fired."""
        with self._lock:
            fired = list(self._fired)
        return {**self.traffic.stats(), "fired": fired}
