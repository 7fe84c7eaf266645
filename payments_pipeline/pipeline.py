"""The story of a run: extract, build, audit, publish, commit."""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

from payments_pipeline import layout
from payments_pipeline.build import Build, Built, model_version, outdated
from payments_pipeline.entities import ENTITIES
from payments_pipeline.errors import CorruptObject, QualityError, UsageError
from payments_pipeline.extract import Extraction, Fetching
from payments_pipeline.flow import CheckResult, RunContext
from payments_pipeline.inputs import (
    finished_of,
    gone_on,
    overtaken,
    parts_of,
    parts_to_read,
    thinned_entities,
)
from payments_pipeline.lake import Lake
from payments_pipeline.planning import check_has_begun
from payments_pipeline.publish import discard_staging, publish, recover
from payments_pipeline.quality.checks import promises
from payments_pipeline.quality.gate import Evidence, audit, failed
from payments_pipeline.quality.report import write_report
from payments_pipeline.state.coverage import read_coverage
from payments_pipeline.state.head import Head, RunLine, claim, commit, fence, known_runs, read_head
from payments_pipeline.state.lease import Holder, Lease
from payments_pipeline.state.manifest import (
    Manifest,
    Quality,
    Request,
    Transform,
    check_same_request,
    find_manifest,
    measured,
    read_manifests,
    write_manifest,
)
from payments_pipeline.state.snapshot import candidate, content_digest, snapshot_of
from payments_pipeline.storage import Storage
from payments_pipeline.stripe.client import SourceInfo


@dataclass(frozen=True, slots=True)
class Account:
    """The account a run reads, and what the simulated business behind it was made from, if it is one."""

    source: SourceInfo
    world: Mapping[str, int | str] | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """An open run: its context, its lease and its manifest as it stands."""

    context: RunContext
    lease: Lease
    manifest: Manifest


@contextmanager
def opened(lake: Lake, run_id: str, *, account: Account | None = None) -> Iterator[Run]:
    """Hold the lake for one run: take the lease, finish what a killed run left open, claim the head.

    The lake is bound to the `account`, whose own clock gives the run's ceiling; steps that read no API need none.
    """
    layout.checked_run_id(run_id)
    holder = Holder(run_id, socket.gethostname(), os.getpid())
    with Lease(lake.storage, holder, lake.clock) as lease:
        if account is not None:
            source = account.source
            claim(lake.storage, lease, source.account, account.world, livemode=source.livemode)
        else:
            fence(lake.storage, lease)
        recovered = recover(lake, lease)
        if recovered is not None:
            lake.reporter.event("publish_recovered", recovered_run_id=recovered)
        now = lake.clock()
        found = find_manifest(lake.storage, run_id)
        begun = found or Manifest(
            run_id=run_id,
            epoch=lease.epoch,
            started_at=now,
            ceiling=account.source.now if account else int(now.timestamp()),
            account=account.source.account if account else None,
            livemode=account.source.livemode if account else None,
            world=dict(account.world) if account and account.world else None,
        )
        manifest = begun.model_copy(update={"epoch": lease.epoch})
        seen = account.source.now if account else manifest.ceiling
        context = RunContext(run_id, lease.epoch, manifest.started_at, manifest.ceiling, seen)
        yield Run(context, lease, manifest)


def extract(lake: Lake, run: Run, request: Request, fetching: Fetching) -> Run:
    """Land what `request` asks for and the lake does not hold. A run that has done so does nothing."""
    check_same_request(run.manifest, request)
    check_has_begun(request, run.context.ceiling)
    if run.manifest.extract.finished_at is not None:
        lake.reporter.event("extract_skipped", reason="this RUN_ID has already extracted")
        return run
    manifest = run.manifest.model_copy(update={"request": request})
    write_manifest(lake.storage, manifest)
    head = commit(lake.storage, run.lease, lambda head: _with_pending(head, manifest.run_id))
    others = read_manifests(lake.storage, (name for name in head.pending if name != manifest.run_id))
    extraction = Extraction(lake, run.context, manifest, run.lease, fetching)
    finished = extraction(request, parts_of(others.values()))
    commit(lake.storage, run.lease, lambda head: head.noted(RunLine.of(finished, lake.clock())))
    costs = finished.extract
    lake.reporter.event(
        "extract_complete",
        records=finished.rows(),
        quarantined=sum(part.rows for part in costs.quarantine),
        api_calls=costs.calls,
        retries=costs.retries,
        failures=costs.failures,
        seconds=costs.seconds,
    )
    return Run(run.context, run.lease, finished)


