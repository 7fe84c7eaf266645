"""What happens to a delivery: believed or not, kept, acknowledged. Knows no web framework."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import get_args

from payments_pipeline.flow import Clock, Reporter
from payments_pipeline.screen import Rejected
from payments_pipeline.stripe.signature import BadSignature, Reason, Verifier
from payments_pipeline.webhooks.event import Received, received
from payments_pipeline.webhooks.journal import Journal

MAX_GROUP = 1024
OUTCOMES = (
    *("stored", "duplicate", "conflict", "quarantined", "storage_failure"),
    *get_args(Reason),
)
"""How deliveries end, as they are counted."""

CONFLICT = "another content than the event kept under the same id"


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP status and a few words for the sender, which never repeat what was sent."""

    status: int
    words: str


ACKNOWLEDGED = Answer(200, "received")
REFUSED = Answer(400, "not accepted")
UNAVAILABLE = Answer(503, "not kept, deliver again later")


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A delivery that waits to be kept: as an event, or (with a reason) in quarantine."""

    body: bytes
    event: Received | None
    reason: str
    kept: asyncio.Future[Answer]


class Receiver:
    """Acknowledges a delivery once it is durable, and only then.

    Whatever arrives while a group is being written forms the next group, so that one write serves many senders.
    `counts` says how deliveries ended, by name; without a `verifier` everything is believed. Used by one event
    loop at a time, until `stop`.
    """

    def __init__(
        self, journal: Journal, clock: Clock, *, verifier: Verifier | None, reporter: Reporter
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._journal = journal
        self._clock = clock
        self._verifier = verifier
        self._reporter = reporter
        self._queue: deque[_Waiting] = deque()
        self._worker: ThreadPoolExecutor | None = None
        self._writing: asyncio.Task[None] | None = None

    async def deliver(self, signature: bytes | None, body: bytes) -> Answer:
        """The answer to a delivery: 200 if it is kept (now or before), 400 if it is not believed, 503 if it cannot be kept."""
        now = self._clock()
        if self._verifier is not None:
            try:
                self._verifier.check(signature, body, now.timestamp())
            except BadSignature as refusal:
                self.counts[refusal.reason] += 1
                return REFUSED
        event, reason = None, ""
        try:
            event = received(body, now, "webhook")
        except Rejected as rejection:
            reason = str(rejection)
        waiting = _Waiting(body, event, reason, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        return await waiting.kept

    async def stop(self) -> None:
        """Return when everything that was delivered has its answer."""
        if self._writing is not None:
            await self._writing
        if self._worker is not None:
            self._worker.shutdown()
            self._worker = None

    def waiting(self) -> int:
        """How many deliveries wait for the next write."""
        return len(self._queue)

    async def _write(self) -> None:
        """Write group after group until nothing waits."""
        self._worker = self._worker or ThreadPoolExecutor(1, thread_name_prefix="journal")
        while self._queue:
            group = [self._queue.popleft() for _ in range(min(len(self._queue), MAX_GROUP))]
            writing = asyncio.wrap_future(self._worker.submit(self._keep, group))
            [result] = await asyncio.gather(writing, return_exceptions=True)
            if isinstance(result, BaseException):
                self.counts["storage_failure"] += len(group)
                self._reporter.event("webhooks_not_kept", deliveries=len(group), error=str(result))
            answer = UNAVAILABLE if isinstance(result, BaseException) else ACKNOWLEDGED
            for waiting in group:
                if not waiting.kept.done():  # done: its sender has hung up
                    waiting.kept.set_result(answer)
        self._writing = None

    def _keep(self, group: Sequence[_Waiting]) -> None:
        """Make the whole group durable."""
        events = [(waiting.event, waiting.body) for waiting in group if waiting.event is not None]
        outcomes = self._journal.keep([event for event, _ in events])
        aside = [(waiting.body, waiting.reason) for waiting in group if waiting.event is None]
        aside += [
            (body, CONFLICT)
            for (_, body), outcome in zip(events, outcomes, strict=True)
            if outcome == "conflict"
        ]
        for body, reason in aside:
            self._journal.set_aside(body, reason)
        self.counts.update(outcomes)
        self.counts["quarantined"] += len(aside) - outcomes.count("conflict")
        self.counts["groups"] += 1
