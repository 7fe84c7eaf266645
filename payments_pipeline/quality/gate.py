"""Audits a staged candidate: nothing is published unless every check that must pass did."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from payments_pipeline.bronze import taken_files
from payments_pipeline.entities import ENTITIES, EntitySpec
from payments_pipeline.flow import BronzePart, CheckResult, Snapshot
from payments_pipeline.lake import Lake
from payments_pipeline.quality.checks import Check, asked_together, checks_of, promises
from payments_pipeline.scope import Reach, note_changed, reach, show_reached
from payments_pipeline.state.coverage import Coverage
from payments_pipeline.state.manifest import Manifest
from payments_pipeline.transform.models import ModelSpec, links_of

_SAMPLE = 5
_ID = re.compile(r"[a-z]+(_[a-z]+)?_[A-Za-z0-9]{6,}")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the audit looks at: the lake `before` and `after` the change, the bronze that went in, and what was to be covered.

    `received` are the records of the runs that were read, `quarantined` those of them that are in quarantine.
    `promised` is the digest of the checks that what was there before has passed.
    """

    manifest: Manifest
    before: Snapshot
    after: Snapshot
    parts: Sequence[BronzePart]
    coverage: Sequence[Coverage]
    received: int
    quarantined: int
    max_quarantine_share: float
    promised: str | None = None


def audit(lake: Lake, evidence: Evidence) -> tuple[CheckResult, ...]:
    """Run every check on the lake as it would be; `warn` results never stop a run.

    A lake that was built whole, or whose checks are not those it passed, is looked at whole. Otherwise what did not
    change passed when it was published: the checks see what the differences reach, and it is proved that nothing else
    differs.
    """
    step = evidence.manifest.transform
    whole = step is None or step.whole or evidence.promised != promises(lake.models)
    received = [spec.name for spec in ENTITIES.values() if _show_received(lake, evidence, spec)]
    results = _audit_whole(lake, evidence) if whole else _audit_reached(lake, evidence, received)
    results += _reconciliation(lake, evidence, received, whole=whole)
    results.append(_conservation(evidence))
    results.append(_quarantine_share(evidence))
    results += _freshness(evidence)
    return tuple(results)


def _audit_whole(lake: Lake, evidence: Evidence) -> list[CheckResult]:
    lake.show(evidence.after, lake.models.built)
    results = _verdicts(lake, [*checks_of(lake.models)])
    return results + [_schema(lake, model) for model in lake.models.built]


def _audit_reached(lake: Lake, evidence: Evidence, received: Sequence[str]) -> list[CheckResult]:
    """What is file by file as it was has passed, and of rows that are not there none is bad: neither is asked again.

    That a warning was published does not say that it passed, so it is asked again whenever anything differs.
    """
    checks = [*checks_of(lake.models, reached=True)]
    if evidence.after == evidence.before:
        return [_passed(check) for check in checks]
    found = reach(lake, evidence.before, evidence.after)
    results = list(_undisturbed(lake, found, received))
    changed = {model.qualified for model in lake.models.built if found.days([model.qualified])}
    asked = [check for check in checks if check.severity == "warn" or changed.intersection(check.reads)]
    linked = [check for check in asked if check.scope == "linked" and _has_rows(lake, found, check)]
    shown = changed.union(*(check.reads for check in linked))
    show_reached(
        lake, found, (model for model in lake.models.built if model.qualified in shown and _is_linked(model))
    )
    results += _schemas(lake, found, changed)
    verdicts = dict(zip(linked, _verdicts(lake, linked), strict=True))
    by_day = [check for check in asked if check.scope == "day"]
    read = sorted({name for check in by_day for name in check.reads})
    lake.show(found.after, map(lake.models.get, read), found.days(read))
    verdicts |= zip(by_day, _verdicts(lake, by_day), strict=True)
    for check in (check for check in asked if check.scope == "lake"):
        lake.show(found.after, map(lake.models.get, check.reads))
        verdicts[check] = _run(lake, check)
    checks.sort(key=lambda check: ("linked", "day", "lake").index(check.scope))
    return results + [verdicts.get(check) or _passed(check) for check in checks]


def _schemas(lake: Lake, found: Reach, changed: Collection[str]) -> Iterator[CheckResult]:
    """Whether what changed has the columns that it should, the linked models as they are shown."""
    for model in lake.models.built:
        if model.qualified not in changed:
            yield CheckResult("schema", model.qualified, "fail", 0)
            continue
        if not _is_linked(model):
            lake.show(found.after, [model], found.days([model.qualified]))
        yield _schema(lake, model)


def _is_linked(model: ModelSpec) -> bool:
    return model.layer == "silver" or model.scope == "linked"


def _has_rows(lake: Lake, found: Reach, check: Check) -> bool:
    """Whether anything is shown of what a bad row could be made from: of a header's model, or of all that a file reads."""
    names = check.reads[:1] if check.question else check.reads
    return any(found.shows(lake.models.get(name), lake.models) for name in names)


def _undisturbed(lake: Lake, found: Reach, received: Collection[str]) -> Iterator[CheckResult]:
    """A row differs only if its object was observed (silver), or if such a difference reaches it (linked models)."""
    for model in lake.models.built:
        bad = 0
        if not _is_linked(model):
            continue
        if found.days([model.qualified]):
            if model.layer != "silver":
                note_changed(lake, found.before, found.after, model)
            bad = lake.engine.unexplained(model, observed=model.entity in received)
        yield CheckResult("undisturbed", model.qualified, "fail", bad)