def transform(lake: Lake, run: Run, *, rebuild: bool = False, accept_loss: bool = False) -> Run:
    """Build silver, gold and marts from committed bronze into staging; nothing published changes.

    With `rebuild` every entity is built from all of bronze, otherwise new bronze is merged into what is
    published, except what an overtaken run has brought: its entities are built from all of bronze, too. Rows
    whose bronze retention has removed are kept either way; `CorruptObject` if some of them were in a file that is
    damaged, unless their loss is accepted. A run that is published already does nothing.
    """
    if run.manifest.outcome == "published":
        lake.reporter.event("transform_skipped", reason="this RUN_ID is already published")
        return run
    started = monotonic()
    discard_staging(lake.storage, run.manifest.run_id, run.lease.epoch)
    head, latest = read_head(lake.storage), lake.intact() if rebuild else lake.latest()
    last = find_manifest(lake.storage, head.published)
    stale = outdated(lake, latest, last)
    whole = rebuild or bool(stale)
    pending = read_manifests(lake.storage, head.pending)
    consumed = finished_of(pending)
    late = overtaken((pending[name] for name in consumed), last)
    anew = frozenset(ENTITIES if rebuild else {*lake.models.entities(stale), *late})
    past = known_runs(lake.storage) if anew else ()
    runs = {**pending, **read_manifests(lake.storage, (name for name in past if name not in pending))}
    thinned = thinned_entities(runs[name] for name in past)
    build = Build(lake, run.context, latest, anew=anew, thinned=thinned)
    built = build(parts_to_read(runs, consumed, past, anew), whole=whole)
    _tell_thinned(lake, built, thinned & anew, accept_loss=accept_loss)
    result = candidate(snapshot_of(latest), built.staged, built.removed)
    step = Transform(
        epoch=run.lease.epoch,
        finished_at=lake.clock(),
        seconds=round(monotonic() - started, 3),
        consumed=consumed,
        anew=tuple(sorted(anew)),
        from_runs=past,
        whole=whole,
        based_on=head.published,
        versions={
            model.qualified: model_version(model, lake.engine)
            for model in (*lake.models.built, *lake.models.links)
        },
        counts=built.counts,
        staged=tuple(built.staged),
        removed=tuple(built.removed),
        digest=content_digest(result),
    )
    manifest = run.manifest.model_copy(update={"transform": step, "quality": None, "outcome": "transformed"})
    manifest = measured(lake.storage, manifest)
    write_manifest(lake.storage, manifest)
    commit(lake.storage, run.lease, lambda head: head.noted(RunLine.of(manifest, lake.clock())))
    lake.reporter.event(
        "transform_complete", staged=len(step.staged), removed=len(step.removed), seconds=step.seconds
    )
    return Run(run.context, run.lease, manifest)


def check_and_publish(lake: Lake, run: Run, *, max_quarantine_share: float) -> Run:
    """Audit what the run staged; publish it if every check passed, `QualityError` (and nothing changed) otherwise."""
    if run.manifest.outcome == "published":
        lake.reporter.event("quality_skipped", reason="this RUN_ID is already published")
        return run
    if run.manifest.transform is None:
        raise UsageError(
            f"run {run.manifest.run_id} has nothing staged; run 'payments-pipeline run-transforms' with the same "
            "RUN_ID first. Nothing was changed."
        )
    started = monotonic()
    step = run.manifest.transform
    if read_head(lake.storage).published != step.based_on:
        raise UsageError(
            f"another run has published since run {run.manifest.run_id} was built; run 'payments-pipeline "
            "run-transforms' with the same RUN_ID again. Nothing was changed."
        )
    results = audit(lake, _evidence(lake, run.manifest, max_quarantine_share))
    bad = failed(results)
    quality = Quality(
        finished_at=lake.clock(),
        seconds=round(monotonic() - started, 3),
        checks=results,
        promises=promises(lake.models),
        passed=not bad,
    )
    manifest = run.manifest.model_copy(
        update={"quality": quality, "outcome": "refused" if bad else "transformed"}
    )
    write_manifest(lake.storage, manifest)
    write_report(lake.storage, manifest)
    if bad:
        commit(lake.storage, run.lease, lambda head: head.noted(RunLine.of(manifest, lake.clock())))
        lake.reporter.event("quality_failed", failed=len(bad), checks=len(results))
        raise QualityError(_refusal(manifest, bad))
    lake.reporter.event("quality_passed", checks=len(results), seconds=quality.seconds)
    published = publish(lake, run.lease, manifest)
    lake.reporter.event("publish_complete", partitions=len(step.staged), digest=step.digest)
    return Run(run.context, run.lease, published)


