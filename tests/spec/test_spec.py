"""Every SQL model and check against its specification, and rules that all of them keep."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from payments_pipeline.transform.models import ModelSpec, discover, sql_root
from tests.spec.spec_files import SPEC_ROOT, Case, read_cases

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.spec.conftest import Warehouse

CASES = read_cases(SPEC_ROOT)
MODELS = discover(sql_root())
FLOATS = re.compile(r"\b(FLOAT|DOUBLE|REAL)\b")

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.model}: {case.title}")
each_model = pytest.mark.parametrize("model", MODELS.built, ids=lambda model: model.qualified)
each_check = pytest.mark.parametrize("check", MODELS.checks, ids=lambda check: check.name)


def _sorted(rows: list[dict[str, str | None]]) -> list[list[tuple[str, str | None]]]:
    return sorted(([*row.items()] for row in rows), key=repr)


@each_case
def test_model_makes_the_expected_rows(warehouse: Warehouse, case: Case) -> None:
    """The rows a model makes are exactly those its specification shows, in the columns it shows."""
    rows = warehouse.run(case)
    if case.expect is None:
        assert rows == []
    else:
        shown = [{column: row[column] for column in case.expect.columns} for row in rows]
        assert _sorted(shown) == _sorted(warehouse.typed(case.model, case.expect))


@each_case
def test_model_does_not_depend_on_the_order_of_its_input(warehouse: Warehouse, case: Case) -> None:
    """The same rows given in the opposite order make the same rows."""
    assert _sorted(warehouse.run(case, backwards=True)) == _sorted(warehouse.run(case))


@each_case
def test_model_keeps_its_grain(warehouse: Warehouse, case: Case) -> None:
    """No two rows share a value of the grain, whatever is given."""
    grain = warehouse.models.get(case.model).grain
    keys = Counter(tuple(row[column] for column in grain) for row in warehouse.run(case) if grain)
    assert [key for key, count in keys.items() if count > 1] == []


@each_model
def test_header_describes_exactly_the_columns_selected(warehouse: Warehouse, model: ModelSpec) -> None:
    """The data dictionary names every output column, in order, and no other."""
    assert list(warehouse.columns_of(model.sql)) == list(model.columns)


@each_model
def test_types_keep_money_and_time_exact(warehouse: Warehouse, model: ModelSpec) -> None:
    """Minor units are BIGINT beside a currency; nothing but a received rate is a float; times carry no zone."""
    types = warehouse.columns_of(model.sql)
    floats = {column for column, type_ in types.items() if FLOATS.search(type_)}
    assert floats <= {"exchange_rate"}
    assert {types[column] for column in types if column.endswith("_minor")} <= {"BIGINT"}
    assert {types[column] for column in types if column.endswith("_at")} <= {"TIMESTAMP"}
    assert {types[column] for column in types if column.endswith("_date")} <= {"DATE"}
    assert {types[column] for column in types if column.startswith(("is_", "has_"))} <= {"BOOLEAN"}
    assert "currency" in types or not any(column.endswith("_minor") for column in types)
    assert not any("HUGEINT" in type_ or "TIME ZONE" in type_ for type_ in types.values())
    if model.partition_by:
        assert types[model.partition_by] in {"TIMESTAMP", "DATE"}


@each_model
def test_every_column_is_shown_by_a_case(model: ModelSpec) -> None:
    """Each output column of a model is specified by at least one case with a value that is not NULL."""
    shown = {column for case in CASES if case.model == model.qualified for column in _with_values(case)}
    assert set(model.columns) - shown == set()


@each_check
def test_check_is_shown_to_fail_and_to_pass(check: ModelSpec) -> None:
    """Each check has a case in which it finds bad rows, and one in which it finds none among given rows."""
    cases = [case for case in CASES if case.model == check.qualified]
    assert any(case.expect for case in cases)
    assert any(case.given and not case.expect for case in cases)


def test_every_specification_is_of_a_model() -> None:
    """No specification outlives its model."""
    known = {model.qualified for model in (*MODELS.built, *MODELS.checks)}
    assert {case.model for case in CASES} <= known


def test_sql_is_pure() -> None:
    """No model asks for the time, for luck, or for the session's time zone."""
    impure = re.compile(r"\b(now|today|current_\w+|random|uuid|gen_random_uuid|to_timestamp|timestamptz)\b")
    found = {model.qualified: impure.findall(model.sql.lower()) for model in (*MODELS.built, *MODELS.checks)}
    allowed = {
        "current_period_start",
        "current_period_started_at",
        "current_period_end",
        "current_period_ends_at",
    }
    assert {name: words for name, words in found.items() if set(words) - allowed} == {}


def _with_values(case: Case) -> list[str]:
    if case.expect is None:
        return []
    columns: Mapping[str, list[str | None]] = {
        column: [row[position] for row in case.expect.rows]
        for position, column in enumerate(case.expect.columns)
    }
    return [column for column, cells in columns.items() if any(cell is not None for cell in cells)]
