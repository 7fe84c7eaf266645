"""Every gate finds the bad rows that were planted for it, counts them, and is silent on good ones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import duckdb
import pytest

from payments_pipeline.bronze import file_sha256
from payments_pipeline.flow import CheckResult, EntityCounts, Partition
from payments_pipeline.lake import Lake
from payments_pipeline.quality.checks import asked_together, checks_of
from payments_pipeline.quality.gate import Evidence, audit, failed
from payments_pipeline.quality.report import report
from payments_pipeline.state.coverage import Coverage
from payments_pipeline.state.manifest import Manifest, Quality, Request, Transform
from tests.lakes import Clock, open_small_lake

CHARGE = {
    "charge_id": "'ch_00000001'",
    "status": "'succeeded'",
    "currency": "'usd'",
    "amount_minor": "5::bigint",
    "created_at": "timestamp '2026-01-01'",
    "is_deleted": "false",
    "deleted_at": "null::timestamp",
    "_observed_at": "timestamp '2026-01-02'",
}
REFUND = {
    "refund_id": "'re_00000001'",
    "charge_id": "'ch_00000001'",
    "currency": "'usd'",
    "amount_minor": "1::bigint",
    "created_at": "timestamp '2026-01-01'",
    "is_deleted": "false",
    "deleted_at": "null::timestamp",
    "_observed_at": "timestamp '2026-01-02'",
}
SALES = {"day": "date '2026-01-01'", "currency": "'usd'", "sold_minor": "5::bigint"}
Row = dict[str, str]


@dataclass(slots=True)
class Bench:
    """A lake whose models show whatever rows a test plants."""

    lake: Lake
    folder: Path
    written: int = 0
    planted: dict[str, dict[str, Partition]] = field(default_factory=dict)

    def plant(self, model: str, rows: Sequence[Row]) -> None:
        """Let SQL see these rows as the model."""
        self.written += 1
        path = self.folder / f"{self.written}.parquet"
        selects = [
            "select " + ", ".join(f'{value} as "{column}"' for column, value in row.items()) for row in rows
        ]
        with duckdb.connect() as connection:
            connection.execute(f"copy ({' union all by name '.join(selects)}) to '{path}'")
        key = f"{self.folder.name}/{path.name}"
        size, digest = path.stat().st_size, file_sha256(path)
        self.planted[model] = {"2026-01-01": Partition(key, len(rows), size, digest, "")}

    def audit(self, evidence: Evidence | None = None) -> dict[tuple[str, str], CheckResult]:
        """The verdicts by check and model."""
        results = audit(self.lake, evidence or self.evidence())
        return {(result.name, result.model): result for result in results}

    def evidence(self, **counts: int) -> Evidence:
        """Evidence of a run in which nothing is wrong."""
        even = {
            "received": 3,
            "current": 2,
            "superseded": 1,
            "quarantined": 0,
            "before": 5,
            "inserted": 1,
            "after": 6,
        }
        now = self.lake.clock()
        # Only what the gates look at: the rest of a build is none of their business.
        transform = Transform.model_construct(
            counts={"charges": EntityCounts(**{**even, **counts})}, digest="d"
        )
        request = Request(entities=("charges",), days=1)
        manifest = Manifest(
            run_id="run", epoch=1, started_at=now, ceiling=100, request=request, transform=transform
        )
        coverage = Coverage(entity="charges", intervals=((0, 100),), watermark=100)
        return Evidence(
            manifest=manifest,
            before={},
            after=self.planted,
            parts=(),
            coverage=(coverage,),
            received=0,
            quarantined=0,
            max_quarantine_share=0.1,
        )


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One lake for all tests of this module."""
    root = tmp_path_factory.mktemp("gate") / "lake"
    (root / "planted").mkdir(parents=True)
    with open_small_lake(root, clock=Clock()) as lake:
        yield Bench(lake, root / "planted")


@pytest.fixture
def bench(opened: Bench) -> Bench:
    """The lake with a good row in every model."""
    opened.plant("silver.charges", [CHARGE])
    opened.plant("silver.refunds", [REFUND])
    opened.plant("gold.fct_sales", [SALES])
    return opened


