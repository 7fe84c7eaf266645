"""What every engine must do with bronze lines, silver partitions and questions; run here on DuckDB."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise, permutations

import duckdb
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from payments_pipeline.entities import ENTITIES
from payments_pipeline.errors import ModelError
from payments_pipeline.flow import EPOCH_DT
from payments_pipeline.transform.models import ModelSpec
from payments_pipeline.transform.statements import text
from tests.contract.bench import CHARGES, INVOICES, LINES, SILVER, Bench, Line, gone
from tests.lakes import CREATED, DAY, charge, refund

STATE = "charge_id, amount_minor, is_deleted"


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        (Line(charge(1), 1), Line(charge(1, amount=7), 2)),
        (Line(charge(1), 5, "retrieve"), Line(charge(1, amount=7), 6)),
        (Line(charge(1), 5, offset=9), Line(charge(1, amount=7), 5, "retrieve")),
        (Line(charge(1), 5, offset=3), Line(charge(1, amount=7), 5, offset=4)),
    ],
    ids=["later", "later beats retrieved", "retrieved beats listed", "further down the page"],
)
def test_the_latest_observation_wins(bench: Bench, older: Line, newer: Line) -> None:
    """Whatever the order of arrival: by time, then a retrieval over a list, then the place in the answer."""
    for lines in ([older, newer], [newer, older], [newer, older, older]):
        counts = bench.engine.load_bronze(CHARGES, [bench.file(lines)])
        assert (counts.lines, counts.current) == (len(lines), 1)
        assert bench.engine.query("select amount, _lines from bronze.charges").rows == [(7, len(lines))]
    two = [bench.file([newer]), bench.file([older])]
    assert bench.engine.load_bronze(CHARGES, two).lines == 2
    assert bench.engine.query("select amount from bronze.charges").rows == [(7,)]


def test_arrival_never_decides(bench: Bench) -> None:
    """Two states observed in one call, which cannot be, and two deletions at once: every order gives the same row."""
    tied = [Line(charge(1, amount=amount), 5) for amount in (7, 9, 8)]
    ended = [
        Line({"id": "ch_gone", "object": "charge", "deleted": True}, 5, "absent", deleted_at=CREATED + n)
        for n in (1, 3, 2)
    ]
    found = set()
    for lines in permutations([*zip(tied, ended, strict=True)]):
        files = [bench.file(pair) for pair in lines]
        bench.engine.load_bronze(CHARGES, files)
        rows = bench.engine.query("select id, amount, _deleted_at from bronze.charges order by id").rows
        found.add(tuple(rows))
    assert len(found) == 1


def test_a_tombstone_marks_what_is_known(bench: Bench) -> None:
    """After it the object keeps its fields and is deleted; a later state brings it back; an older one does not."""
    key = charge(1)["id"]
    for split in (False, True):
        bench.forget()
        for lines, expected in (
            ([Line(charge(1), 1)], (key, 1001, False)),
            ([gone(1, 2)], (key, 1001, True)),
            ([Line(charge(1, amount=5), 3)], (key, 5, False)),
            ([gone(1, 4)], (key, 5, True)),
        ):
            bench.merge(lines)
            if split:
                bench.merge([])
            assert bench.rows(STATE) == [expected]


def test_a_tombstone_of_an_unknown_object_is_a_stub(bench: Bench) -> None:
    """Its id and the mark are all that is known, kept in the partition of no date, until the object is seen."""
    bench.merge([gone(1, 1)])
    assert bench.rows(f"{STATE}, created_at") == [(charge(1)["id"], None, True, None)]
    assert list(bench.partitions["silver.charges"]) == [EPOCH_DT]
    bench.merge([Line(charge(1), 2)])
    assert bench.rows(STATE) == [(charge(1)["id"], 1001, False)]
    assert list(bench.partitions["silver.charges"]) == ["2026-01-02"]


def test_deletion_in_the_same_moment_counts(bench: Bench) -> None:
    """A tombstone as new as the newest state is a deletion; an older one is none."""
    bench.merge([Line(charge(1), 5), gone(1, 5), Line(charge(2), 5), gone(2, 4)])
    assert bench.rows("amount_minor, is_deleted") == [(1001, True), (1002, False)]


def test_the_time_of_deletion_is_kept(bench: Bench) -> None:
    """`deleted_at` comes from the tombstones that say so, and goes when the object is seen again."""
    bench.merge([Line(charge(1), 1), gone(1, 2, deleted_at=CREATED)])
    assert bench.rows("deleted_at") == [(datetime(2026, 1, 1),)]  # noqa: DTZ001 - UTC, as DuckDB gives it
    bench.merge([gone(1, 3)])
    assert bench.rows("deleted_at") == [(datetime(2026, 1, 1),)]  # noqa: DTZ001 - UTC, as DuckDB gives it
    bench.merge([Line(charge(1), 4)])
    assert bench.rows("deleted_at") == [(None,)]
    bench.merge([gone(1, 5)])
    assert bench.rows("deleted_at") == [(None,)]
    bench.forget()
    bench.merge([gone(1, 1, deleted_at=CREATED), Line(charge(1), 2), gone(1, 3)])
    assert bench.rows("is_deleted, deleted_at") == [(True, None)]


def _invoice(number: int, lines: int, **fields: object) -> dict[str, object]:
    data = [{"id": f"il_{number}_{line}", "amount": line, "currency": "usd"} for line in range(lines)]
    return {
        "id": f"in_{number}",
        "object": "invoice",
        "created": CREATED + number * DAY,
        "lines": {"data": data, "has_more": False},
        **fields,
    }


def test_child_rows_are_replaced_with_their_parent(bench: Bench) -> None:
    """Fewer lines leave fewer rows, none leave none; other invoices' lines stay; a deletion marks them."""
    for lines, expected in (
        ([_invoice(1, 3), _invoice(2, 2)], ["il_1_0", "il_1_1", "il_1_2", "il_2_0", "il_2_1"]),
        ([_invoice(1, 1)], ["il_1_0", "il_2_0", "il_2_1"]),
        ([_invoice(2, 0)], ["il_1_0"]),
        ([_invoice(2, 1)], ["il_1_0", "il_2_0"]),
    ):
        seen = bench.written
        bench.merge([Line(record, seen) for record in lines], spec=INVOICES, model=LINES)
        assert [row[0] for row in bench.rows("invoice_line_id", model=LINES)] == expected
    mark = {"id": "in_1", "object": "invoice", "deleted": True}
    bench.merge([Line(mark, bench.written, "absent")], spec=INVOICES, model=LINES)
    assert bench.rows("invoice_line_id, is_deleted", model=LINES) == [("il_1_0", True), ("il_2_0", False)]


