"""Brings what is missing from the API into bronze, committing window by window."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from time import monotonic

from payments_pipeline import layout
from payments_pipeline.bronze import Landed, PartNames, write_pages
from payments_pipeline.entities import ENTITIES, EntitySpec, entity
from payments_pipeline.errors import SourceError
from payments_pipeline.flow import BronzePart, Page, RunContext, Window
from payments_pipeline.lake import Lake
from payments_pipeline.state.coverage import DAY, Coverage, plan_windows, sliced
from payments_pipeline.state.documents import load
from payments_pipeline.state.lease import Lease
from payments_pipeline.state.manifest import EntityExtract, Manifest, Request, write_manifest
from payments_pipeline.state.snapshot import snapshot_of
from payments_pipeline.storage import Storage
from payments_pipeline.stripe.client import StripeClient

_SLICES = 8
_IDS_PER_PART = 500


@dataclass(frozen=True, slots=True)
class Job:
    """One bronze part to fetch: a window of an entity's list, or objects by id."""

    spec: EntitySpec
    window: Window | None = None
    ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fetching:
    """How to fetch: the client, how many threads share it, and how far behind the watermark to look again."""

    client: StripeClient
    workers: int
    safety_seconds: int


def read_coverage(storage: Storage, name: str) -> Coverage:
    """The entity's coverage; empty if nothing was fetched yet."""
    return load(storage, layout.watermark(name), Coverage)[0] or Coverage(entity=name)


def wanted(request: Request, spec: EntitySpec, ceiling: int) -> Window:
    """The `created` window that `request` asks to have covered, never beyond the run's ceiling."""
    end = min(request.end if request.end is not None else ceiling, ceiling)
    start = request.start if request.start is not None else end - (request.days or 1) * DAY
    if spec.retention_days is not None:
        start = max(start, ceiling - spec.retention_days * DAY)
    return Window(start, max(start, end))


def plan(storage: Storage, request: Request, ceiling: int, *, safety_seconds: int) -> list[Job]:
    """The list windows that a run must fetch; a list that must be read from its newest object down is not sliced."""
    jobs = []
    for name in request.entities:
        spec = entity(name)
        coverage = read_coverage(storage, name)
        windows = plan_windows(wanted(request, spec, ceiling), coverage, safety_seconds=safety_seconds)
        jobs += [
            Job(spec, window)
            for window in (sliced(windows, most=_SLICES) if spec.created_filter else windows)
        ]
    return jobs


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
        self._stopping = threading.Event()

    def __call__(self, request: Request, pending: Sequence[BronzePart]) -> Manifest:
        """Fetch `request`, then whatever the new objects refer to; `pending` is bronze not yet in silver."""
        started = monotonic()
        before = self.manifest.extract
        jobs = plan(
            self._lake.storage, request, self._run.ceiling, safety_seconds=self._fetching.safety_seconds
        )
        try:
            self._land(jobs)
            self._close_references(pending)
        finally:
            self._note_costs(before.seconds + monotonic() - started)
        finished = self.manifest.extract.model_copy(update={"finished_at": self._lake.clock()})
        self.manifest = self.manifest.model_copy(update={"extract": finished, "outcome": "extracted"})
        write_manifest(self._lake.storage, self.manifest)
        return self.manifest

    def _land(self, jobs: Sequence[Job]) -> list[BronzePart]:
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
                self._stopping.set()
                pool.shutdown(cancel_futures=True)
                raise
        return landed

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
            pages = client.pages(job.spec, job.window)
        else:
            pages = (client.retrieve(job.spec, object_id) for object_id in job.ids)
        for page in pages:
            if self._stopping.is_set():
                raise SourceError("stopped because another request failed; run again to continue.")
            yield page

    def _commit(self, job: Job, landed: Landed, counts: EntityExtract) -> None:
        """The parts become part of the lake with the manifest; only then may the coverage claim their window."""
        self._lease.check()
        extract = self.manifest.extract
        entities = dict(extract.entities)
        entities[job.spec.name] = _added(entities.get(job.spec.name, EntityExtract()), counts)
        update = {
            "entities": entities,
            "parts": extract.parts + landed.parts,
            "quarantine": extract.quarantine + landed.quarantine,
        }
        self.manifest = self.manifest.model_copy(update={"extract": extract.model_copy(update=update)})
        write_manifest(self._lake.storage, self.manifest)
        if job.window is not None:
            coverage = read_coverage(self._lake.storage, job.spec.name).extended([job.window])
            self._lake.storage.put(layout.watermark(job.spec.name), coverage.sealed())
        for part in landed.parts:
            self._lake.reporter.event(
                "bronze_write_complete", entity=part.entity, records=part.rows, bytes=part.bytes, key=part.key
            )
        for part in landed.quarantine:
            self._lake.reporter.event(
                "records_quarantined", entity=part.entity, records=part.rows, key=part.key
            )

    def _close_references(self, pending: Sequence[BronzePart]) -> None:
        """Retrieve by id what the lake's objects refer to and the lake does not hold, until nothing is missing."""
        engine = self._lake.engine
        snapshot = snapshot_of(self._lake.latest())
        for model in self._lake.models.layer("silver"):
            if model.parent is None:
                files = [self._lake.verified(part) for part in snapshot.get(model.qualified, {}).values()]
                engine.collect_held(model.name, model.grain[0], files)
        parts = [*pending, *self.manifest.extract.parts]
        while parts:
            for name, spec in ENTITIES.items():
                files = [self._lake.storage.localize(part.key) for part in parts if part.entity == name]
                engine.collect_ids(spec, files)
            parts = self._land(_retrievals(engine.missing_ids()))

    def _note_costs(self, seconds: float) -> None:
        counts = self._fetching.client.counts
        update = {
            "seconds": round(seconds, 3),
            "calls": counts.calls,
            "retries": counts.retries,
            "failures": counts.failures,
        }
        extract = self.manifest.extract.model_copy(update=update)
        self.manifest = self.manifest.model_copy(update={"extract": extract})


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


def _retrievals(missing: Sequence[tuple[str, str]]) -> list[Job]:
    """Jobs for the missing objects, a few hundred ids of one entity each."""
    jobs = []
    for name, spec in ENTITIES.items():
        ids = [object_id for entity_name, object_id in missing if entity_name == name]
        jobs += [
            Job(spec, ids=tuple(ids[start : start + _IDS_PER_PART]))
            for start in range(0, len(ids), _IDS_PER_PART)
        ]
    return jobs


def _added(total: EntityExtract, more: EntityExtract) -> EntityExtract:
    return EntityExtract(
        windows=total.windows + more.windows,
        listed=total.listed + more.listed,
        retrieved=total.retrieved + more.retrieved,
        absent=total.absent + more.absent,
        quarantined=total.quarantined + more.quarantined,
    )
