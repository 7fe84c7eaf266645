"""Brings what is missing from the API into bronze, committing window by window."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from time import monotonic
from typing import TypeAlias

from payments_pipeline import layout
from payments_pipeline.bronze import Landed, PartNames, write_pages
from payments_pipeline.effort import Effort
from payments_pipeline.entities import ENTITIES, EVENTS
from payments_pipeline.flow import BronzePart, Page, RunContext, Window
from payments_pipeline.lake import Lake
from payments_pipeline.planning import Job, make_plan
from payments_pipeline.state.coverage import DAY, Coverage, read_coverage
from payments_pipeline.state.documents import load
from payments_pipeline.state.documents import replace as replace_document
from payments_pipeline.state.head import RunLine, commit
from payments_pipeline.state.lease import Lease
from payments_pipeline.state.manifest import (
    EntityExtract,
    Manifest,
    Request,
    measured,
    write_manifest,
)
from payments_pipeline.state.snapshot import snapshot_of
from payments_pipeline.stretch import Stretch
from payments_pipeline.stripe.client import StripeClient
from payments_pipeline.transform.models import ModelSpec
from payments_pipeline.webhooks.roll import Notices, settle, take_notices

_IDS_PER_PART = (10, 500)
"""Fewer make a part only if there are no more: each part is a file, a call to the store and a line of the manifest."""
_PAGES_PER_PART = 40
"""A killed run lists no more than that again for each window it was listing."""


@dataclass(frozen=True, slots=True)
class Fetching:
    """How to fetch: the client, how many threads share it, and how far behind the watermark to look again."""

    client: StripeClient
    workers: int
    safety_seconds: int


class Extraction:
    """One run's extraction: every finished window is committed at once, so that a killed run loses only its open ones."""

    def __init__(
        self, lake: Lake, run: RunContext, manifest: Manifest, lease: Lease, fetching: Fetching
    ) -> None:
        self.manifest = manifest
        self._lake = lake
        self._run = run
        self._lease = lease
        self._fetching = fetching
        self._names = PartNames(run.epoch)
        self._published = snapshot_of(lake.latest())

    def __call__(self, request: Request, pending: Sequence[BronzePart]) -> Manifest:
        """Fetch `request`, what changed meanwhile, and what the new objects refer to.

        `pending` is bronze of other runs that is not yet in silver.
        """
        started = monotonic()
        before = self.manifest.extract
        coverage = read_coverage(self._lake.storage, ENTITIES, keep=True)
        plan = make_plan(
            request,
            coverage,
            self._run.ceiling,
            safety_seconds=self._fetching.safety_seconds,
            silver=None if pending or before.parts else self._published,
            now=self._run.now,
        )
        self._update(relisted=plan.relist)
        if plan.relist:
            self._lake.reporter.event("relisting", reason=plan.relist)
        try:
            self._note_held()
            self._note(pending, observed=False)
            notices = self._received(request)
            if before.parts:  # what an earlier attempt has read may be older than these events
                self._land(self._changed(pending, notices))
                self._retrieve({*self._shadowed(pending)})
            self._note(before.parts, observed=True)
            self._land(plan.jobs)
            for _ in range(2):  # once more what came spoilt: its event is not told again
                self._land(self._changed([*pending, *self.manifest.extract.parts], notices))
            self._land(self._unconfirmed(request, pending, everything=plan.relist is not None))
            self._close_references(pending)
        finally:
            self._note_costs(before.seconds + monotonic() - started)
        if request.follows:
            self._extend(EVENTS, [], followed=self._run.ceiling)
        self._update(finished_at=self._lake.clock(), webhooks=before.webhooks + notices.parts)
        ended = self.manifest.model_copy(update={"outcome": "extracted"})
        self.manifest = measured(self._lake.storage, ended)
        write_manifest(self._lake.storage, self.manifest)
        settle(self._lake.storage, notices.parts)
        return self.manifest

    def _land(self, jobs: Sequence[Job]) -> None:
        """Fetch the jobs concurrently and commit parts as they are written; the first failure stops the others."""
        with ThreadPoolExecutor(self._fetching.workers, thread_name_prefix="fetch") as pool:
            try:
                for written in self._fetched(jobs, pool):
                    self._commit(written)
                    for fetched in written:
                        ids = fetched.landed.ids
                        self._lake.engine.note_ids(ENTITIES[fetched.entity], ids.own, ids.wanted)
            except BaseException:
                self._fetching.client.cancel()
                pool.shutdown(cancel_futures=True)
                raise

    def _fetched(self, jobs: Sequence[Job], pool: ThreadPoolExecutor) -> Iterator[list[_Fetched]]:
        """The parts of all jobs as they are written, those of one window newest first; together what waits together.

        A worker that finds no job left takes half of the largest window that another is listing. Another worker is
        begun only while this process waits more than it computes.
        """
        effort = Effort()
        news: SimpleQueue[_News] = SimpleQueue()
        waiting = deque(_Task(job, _stretch(job)) for job in jobs)
        running: dict[Future[None], _Task] = {}
        while True:
            while len(running) < min(self._fetching.workers, effort.worthwhile(len(running))):
                task = waiting.popleft() if waiting else _half_of_the_largest(running.values())
                if task is None:
                    break
                future = pool.submit(self._fetch, task, news.put)
                running[future] = task
                future.add_done_callback(news.put)
            if not running:
                return
            told = list(_waiting(news))
            if written := [each for each in told if isinstance(each, _Fetched)]:
                yield written
            for future in (each for each in told if isinstance(each, Future)):
                del running[future]
                future.result()

    def _fetch(self, task: _Task, tell: Callable[[_Fetched | None], None]) -> None:
        """Land the task part by part; tell each part, and every page by telling None."""
        job, stretch = task.job, task.stretch
        pages = stretch.taken(self._pages(job)) if stretch is not None else self._pages(job)
        ended = False
        while not ended:
            counts = {"listed": 0, "retrieved": 0, "absent": 0}
            part = islice(pages, _PAGES_PER_PART if stretch is not None else None)
            counted = self._counted(part, counts, tell)
            landed = write_pages(self._lake.storage, self._run, job.spec, counted, self._names)
            quarantined = sum(part.rows for part in landed.quarantine)
            window = stretch.complete() if stretch is not None else None
            windows = ((window.start, window.end),) if window is not None else ()
            ended = stretch is None or stretch.ended
            extract = EntityExtract(windows=windows, quarantined=quarantined, **counts)
            tell(_Fetched(job.spec.name, landed, extract))

    def _counted(
        self, pages: Iterator[Page], counts: dict[str, int], tell: Callable[[None], None]
    ) -> Iterator[Page]:
        names = {"list": "listed", "retrieve": "retrieved", "absent": "absent"}
        for page in pages:
            counts[names[page.source]] += len(page.records)
            self._lake.reporter.progress(page.entity, len(page.records))
            tell(None)
            yield page

    def _pages(self, job: Job) -> Iterator[Page]:
        client = self._fetching.client
        if job.window is not None:
            return client.pages(job.spec, job.window)
        gone = job.deleted_at or {}
        return (client.retrieve(job.spec, each, deleted_at=gone.get(each)) for each in job.ids)

    def _commit(self, written: Sequence[_Fetched]) -> None:
        """The parts become part of the lake with the manifest; only then may the coverage claim their windows."""
        self._lease.check()
        extract = self.manifest.extract
        entities = dict(extract.entities)
        for each in written:
            entities[each.entity] = _added(entities.get(each.entity, EntityExtract()), each.counts)
        parts = tuple(part for each in written for part in each.landed.parts)
        quarantine = tuple(part for each in written for part in each.landed.quarantine)
        self._update(
            entities=entities, parts=extract.parts + parts, quarantine=extract.quarantine + quarantine
        )
        write_manifest(self._lake.storage, self.manifest)
        line = RunLine.of(self.manifest, self._lake.clock())
        # Whoever takes over later reads these parts, and observes what is newer than they are.
        commit(self._lake.storage, self._lease, lambda head: head.noted(line) if parts else head)
        for name in dict.fromkeys(each.entity for each in written):
            windows = [window for each in written if each.entity == name for window in each.counts.windows]
            self._extend(name, [Window(start, end) for start, end in windows])
        for part in parts:
            self._lake.reporter.event(
                "bronze_write_complete", entity=part.entity, records=part.rows, bytes=part.bytes, key=part.key
            )
        for part in quarantine:
            self._lake.reporter.event(
                "records_quarantined", entity=part.entity, records=part.rows, key=part.key
            )

    def _received(self, request: Request) -> Notices:
        """The events that webhooks brought and no run has dealt with; none for a run that follows no events."""
        if not request.follows:
            return Notices()
        return take_notices(self._lake, self._run, self._lease)

    def _changed(self, parts: Sequence[BronzePart], notices: Notices) -> list[Job]:
        """Retrievals of every object that an event not yet in silver names, unless this run has read it anyway.

        What this process has read was read after the journal was rolled and the events were listed, so it is newer than
        any of these events. What an earlier attempt has read may not be: it is noted as read only when that is made good.
        """
        files = [*self._files(parts, EVENTS), *notices.files]
        return self._retrievals(self._lake.engine.changed_ids(ENTITIES[EVENTS], files))

    def _unconfirmed(self, request: Request, pending: Sequence[BronzePart], *, everything: bool) -> list[Job]:
        """Retrievals of what silver holds, may yet change without an event, and no list of this run showed.

        That is what only a reference brought into the lake, what was deleted while nobody read events, and what may have
        changed with an object that was read: with its invoice an invoice payment. What waits in pending bronze is held, too.
        """
        jobs = []
        for name, spec in ENTITIES.items():
            if name == EVENTS or not (everything or spec.mutable_days):
                continue
            is_asked_for = name in request.entities and not request.backfill
            days = spec.mutable_days if spec.mutable_days and is_asked_for else 0
            since = 0 if everything else self._run.ceiling - days * DAY
            model = self._held_since(name, 0 if spec.settled else since, unsettled=not everything)
            ids = self._lake.engine.unobserved_ids(model, spec, since, unsettled=not everything)
            if everything or spec.settled:
                files = self._files(pending, name)
                ids = [*ids, *self._lake.engine.unread_ids(spec, files, unsettled=not everything)]
            jobs += self._retrievals([(name, object_id, None) for object_id in sorted({*ids})])
        return jobs

    def _held_since(self, name: str, since: int, *, unsettled: bool) -> ModelSpec:
        """The entity's silver model, of which SQL is shown the days since then, or those with something unsettled."""
        model = self._lake.models.get(f"silver.{name}")
        day = f"{datetime.fromtimestamp(since, UTC):%Y-%m-%d}"
        dts = {
            dt
            for dt, partition in self._published.get(model.qualified, {}).items()
            if dt >= day and not (unsettled and partition.unsettled == 0)
        }
        self._lake.show(self._published, [model], dts)
        return model

    def _retrievals(self, found: Sequence[tuple[str, str, int | None]]) -> list[Job]:
        """Jobs for (entity, id, when an event says it was deleted), so that many workers get a share worth a part."""
        jobs, (least, most) = [], _IDS_PER_PART
        for name, spec in ENTITIES.items():
            mine = [(object_id, gone) for entity, object_id, gone in found if entity == name]
            share = min(most, max(least, -(-len(mine) // self._fetching.workers)))
            for start in range(0, len(mine), share):
                some = mine[start : start + share]
                gone_at = {object_id: gone for object_id, gone in some if gone is not None}
                jobs.append(Job(spec, ids=tuple(object_id for object_id, _ in some), deleted_at=gone_at))
        return jobs

    def _close_references(self, pending: Sequence[BronzePart]) -> None:
        """Retrieve what the lake's objects refer to and the lake does not hold, each once, until nothing is new.

        So, too, what this run has not read, although something that it or a pending run read has changed it.
        """
        tried: set[tuple[str, str]] = set()
        while missing := self._lacking(pending) - tried:
            tried |= missing
            self._retrieve(missing)

    def _retrieve(self, found: Collection[tuple[str, str]]) -> None:
        self._land(self._retrievals([(name, object_id, None) for name, object_id in sorted(found)]))

    def _lacking(self, pending: Sequence[BronzePart]) -> set[tuple[str, str]]:
        read = [*pending, *self.manifest.extract.parts]
        return {*self._lake.engine.missing_ids(), *self._shadowed(read)}

    def _shadowed(self, parts: Sequence[BronzePart]) -> Iterator[tuple[str, str]]:
        """What the objects that were read change without an event of its own: a dispute its charge, say."""
        for name, spec in ENTITIES.items():
            yield from self._lake.engine.shadowed_ids(spec, self._files(parts, name))

    def _note_held(self) -> None:
        """Tell the engine which objects silver holds."""
        for links in self._lake.models.links:
            partitions = self._published.get(links.qualified, {})
            self._lake.engine.show(links, self._lake.files(partitions))

    def _note(self, parts: Sequence[BronzePart], *, observed: bool) -> None:
        """Tell the engine which objects the parts hold and refer to."""
        for name, spec in ENTITIES.items():
            self._lake.engine.collect_ids(spec, self._files(parts, name), observed=observed)

    def _files(self, parts: Sequence[BronzePart], name: str) -> list[Path]:
        """Local files of the entity's parts."""
        return [self._lake.storage.localize(part.key) for part in parts if part.entity == name]

    def _extend(self, name: str, windows: Sequence[Window], *, followed: int | None = None) -> None:
        if not windows and followed is None:
            return
        storage, key = self._lake.storage, layout.watermark(name)
        found, version = load(storage, key, Coverage)
        coverage = found or read_coverage(storage, [name])[name]
        replace_document(storage, key, coverage.extended(windows, followed=followed), expected=version)

    def _update(self, **changes: object) -> None:
        self.manifest = self.manifest.model_copy(
            update={"extract": self.manifest.extract.model_copy(update=changes)}
        )

    def _note_costs(self, seconds: float) -> None:
        counts = self._fetching.client.counts
        self._update(
            seconds=round(seconds, 3), calls=counts.calls, retries=counts.retries, failures=counts.failures
        )


@dataclass(frozen=True, slots=True)
class _Task:
    """A job, and what of its window one worker lists; None for retrievals."""

    job: Job
    stretch: Stretch | None


@dataclass(frozen=True, slots=True)
class _Fetched:
    """One part of a job: what was landed, and what of the window is complete with it."""

    entity: str
    landed: Landed
    counts: EntityExtract


_News: TypeAlias = "_Fetched | Future[None] | None"
"""A part that was written, the end of a task, or that a page was read."""


def _waiting(news: SimpleQueue[_News]) -> Iterator[_News]:
    """What is in the queue: at least one message, which is waited for."""
    yield news.get()
    while not news.empty():
        yield news.get()


def _stretch(job: Job) -> Stretch | None:
    if job.window is None:
        return None
    return Stretch(job.window, ordered=job.spec.created_filter and len(job.spec.listings) == 1)


def _half_of_the_largest(running: Iterable[_Task]) -> _Task | None:
    """The older half of the window of which most is left to list; None if no half is worth a call."""
    lists = [(task.stretch, task.job) for task in running if task.stretch is not None]
    if not lists:
        return None
    largest, job = max(lists, key=lambda each: each[0].pages_left())
    half = largest.halved()
    return _Task(replace(job, window=half.window), half) if half is not None else None


def _added(total: EntityExtract, more: EntityExtract) -> EntityExtract:
    return EntityExtract(
        windows=total.windows + more.windows,
        listed=total.listed + more.listed,
        retrieved=total.retrieved + more.retrieved,
        absent=total.absent + more.absent,
        quarantined=total.quarantined + more.quarantined,
    )