@dataclass(frozen=True, slots=True)
class _Step:
    number: int
    kind: str
    amount: int
    deleted_at: int | None


_STEPS = st.lists(
    st.builds(
        _Step,
        st.integers(0, 1),
        st.sampled_from(["list", "retrieve", "gone"]),
        st.integers(0, 2),
        st.none() | st.integers(CREATED, CREATED + 3),
    ),
    min_size=1,
    max_size=10,
)


def _lines(steps: Sequence[_Step]) -> list[Line]:
    return [
        gone(step.number, seen, deleted_at=step.deleted_at)
        if step.kind == "gone"
        else Line(charge(step.number, amount=step.amount), seen, step.kind)
        for seen, step in enumerate(steps)
    ]


def _content(bench: Bench) -> dict[str, str]:
    """The business columns of every partition's file."""
    columns = ", ".join(column for column in SILVER.columns if column[0] != "_")
    return {
        dt: repr(bench.engine.query(f"select {columns} from {text(str(path))} order by charge_id").rows)
        for dt, path in bench.partitions["silver.charges"].items()
    }


@example(
    [_Step(0, "gone", 0, CREATED), _Step(0, "list", 0, None), _Step(0, "gone", 0, None)],
    {1},
    random.Random(1),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_STEPS, st.sets(st.integers(1, 9), max_size=4), st.randoms(use_true_random=False))