def test_good_rows_pass_every_gate(bench: Bench) -> None:
    """All checks run, none complains, and there is at least one of every kind."""
    results = bench.audit()
    assert [result for result in results.values() if not result.passed] == []
    kinds = {name.partition(":")[0] for name, _ in results}
    assert kinds >= {
        "grain",
        "not_null",
        "accepted",
        "reference",
        "schema",
        "conservation",
        "quarantine_share",
    }
    assert kinds >= {"freshness", "no_negative_sales", "few_sales"}


OTHER = {**CHARGE, "charge_id": "'ch_00000002'"}
PLANTED: dict[str, tuple[str, list[Row], tuple[str, str], int]] = {
    "a row twice": ("silver.charges", [CHARGE, CHARGE, OTHER], ("grain", "silver.charges"), 1),
    "two states of an id": (
        "silver.charges",
        [CHARGE, {**CHARGE, "amount_minor": "6::bigint"}, OTHER],
        ("grain", "silver.charges"),
        1,
    ),
    "a pair twice": (
        "gold.fct_sales",
        [SALES, SALES, {**SALES, "currency": "'eur'"}],
        ("grain", "gold.fct_sales"),
        1,
    ),
    "no id": (
        "silver.charges",
        [CHARGE, {**CHARGE, "charge_id": "null::varchar"}],
        ("not_null", "silver.charges"),
        1,
    ),
    "no flag": (
        "silver.charges",
        [CHARGE, {**OTHER, "is_deleted": "null::boolean"}],
        ("not_null", "silver.charges"),
        1,
    ),
    "an unknown value": (
        "silver.charges",
        [CHARGE, {**OTHER, "status": "'SUCCEEDED'"}],
        ("accepted:status", "silver.charges"),
        1,
    ),
    "an empty value": (
        "silver.charges",
        [CHARGE, {**OTHER, "status": "''"}],
        ("accepted:status", "silver.charges"),
        1,
    ),
    "a reference to nothing": (
        "silver.refunds",
        [REFUND, {**REFUND, "refund_id": "'re_2'", "charge_id": "'ch_gone0000'"}],
        ("reference:charge_id", "silver.refunds"),
        1,
    ),
    "a bad row of a check file": (
        "gold.fct_sales",
        [{**SALES, "sold_minor": "-1::bigint"}],
        ("no_negative_sales", "gold.fct_sales"),
        1,
    ),
    "a row to be warned of": (
        "gold.fct_sales",
        [{**SALES, "sold_minor": "1000001::bigint"}],
        ("few_sales", "gold.fct_sales"),
        1,
    ),
    "a narrower type": (
        "silver.charges",
        [{**CHARGE, "amount_minor": "5::integer"}],
        ("schema", "silver.charges"),
        1,
    ),
    "text for money": (
        "silver.refunds",
        [{**REFUND, "amount_minor": "'1'"}],
        ("schema", "silver.refunds"),
        1,
    ),
    "a column too many": ("gold.fct_sales", [{**SALES, "extra": "1"}], ("schema", "gold.fct_sales"), 1),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_rows_are_found(bench: Bench, name: str) -> None:
    """The gate that is there for them counts exactly them, and no other gate is needed to stop them."""
    model, rows, gate, expected = PLANTED[name]
    bench.plant(model, rows)
    results = bench.audit()
    assert results[gate].bad_rows == expected
    assert (results[gate] in failed(list(results.values()))) == (results[gate].severity == "fail")
    others = {key for key, result in results.items() if not result.passed} - {gate}
    assert others == set()


@pytest.mark.parametrize("reached", [False, True])
@pytest.mark.parametrize("name", PLANTED)
def test_asked_together_the_same_checks_find_bad_rows(bench: Bench, name: str, *, reached: bool) -> None:
    """The few statements for all headers name those checks that find bad rows when each is asked alone, and no other."""
    model, rows, _, _ = PLANTED[name]
    bench.plant(model, rows)
    lake = bench.lake
    lake.show(bench.planted, lake.models.built)
    lake.engine.reach()
    checks = [*checks_of(lake.models, reached=reached)]
    alone = {
        place
        for place, check in enumerate(checks)
        if check.question is not None and lake.engine.query(check.sql).rows
    }
    named = [lake.engine.query(statements[-1]).rows for statements in asked_together(checks)]
    assert {place for rows in named for (place,) in rows} == alone


def test_what_may_be_missing_is_not_bad(bench: Bench) -> None:
    """NULL is no wrong value and no broken reference; a value with a quote in it is a value."""
    bench.plant(
        "silver.charges",
        [{**CHARGE, "status": "null::varchar"}, {**OTHER, "status": "'it''s odd'"}],
    )
    bench.plant("silver.refunds", [{**REFUND, "charge_id": "null::varchar"}])
    assert [result for result in bench.audit().values() if not result.passed] == []


@pytest.mark.parametrize(
    "counts",
    [
        {"received": 4},
        {"received": 2},
        {"superseded": 0},
        {"quarantined": 1},
        {"after": 7},
        {"before": 6},
        {"inserted": 3},
        {"inserted": 0},
    ],
    ids=str,
)
def test_a_line_unaccounted_for_is_found(bench: Bench, counts: dict[str, int]) -> None:
    """One line more or less, received, kept or dropped, fails the run and names the entity."""
    result = bench.audit(bench.evidence(**counts))["conservation", "silver"]
    assert (result.bad_rows, result.sample, result.severity) == (1, ("charges",), "fail")


@pytest.mark.parametrize(
    ("rows", "quarantined", "bad"), [(0, 0, 0), (9, 1, 0), (8, 1, 1), (0, 3, 3), (1000, 0, 0), (90, 11, 11)]
)
def test_the_share_in_quarantine_is_limited(bench: Bench, rows: int, quarantined: int, bad: int) -> None:
    """Up to the set share of what was received, that share included."""
    evidence = replace(bench.evidence(), received=rows + quarantined, quarantined=quarantined)
    assert bench.audit(evidence)["quarantine_share", "bronze"].bad_rows == bad


@pytest.mark.parametrize(
    ("watermark", "end", "stale"),
    [
        (100, None, 0),
        (99, None, 1),
        (None, None, 1),
        (101, None, 0),
        (50, 50, 0),
        (49, 50, 1),
        (100, 200, 0),
        (99, 200, 1),
    ],
)
def test_what_was_asked_for_must_be_covered(
    bench: Bench, watermark: int | None, end: int | None, stale: int
) -> None:
    """Up to the end that was asked for, and never beyond the run's ceiling."""
    evidence = bench.evidence()
    request = Request(entities=("charges",), start=0, end=end)
    manifest = evidence.manifest.model_copy(update={"request": request})
    coverage = Coverage(entity="charges", watermark=watermark)
    results = bench.audit(replace(evidence, manifest=manifest, coverage=(coverage,)))
    assert results["freshness", "bronze.charges"].bad_rows == stale


def test_samples_show_no_personal_data(bench: Bench) -> None:
    """Ids are cut, texts are lengths, at most five rows are shown, and the report holds nothing else."""
    rows = [
        {**CHARGE, "charge_id": f"'ch_canary{number:08d}'", "status": f"'Jenny Canary {number}'"}
        for number in range(9)
    ]
    bench.plant("silver.charges", rows)
    bench.plant("silver.refunds", [{**REFUND, "charge_id": "'ch_canary00000001'"}])
    results = bench.audit()
    bad = results["accepted:status", "silver.charges"]
    assert (bad.bad_rows, len(bad.sample)) == (9, 5)
    assert set(bad.sample) <= {f"ch_…{number:04d}, <14 characters>" for number in range(9)}
    evidence = bench.evidence()
    quality = Quality(finished_at=bench.lake.clock(), seconds=0, checks=tuple(results.values()), passed=False)
    text = report(evidence.manifest.model_copy(update={"quality": quality})).decode()
    assert "anary" not in text
    content = json.loads(text)
    assert content["passed"] is False
    assert {check["name"] for check in content["checks"] if not check["passed"]} == {"accepted:status"}
