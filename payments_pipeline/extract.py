"""Brings what is missing from the API into bronze, committing window by window."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from time import monotonic

from payments_pipeline import layout
from payments_pipeline.bronze import Landed, PartNames, write_pages
from payments_pipeline.entities import ENTITIES
from payments_pipeline.flow import BronzePart, Page, RunContext, Window
from payments_pipeline.lake import Lake
from payments_pipeline.planning import EVENTS, Job, make_plan, unread_since
from payments_pipeline.state.coverage import DAY, Coverage
from payments_pipeline.state.documents import load, replace
from payments_pipeline.state.head import commit
from payments_pipeline.state.lease import Lease
from payments_pipeline.state.manifest import (
    EntityExtract,
    Manifest,
    Request,
    all_runs,
    read_manifest,
    write_manifest,
)
from payments_pipeline.state.snapshot import snapshot_of
from payments_pipeline.storage import Storage
from payments_pipeline.stripe.client import StripeClient

_IDS_PER_PART = 500


@dataclass(frozen=True, slots=True)
class Fetching:
    """How to fetch: the client, how many threads share it, and how far behind the watermark to look again."""

    client: StripeClient
    workers: int
    safety_seconds: int


def read_coverage(storage: Storage, name: str) -> Coverage:
    """The entity's coverage; made again from the manifests if its file is lost."""
    found = load(storage, layout.watermark(name), Coverage)[0]
    if found is not None:
        return found
    windows = [
        Window(start, end)
        for run_id in all_runs(storage)
        for start, end in read_manifest(storage, run_id).extract.entities.get(name, EntityExtract()).windows
    ]
    return Coverage(entity=name).extended(windows)


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

    def __call__(self, request: Request, pending: Sequence[BronzePart]) -> Manifest:
        """Fetch `request`, what changed meanwhile, and what the new objects refer to.

        `pending` is bronze of other runs that is not yet in silver.
        """
        started = monotonic()
        before = self.manifest.extract
        coverage = {name: read_coverage(self._lake.storage, name) for name in ENTITIES}
        plan = make_plan(request, coverage, self._run.ceiling, safety_seconds=self._fetching.safety_seconds)
        self._update(relisted=plan.relist)
        if plan.relist:
            self._lake.reporter.event("relisting", reason=plan.relist)
        try:
            self._note_held()
            self._note(pending, observed=False)
            self._note(before.parts, observed=True)
            self._land(plan.jobs)
            self._land(self._changed(pending))
            if not request.backfill:
                self._land(self._unconfirmed(request, everything=plan.relist is not None))
            self._close_references()
        finally:
            self._note_costs(before.seconds + monotonic() - started)
        if plan.relist:
            self._extend(
                EVENTS, Window(unread_since(coverage[EVENTS]) or self._run.ceiling, self._run.ceiling)
            )
        self._update(finished_at=self._lake.clock())
        self.manifest = self.manifest.model_copy(update={"outcome": "extracted"})
        write_manifest(self._lake.storage, self.manifest)
        return self.manifest

    def _land(self, jobs: Sequence[Job]) -> None:
        """Fetch the jobs concurrently and commit each as it ends; the first failure stops the others."""
        landed: list[BronzePart] = []
        with ThreadPoolExecutor(self._fetching.workers, thread_name_prefix="fetch") as pool:
            futures: dict[Future[tuple[Landed, EntityExtract]], Job] = {
                pool.submit(self._fetch, job): job for job in jobs
            }
            try:
                for future in as_completed(futures):
                    part, counts = future.result()
                    self._commit(futures[future], part, counts)
                    landed += part.parts
            except BaseException:
                self._fetching.client.cancel()
                pool.shutdown(cancel_futures=True)
                raise
        self._note(landed, observed=True)

    def _fetch(self, job: Job) -> tuple[Landed, EntityExtract]:
        tally = _Tally()
        pages = tally.counting(self._pages(job), self._lake.reporter.progress)
        landed = write_pages(self._lake.storage, self._run, job.spec, pages, self._names)
        quarantined = sum(part.rows for part in landed.quarantine)
        windows = ((job.window.start, job.window.end),) if job.window is not None else ()
        return landed, EntityExtract(windows=windows, quarantined=quarantined, **tally.counts)

    def _pages(self, job: Job) -> Iterator[Page]:
        client = self._fetching.client
        if job.window is not None:
            return client.pages(job.spec, job.window)
        gone = job.deleted_at or {}
        return (client.retrieve(job.spec, each, deleted_at=gone.get(each)) for each in job.ids)

    def _commit(self, job: Job, landed: Landed, counts: EntityExtract) -> None:
        """The parts become part of the lake with the manifest; only then may the coverage claim their window."""
        self._lease.check()
        extract = self.manifest.extract
        entities = dict(extract.entities)
        entities[job.spec.name] = _added(entities.get(job.spec.name, EntityExtract()), counts)
        self._update(
            entities=entities,
            parts=extract.parts + landed.parts,
            quarantine=extract.quarantine + landed.quarantine,
        )
        write_manifest(self._lake.storage, self.manifest)
        commit(
            self._lake.storage, self._lease, lambda head: head
        )  # whoever takes over later reads these parts
        if job.window is not None:
            self._extend(job.spec.name, job.window)
        for part in landed.parts:
            self._lake.reporter.event(
                "bronze_write_complete", entity=part.entity, records=part.rows, bytes=part.bytes, key=part.key
            )
        for part in landed.quarantine:
            self._lake.reporter.event(
                "records_quarantined", entity=part.entity, records=part.rows, key=part.key
            )

    def _changed(self, pending: Sequence[BronzePart]) -> list[Job]:
        """Retrievals of every object that an event not yet in silver names, unless this run has read it anyway.

        What this run has read was read after its ceiling was frozen, so it is newer than any event below it.
        """
        parts = [part for part in (*pending, *self.manifest.extract.parts) if part.entity == EVENTS]
        files = [self._lake.storage.localize(part.key) for part in parts]
        return self._retrievals(self._lake.engine.changed_ids(ENTITIES[EVENTS], files))

    def _unconfirmed(self, request: Request, *, everything: bool) -> list[Job]:
        """Retrievals of what silver holds, may have changed without an event, and no list of this run showed.

        That is what only a reference brought into the lake, and what was deleted while nobody read events.
        """
        jobs = []
        for name in request.entities:
            spec = ENTITIES[name]
            if name == EVENTS or not (everything or spec.mutable_days):
                continue
            since = 0 if everything else self._run.ceiling - (spec.mutable_days or 0) * DAY
            ids = self._lake.engine.unobserved_ids(name, since)
            jobs += self._retrievals([(name, object_id, None) for object_id in ids])
        return jobs

    def _retrievals(self, found: Sequence[tuple[str, str, int | None]]) -> list[Job]:
        """Jobs for (entity, id, when an event says it was deleted), so that every worker gets a share."""
        jobs = []
        for name, spec in ENTITIES.items():
            mine = [(object_id, gone) for entity, object_id, gone in found if entity == name]
            share = min(_IDS_PER_PART, -(-len(mine) // self._fetching.workers))
            for start in range(0, len(mine), max(1, share)):
                some = mine[start : start + share]
                gone_at = {object_id: gone for object_id, gone in some if gone is not None}
                jobs.append(Job(spec, ids=tuple(object_id for object_id, _ in some), deleted_at=gone_at))
        return jobs

    def _close_references(self) -> None:
        """Retrieve what the lake's objects refer to and the lake does not hold, each once, until nothing is new."""
        tried: set[tuple[str, str]] = set()
        while missing := set(self._lake.engine.missing_ids()) - tried:
            tried |= missing
            self._land(self._retrievals([(name, object_id, None) for name, object_id in sorted(missing)]))

    def _note_held(self) -> None:
        """Tell the engine which objects silver holds."""
        snapshot = snapshot_of(self._lake.latest())
        for model in self._lake.models.layer("silver"):
            if model.parent is None:
                files = [self._lake.verified(part) for part in snapshot.get(model.qualified, {}).values()]
                self._lake.engine.collect_held(model, files)

    def _note(self, parts: Sequence[BronzePart], *, observed: bool) -> None:
        """Tell the engine which objects the parts hold and refer to."""
        for name, spec in ENTITIES.items():
            files = [self._lake.storage.localize(part.key) for part in parts if part.entity == name]
            self._lake.engine.collect_ids(spec, files, observed=observed)

    def _extend(self, name: str, window: Window) -> None:
        storage, key = self._lake.storage, layout.watermark(name)
        found, version = load(storage, key, Coverage)
        coverage = found or read_coverage(storage, name)
        replace(storage, key, coverage.extended([window]), expected=version)

    def _update(self, **changes: object) -> None:
        self.manifest = self.manifest.model_copy(
            update={"extract": self.manifest.extract.model_copy(update=changes)}
        )

    def _note_costs(self, seconds: float) -> None:
        counts = self._fetching.client.counts
        self._update(
            seconds=round(seconds, 3), calls=counts.calls, retries=counts.retries, failures=counts.failures
        )


class _Tally:
    """Counts the records of one job by how they were observed."""

    def __init__(self) -> None:
        self.counts = {"listed": 0, "retrieved": 0, "absent": 0}

    def counting(self, pages: Iterator[Page], progress: Callable[[str, int], None]) -> Iterator[Page]:
        names = {"list": "listed", "retrieve": "retrieved", "absent": "absent"}
        for page in pages:
            self.counts[names[page.source]] += len(page.records)
            progress(page.entity, len(page.records))
            yield page


def _added(total: EntityExtract, more: EntityExtract) -> EntityExtract:
    return EntityExtract(
        windows=total.windows + more.windows,
        listed=total.listed + more.listed,
        retrieved=total.retrieved + more.retrieved,
        absent=total.absent + more.absent,
        quarantined=total.quarantined + more.quarantined,
    )