def test_merging_in_batches_is_rebuilding(
    bench: Bench, steps: list[_Step], cuts: set[int], chance: random.Random
) -> None:
    """However a history is cut into batches, in the order of observation, silver is what one batch makes of it."""
    lines = _lines(steps)
    bench.forget()
    whole = [*lines]
    chance.shuffle(whole)
    bench.merge(whole)
    expected = _content(bench)
    bench.forget()
    edges = [0, *sorted(cut for cut in cuts if cut < len(lines)), len(lines)]
    for start, end in pairwise(edges):
        batch = lines[start:end]
        chance.shuffle(batch)
        bench.merge(batch)
    assert _content(bench) == expected


def test_merging_the_same_again_changes_nothing(bench: Bench) -> None:
    """A batch that was merged already leaves every partition's digest as it was."""
    lines = [Line(charge(number), number) for number in range(5)] + [gone(2, 9)]
    first = bench.merge(lines)
    assert bench.merge(lines) == first
    later = [Line(line.record, line.seen + 100, line.source) for line in lines]
    assert bench.merge(later) == first


def test_a_digest_is_of_the_content(bench: Bench) -> None:
    """It ignores the order of rows and when they were observed, and notices any other change, a repetition too."""
    lines = [Line(charge(1, id=f"ch_{number}"), 1) for number in range(50)]
    first = bench.merge(lines)
    assert first["2026-01-02"].rows == 50
    for same in ([*reversed(lines)], [Line(line.record, 2, "retrieve", 7) for line in lines]):
        bench.forget()
        assert bench.merge(same) == first
    changes: list[dict[str, object]] = [
        {"amount": 1},
        {"currency": "eur"},
        {"status": None},
        {"description": ""},
        {"metadata": {}},
    ]
    for change in changes:
        bench.forget()
        changed = bench.merge([Line({**lines[0].record, **change}, 1), *lines[1:]])
        assert changed["2026-01-02"].rows == 50
        assert changed != first


def test_references_are_followed_by_id(bench: Bench) -> None:
    """What lines refer to and nobody holds is missing; it is not once a line or the lake's links have it."""
    bench.engine.collect_ids(
        ENTITIES["refunds"], [bench.file([Line(refund(1), 1), Line(refund(2), 1)])], observed=True
    )
    bench.engine.collect_ids(CHARGES, [bench.file([Line(charge(1), 1)])], observed=True)
    assert [found for found in bench.engine.missing_ids() if found[0] == "charges"] == [
        ("charges", charge(2)["id"])
    ]
    bench.merge([Line(charge(2), 1)])
    assert [found for found in bench.engine.missing_ids() if found[0] == "charges"] == []


def test_unreadable_lines_do_not_stop_the_search_for_references(bench: Bench) -> None:
    """A line that the build will quarantine is passed over; the others count."""
    path = bench.file([Line(refund(7), 1)])
    whole = path.read_text(encoding="utf-8")
    path.write_text('{"data":{"id":"a","id":"b"},"meta":{}}\n' + whole, encoding="utf-8")
    bench.engine.collect_ids(ENTITIES["refunds"], [path], observed=True)
    assert ("charges", charge(7)["id"]) in bench.engine.missing_ids()


def test_a_model_that_cannot_run_is_named(bench: Bench) -> None:
    """The error says which file, and that nothing was published."""
    broken = ModelSpec("gold", "broken", "select nothing from silver.charges", "d", ("silver.charges",))
    with pytest.raises(ModelError, match=r"sql/gold/broken\.sql.*nothing.*Nothing was published; correct"):
        bench.engine.build(broken)


def test_views_answer_from_outside(bench: Bench) -> None:
    """The file of views, opened by a plain DuckDB, shows the rows with their partition, and empty models as empty."""
    bench.merge([Line(charge(number), 1) for number in range(3)])
    path = bench.folder / "views.duckdb"
    path.unlink(missing_ok=True)
    files = list(bench.partitions["silver.charges"].values())
    bench.engine.write_views(path, {"silver.charges": files, "gold.dim_customers": []})
    with duckdb.connect(str(path), read_only=True) as connection:
        assert connection.execute("select count(*), sum(amount_minor) from silver.charges").fetchall() == [
            (3, 3003)
        ]
        assert connection.execute("select count(*) from gold.dim_customers").fetchall() == [(0,)]
