"""Deliberately broken variants of the pipeline, each with the tests that must notice."""

from __future__ import annotations

from dataclasses import dataclass

UNIT, CONTRACT, HISTORY = "tests/unit", "tests/contract", "tests/property/test_history.py"
ORDER = "tests/mutants/test_durable_order.py"
SPEC = "tests/spec/test_spec.py"


@dataclass(frozen=True, slots=True)
class Mutant:
    """In `file`, `before` (which must occur exactly once) becomes `after`; one of `tests` must fail then.

    `name` says what is broken. A test is a file, or `file::test`, or `file -k words`.
    """

    name: str
    file: str
    before: str
    after: str
    tests: str


P = "payments_pipeline"

MUTANTS = (
    # What the lake says it holds
    Mutant(
        "the watermark is written before the bronze it speaks of is committed",
        f"{P}/extract.py",
        "        self._lease.check()\n        extract = self.manifest.extract\n",
        "        for each in written:\n"
        "            self._extend(each.entity, [Window(start, end) for start, end in each.counts.windows])\n"
        "        extract = self.manifest.extract\n",
        f"{HISTORY}::test_coverage_never_claims_what_is_not_committed",
    ),
    Mutant(
        "the watermark may go back",
        f"{P}/state/coverage.py",
        "return max((each for each in (first, second)",
        "return min((each for each in (first, second)",
        f"{UNIT}/test_coverage.py",
    ),
    Mutant(
        "a backfill counts as having followed the events",
        f"{P}/state/manifest.py",
        "return EVENTS in self.entities and not self.backfill",
        "return EVENTS in self.entities",
        "tests/property/test_unannounced.py::test_events_that_a_backfill_reads_are_not_all_events",
    ),
    Mutant(
        "the second of the ceiling counts as covered",
        f"{P}/planning.py",
        "end = min(request.end if request.end is not None else ceiling, ceiling)",
        "end = min(request.end if request.end is not None else ceiling, ceiling) + 1",
        f"{HISTORY}::test_a_change_in_the_very_second_of_a_run",
    ),
    Mutant(
        "a failed request does not end the run",
        f"{P}/extract.py",
        "                pool.shutdown(cancel_futures=True)\n                raise",
        "                pool.shutdown(cancel_futures=True)\n                return",
        f"{HISTORY}::test_an_outage_ends_the_run_and_the_next_goes_on",
    ),
    Mutant(
        "days without a run are skipped",
        f"{P}/planning.py",
        "Window(min(start, coverage.watermark) if coverage.watermark is not None else start, end)",
        "Window(start, end)",
        f"{HISTORY}::test_days_without_a_run_leave_no_gap",
    ),
    Mutant(
        "the safety window is not read again",
        f"{P}/state/coverage.py",
        "if safety_seconds and coverage.watermark is not None",
        "if not safety_seconds and coverage.watermark is not None",
        f"{UNIT}/test_coverage.py",
    ),
    Mutant(
        "a window does not hold its first second",
        f"{P}/stripe/paging.py",
        '"created[gte]"',
        '"created[gt]"',
        f"{CONTRACT}/test_client_paging.py -k e17",
    ),
    # What changes and what is deleted
    Mutant(
        "events are read without overlap",
        f"{P}/planning.py",
        "unbroken - safety_seconds",
        "unbroken",
        f"{HISTORY}::test_events_are_read_with_overlap",
    ),
    Mutant(
        "an event names an object and nobody retrieves it",
        f"{P}/extract.py",
        "self._land(self._changed([*pending, *self.manifest.extract.parts], notices))",
        "pass",
        f"{HISTORY}::test_a_change_in_the_very_second_of_a_run",
    ),
    Mutant(
        "weeks without events are not noticed",
        f"{P}/planning.py",
        "if since < now - MAX_EVENTS_GAP_DAYS * DAY:",
        "if since < 0:",
        f"{HISTORY} -k idle_days",
    ),
    Mutant(
        "what has no events and is not listed is never looked at again",
        f"{P}/extract.py",
        "not (everything or spec.mutable_days)",
        "not everything",
        f"{HISTORY}::test_money_that_becomes_available_without_an_event",
    ),
    Mutant(
        "what is still pending is taken for settled",
        f"{P}/entities/money.py",
        'settled=("available",)',
        'settled=("available", "pending")',
        f"{HISTORY}::test_money_that_becomes_available_without_an_event",
    ),
    Mutant(
        "references are not followed",
        f"{P}/extract.py",
        "            self._close_references(pending)\n",
        "",
        f"{HISTORY}::test_money_that_becomes_available_without_an_event",
    ),
    Mutant(
        "an object that is gone leaves no tombstone",
        f"{P}/stripe/client.py",
        '"deleted": True',
        '"deleted": False',
        f"{HISTORY}::test_deletions_become_tombstones_that_say_when",
    ),
    Mutant(
        "a tombstone does not reach the published row",
        f"{P}/transform/statements.py",
        "coalesce(observed._is_bare, existing.is_deleted) as is_deleted",
        "existing.is_deleted as is_deleted",
        f"{CONTRACT}/test_engine.py",
    ),
    Mutant(
        "cancelled subscriptions are hidden by the list's default",
        f"{P}/entities/billing.py",
        'listings=({"status": "all"},)',
        "listings=({},)",
        f"{UNIT}/test_entities.py",
    ),
    # Which version counts
    Mutant(
        "of two observations the one that arrived first wins",
        f"{P}/transform/lines.py",
        "partition by id order by _is_bare, _observed_at desc, _rank desc, _offset desc",
        "partition by id order by _is_bare",
        f"{CONTRACT}/test_engine.py",
    ),
    Mutant(
        "a list wins over a retrieval of the same moment",
        f"{P}/transform/lines.py",
        "case meta.source when 'list' then 1 else 2 end as _rank",
        "case meta.source when 'list' then 2 else 1 end as _rank",
        f"{CONTRACT}/test_engine.py",
    ),
    Mutant(
        "an older observation replaces a newer published row",
        f"{P}/transform/statements.py",
        "left join observed on existing.{key} = observed._id and observed._seen >= existing._observed_at",
        "left join observed on existing.{key} = observed._id",
        f"{UNIT}/test_publish.py::test_an_old_run_that_goes_on_passes_the_audit",
    ),
    Mutant(
        "what an overtaken run saw is merged as if it were new",
        f"{P}/inputs.py",
        "if run.started_at < built_at",
        "if run.started_at > built_at",
        f"{UNIT}/test_overtaken.py::test_what_an_older_run_saw_last_counts",
    ),
    # Reading the API
    Mutant(
        "a cursor object that vanished ends the list",
        f"{P}/stripe/client.py",
        "                left = remaining(left, shown)",
        "                return",
        f"{CONTRACT}/test_client_paging.py -k e16",
    ),
    Mutant(
        "Retry-After is ignored",
        f"{P}/stripe/retry.py",
        "return generator.uniform(0, backoff) + (asked or 0.0)",
        "return generator.uniform(0, backoff)",
        f"{UNIT}/stripe/test_retry.py",
    ),
    # Publishing
    Mutant(
        "a failed gate does not stop the publish",
        f"{P}/pipeline.py",
        "    if bad:\n        commit(",
        "    if len(bad) > 1000:\n        commit(",
        f"{UNIT}/test_publish.py::test_a_refused_audit_changes_no_published_byte",
    ),
    Mutant(
        "it is published first and audited afterwards",
        f"{P}/pipeline.py",
        "    results = audit(",
        "    publish(lake, run.lease, run.manifest)\n    results = audit(",
        f"{UNIT}/test_publish.py::test_a_refused_audit_changes_no_published_byte",
    ),
    Mutant(
        "partitions are moved without a journal",
        f"{P}/publish.py",
        '        commit(lake.storage, lease, lambda head: head.model_copy(update={"publishing": manifest.run_id}))\n',
        "",
        f"{UNIT}/test_publish.py::test_a_publish_killed_anywhere_is_finished_by_the_next_opening",
    ),
    Mutant(
        "a change is not followed to what it is linked to",
        f"{P}/transform/duckdb_engine.py",
        'while self._run("select 1 from built.frontier limit 1"):',
        "while False:",
        f"{HISTORY}::test_a_change_in_the_very_second_of_a_run",
    ),
    Mutant(
        "what is summed by day stays as it was",
        f"{P}/build.py",
        "days = found.days(model.depends_on)",
        "days = frozenset()",
        f"{HISTORY}::test_a_change_in_the_very_second_of_a_run",
    ),
    Mutant(
        "what was published is never held to a check that is new",
        f"{P}/quality/gate.py",
        " or evidence.promised != promises(lake.models)",
        "",
        f"{UNIT}/test_publish.py -k a_check_that_changed",
    ),
    Mutant(
        "what a change reaches is not asked again",
        f"{P}/quality/gate.py",
        'check.severity == "warn" or changed.intersection(check.reads)',
        'check.severity == "warn"',
        f"{UNIT}/test_publish.py -k refused_for",
    ),
    Mutant(
        "asked together, a check overlooks a row that is there twice",
        f"{P}/quality/checks.py",
        "group by place, row having count(*) > 1",
        "group by place, row having count(*) > 2",
        f"{UNIT}/test_gate.py::test_planted_rows_are_found",
    ),
    Mutant(
        "of an entity that is built in groups of months only the first is built",
        f"{P}/build.py",
        "self._engine.narrow(spec, months[0], months[-1])",
        "self._engine.narrow(spec, '1970-01', '2026-01')",
        "tests/e2e/test_months.py",
    ),
    Mutant(
        "readers find files by listing them, not in the record",
        f"{P}/lake.py",
        "self.engine.show(model, self.files(snapshot.get(model.qualified, {}), dts))",
        "self.engine.show(model, [self.storage.localize(found.key) for found in self.storage.list('')"
        " if f'={model.name}/' in found.key])",
        f"{UNIT}/test_publish.py {UNIT}/test_maintenance.py",
    ),
    Mutant(
        "a published file's sha256 is not verified",
        f"{P}/lake.py",
        "if file_sha256(path) != partition.sha256:",
        "if not path.exists():",
        f"{UNIT}/test_maintenance.py::test_a_damaged_partition_is_not_served",
    ),
    Mutant(
        "committed bronze is not verified before it is built",
        f"{P}/bronze.py",
        "if found != part.sha256:",
        "if not found:",
        f"{UNIT}/test_publish.py::test_changed_bronze_is_not_built",
    ),
    Mutant(
        "the digest leaves a column out",
        f"{P}/transform/statements.py",
        'in sorted(columns.items()) if column[0] != "_"',
        'in sorted(columns.items())[:-1] if column[0] != "_"',
        f"{CONTRACT}/test_digest.py",
    ),
    Mutant(
        "a merge loses the rows that nobody observed again",
        f"{P}/transform/statements.py",
        "    select * from kept\n    union all by name\n    select * from added\n",
        "    select * from added\n",
        f"{UNIT}/test_publish.py::test_rows_that_nobody_observed_again_stay",
    ),
    Mutant(
        "what is quarantined does not count",
        f"{P}/pipeline.py",
        "quarantined=rejected + sum(counts.quarantined for counts in step.counts.values())",
        "quarantined=0",
        f"{UNIT}/test_publish.py::test_too_many_quarantined_records_stop_the_run",
    ),
    Mutant(
        "gc removes what manifests name",
        f"{P}/maintenance.py",
        "named = {key for key, _ in _recorded(lake)} | set(_awaiting_audit(storage))",
        "named: set[str] = set()",
        f"{UNIT}/test_maintenance.py::test_gc_removes_what_nothing_names",
    ),
    Mutant(
        "retention forgets bronze that nothing was built from",
        f"{P}/retention.py",
        "if run.run_id in merged and run.run_id not in needed",
        "if run.extract.finished_at",
        f"{UNIT}/test_retention.py::test_bronze_that_is_not_merged_is_never_forgotten",
    ),
    Mutant(
        "a rebuild drops the rows whose bronze retention has removed",
        f"{P}/pipeline.py",
        "thinned = thinned_entities(runs[name] for name in past)",
        "thinned: frozenset[str] = frozenset()",
        f"{UNIT}/test_retention.py::test_a_rebuild_keeps_what_has_no_bronze_any_more",
    ),
    # One writer
    Mutant(
        "a lease that is held is taken all the same",
        f"{P}/state/lease.py",
        "while current is not None and self._is_held(current) and version != watched:",
        "while current is not None and self._is_held(current) and version == watched:",
        f"{UNIT}/test_lease.py",
    ),
    Mutant(
        "the epoch of a commit is not checked",
        f"{P}/state/head.py",
        "if head.epoch > lease.epoch:",
        "if head.epoch < 0:",
        f"{UNIT}/test_lease.py",
    ),
    Mutant(
        "compare-and-swap does not compare",
        f"{P}/storage/local.py",
        "            if found != expected:",
        "            if found is None:",
        f"{CONTRACT}/test_storage.py -k stale_swap",
    ),
    Mutant(
        "an append-only object can be overwritten",
        f"{P}/storage/local.py",
        "os.link(temporary, path)",
        "temporary.replace(path)",
        f"{CONTRACT}/test_storage.py -k never_overwrites",
    ),
    # Power
    Mutant(
        "a file is renamed before its bytes are synced",
        f"{P}/storage/local.py",
        "            stream.write(data)\n            _sync(stream)\n",
        "            stream.write(data)\n            stream.flush()\n",
        ORDER,
    ),
    Mutant(
        "a new object's folder is not synced",
        f"{P}/storage/local.py",
        "            os.link(temporary, path)\n            _sync_folder_if_there(path.parent)\n",
        "            os.link(temporary, path)\n",
        ORDER,
    ),
    Mutant(
        "a file that DuckDB wrote is not synced",
        f"{P}/storage/local.py",
        "                os.fsync(stream.fileno())\n                size",
        "                size",
        ORDER,
    ),
    # Figures
    Mutant(
        "an amount is a floating-point number",
        "sql/silver/refunds.sql",
        "    amount as amount_minor,",
        "    amount / 1.0 as amount_minor,",
        f"{SPEC} -k refunds",
    ),
    Mutant(
        "times are those of a place, not UTC",
        "sql/silver/refunds.sql",
        "make_timestamp(created * 1000000) as created_at",
        "(to_timestamp(created) at time zone 'Pacific/Auckland') as created_at",
        f"{SPEC} -k refunds",
    ),
)
"""Every one must be caught; what is broken is grouped by what it would cost."""