def build_and_publish(
    lake: Lake, run: Run, *, max_quarantine_share: float, rebuild: bool = False, accept_loss: bool = False
) -> Run:
    """`transform`, then `check_and_publish`."""
    staged = transform(lake, run, rebuild=rebuild, accept_loss=accept_loss)
    return check_and_publish(lake, staged, max_quarantine_share=max_quarantine_share)


def last_staged(storage: Storage) -> str:
    """The last run that staged something and was not published; `UsageError` if there is none."""
    for line in reversed(read_head(storage).runs):
        if line.outcome in {"transformed", "refused"}:
            return line.run_id
    raise UsageError(
        "no run has anything staged; 'payments-pipeline run-transforms' comes first. Nothing was changed."
    )


def _tell_thinned(lake: Lake, built: Built, thinned: Collection[str], *, accept_loss: bool) -> None:
    """Say how many rows stand on silver alone; `CorruptObject` if some are lost and nobody has accepted that."""
    for name in sorted(thinned):
        counts = built.counts[name]
        lake.reporter.event("rows_kept_without_bronze", entity=name, rows=counts.after - counts.current)
    if not built.lost:
        return
    listed = ", ".join(f"{where} ({rows} rows)" for where, rows in sorted(built.lost.items())[:5])
    more = f" and {len(built.lost) - 5} more" if len(built.lost) > 5 else ""
    if not accept_loss:
        raise CorruptObject(
            f"{listed}{more} in {lake.storage.url}: the file is damaged or gone, and retention has removed the bronze "
            "of these rows. Nothing was published; restore the file from a backup and run again, or publish what is "
            "left with 'payments-pipeline rebuild --accept-loss' and then fetch those days again (docs/runbook.md)."
        )
    lake.reporter.event("rows_lost", rows=sum(built.lost.values()), partitions=sorted(built.lost))


def _evidence(lake: Lake, manifest: Manifest, max_quarantine_share: float) -> Evidence:
    """What the audit looks at; `UsageError` if the build is outdated, because a run that it looked at has gone on."""
    assert manifest.transform is not None, "only what was built can be audited"
    step = manifest.transform
    runs = read_manifests(lake.storage, (*step.from_runs, *step.consumed))
    if late := gone_on(runs.values(), step):
        raise UsageError(
            f"run {', '.join(late)} has gone on since run {manifest.run_id} was built; run 'payments-pipeline "
            "run-transforms' with the same RUN_ID again. Nothing was changed."
        )
    counted = [run for name, run in runs.items() if step.whole or name in step.consumed]
    read = [run.extract for run in counted if run.extract.parts or not run.extract.expired]
    rejected = sum(part.rows for extract in read for part in extract.quarantine)
    requested = manifest.request.entities if manifest.request else ()
    before = snapshot_of(lake.latest())
    return Evidence(
        manifest=manifest,
        before=before,
        after=candidate(before, step.staged, step.removed),
        parts=parts_to_read(runs, step.consumed, step.from_runs, step.anew),
        coverage=[*read_coverage(lake.storage, requested).values()],
        received=sum(run.rows() for run in counted) + rejected,
        quarantined=rejected + sum(counts.quarantined for counts in step.counts.values()),
        max_quarantine_share=max_quarantine_share,
        promised=_promised(lake.storage, step.based_on),
    )


def _promised(storage: Storage, published: str | None) -> str | None:
    """The digest of the checks that the published state has passed."""
    run = find_manifest(storage, published)
    return run.quality.promises if run is not None and run.quality is not None else None


def _with_pending(head: Head, run_id: str) -> Head:
    """The run is the latest to land bronze, also if it is an earlier one that goes on."""
    others = tuple(other for other in head.pending if other != run_id)
    return head.model_copy(update={"pending": (*others, run_id)})


def _refusal(manifest: Manifest, bad: Sequence[CheckResult]) -> str:
    listed = "; ".join(
        f"{result.name} on {result.model}: {result.bad_rows} bad"
        + (f" ({result.sample[0]})" if result.sample else "")
        for result in bad[:5]
    )
    more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
    return (
        f"run {manifest.run_id}: {len(bad)} quality check(s) failed: {listed}{more}. Nothing was published, gold is "
        f"as it was, the new bronze is kept; see {layout.quality_report(manifest.run_id)}."
    )