def failed(results: Sequence[CheckResult]) -> list[CheckResult]:
    """The results that forbid publishing."""
    return [result for result in results if not result.passed and result.severity == "fail"]


def masked(value: object) -> str:
    """A value fit for logs and reports: ids keep their prefix and last four characters, other text its length."""
    if value is None or isinstance(value, int | float):
        return str(value)
    shown = str(value)
    if _ID.fullmatch(shown):
        return f"{shown[: shown.index('_') + 1]}…{shown[-4:]}"
    return shown if re.fullmatch(r"[\d :.\-]+|[a-z_]{1,24}", shown) else f"<{len(shown)} characters>"


def _verdicts(lake: Lake, checks: Sequence[Check]) -> list[CheckResult]:
    """The verdict on each: the questions of headers are asked together, and those alone that found something."""
    suspects: set[object] = set()
    for statements in asked_together(checks):
        named: set[object] = set()
        for sql in statements:
            named = {place for (place,) in lake.engine.query(sql).rows}
            if not named:
                break
        suspects |= named
    return [
        _run(lake, check) if check.question is None or place in suspects else _passed(check)
        for place, check in enumerate(checks)
    ]


def _passed(check: Check) -> CheckResult:
    return CheckResult(check.name, check.model, check.severity, 0)


def _run(lake: Lake, check: Check) -> CheckResult:
    bad = lake.engine.query(check.sql).rows
    sample = tuple(", ".join(masked(value) for value in row) for row in bad[:_SAMPLE])
    return CheckResult(check.name, check.model, check.severity, len(bad), sample)


def _schema(lake: Lake, model: ModelSpec) -> CheckResult:
    """The files must hold exactly the columns that the header describes, typed as the model's SQL types them."""
    lake.bind(model)
    expected = lake.engine.query(f"describe select * from ({model.sql}) limit 0").pairs()
    found = lake.engine.query(f"describe {model.qualified}").pairs()
    wrong = sorted(
        column
        for column in {*expected, *found, *model.columns}
        if expected.get(column) != found.get(column) or column not in model.columns
    )
    return CheckResult("schema", model.qualified, "fail", len(wrong), tuple(wrong[:_SAMPLE]))


def _reconciliation(
    lake: Lake, evidence: Evidence, received: Iterable[str], *, whole: bool
) -> Iterator[CheckResult]:
    """Every object of the bronze that went in is in silver, to the minor unit per currency.

    Unless the lake is looked at `whole`, only the partitions are read in which the links say that these objects are.
    """
    for spec in map(ENTITIES.__getitem__, received):
        model = lake.models.get(f"silver.{spec.name}")
        lake.show(evidence.after, [model], None if whole else _places(lake, evidence, spec))
        bad = lake.engine.unreconciled(spec, model)
        sample = tuple(", ".join(masked(value) for value in row) for row in bad[:_SAMPLE])
        yield CheckResult("bronze_to_silver", f"silver.{spec.name}", "fail", len(bad), sample)


def _places(lake: Lake, evidence: Evidence, spec: EntitySpec) -> frozenset[str]:
    links = links_of(lake.models.get(f"silver.{spec.name}"))
    lake.engine.show(links, lake.files(evidence.after.get(links.qualified, {})))
    return lake.engine.places(spec)


def _show_received(lake: Lake, evidence: Evidence, spec: EntitySpec) -> bool:
    """Let the engine see the bronze of an entity that went in, without the lines that the build sent to quarantine."""
    transform = evidence.manifest.transform
    counts = transform.counts.get(spec.name) if transform else None
    parts = [part for part in evidence.parts if part.entity == spec.name]
    files = taken_files(lake.storage, spec, parts, rejected=counts is not None and counts.quarantined > 0)
    if files:
        lake.engine.show_plainly(spec, files)
    return bool(files)


def _conservation(evidence: Evidence) -> CheckResult:
    """Every line that was landed is current, superseded or in quarantine, and silver grew by what was new."""
    transform = evidence.manifest.transform
    bad = tuple(
        name
        for name, counts in (transform.counts.items() if transform else ())
        if counts.received != counts.current + counts.superseded + counts.quarantined
        or counts.after != counts.before + counts.inserted
    )
    return CheckResult("conservation", "silver", "fail", len(bad), bad)


def _quarantine_share(evidence: Evidence) -> CheckResult:
    """Not more than the set share of what was received may be in quarantine."""
    share = evidence.quarantined / evidence.received if evidence.received else 0.0
    too_many = evidence.quarantined if share > evidence.max_quarantine_share else 0
    sample = (
        f"{evidence.quarantined} of {evidence.received} records, at most {evidence.max_quarantine_share:.2%} allowed",
    )
    return CheckResult("quarantine_share", "bronze", "fail", too_many, sample if too_many else ())


def _freshness(evidence: Evidence) -> Iterator[CheckResult]:
    """Every entity that this run fetched is covered up to the run's ceiling, or to the end of what was asked for."""
    for coverage in evidence.coverage:
        request = evidence.manifest.request
        asked = evidence.manifest.ceiling if request is None or request.end is None else request.end
        due = min(asked, evidence.manifest.ceiling)
        stale = int(coverage.watermark is None or coverage.watermark < due)
        yield CheckResult("freshness", f"bronze.{coverage.entity}", "fail", stale)
