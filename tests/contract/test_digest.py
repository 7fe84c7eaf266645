from __future__ import annotations

import duckdb
import pytest

from payments_pipeline.transform import statements
from payments_pipeline.transform.models import ModelSpec, discover, sql_root

BUILT = discover(sql_root()).built


@pytest.mark.parametrize("model", BUILT, ids=lambda model: model.qualified)
def test_every_business_column_is_in_the_digest(model: ModelSpec) -> None:
    """A partition in which only one value differs, in whichever column, has another digest."""
    columns = [column for column in model.columns if not column.startswith("_")]
    rows = " union all ".join(_row(columns, changed) for changed in (None, *columns))
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("create schema built")
        connection.execute(f"create table {statements.built_table(model)} as {rows}")
        found = connection.execute(statements.digests(model, dict.fromkeys(columns, "VARCHAR"))).fetchall()
    assert len({digest for _, _, digest, _ in found}) == len(columns) + 1


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (
            "struct(rates bigint[])",
            [
                "null",
                "{'rates': []}",
                "{'rates': null}",
                "{'rates': [null]}",
                "{'rates': [0]}",
                "{'rates': [0, null]}",
                "{'rates': [0, 0]}",
            ],
        ),
        ("bigint[]", ["null", "[]", "[null]", "[0]", "[0, null]"]),
        ("hugeint", ["null", "0", "-1", "1", "18446744073709551616"]),
        ("decimal(38, 2)", ["null", "0", "-0.01", "0.01", "184467440737095516.16"]),
        ("decimal(18, 2)", ["null", "0", "-0.01", "0.01", "1.10"]),
        ("uuid", ["'00000000-0000-0001-0000-000000000002'", "'00000000-0000-0002-0000-000000000001'"]),
    ],
)
def test_values_that_hash_alike_have_digests_of_their_own(kind: str, values: list[str]) -> None:
    """DuckDB's hash takes a list of one value for the value, of nothing for NULL, and mixes halves of wide numbers."""
    rows = " union all ".join(
        f"select {value}::{kind} as tiers, {n} as _dt" for n, value in enumerate(values)
    )
    found = _digests(rows)
    assert len({digest for _, _, digest, _ in found}) == len(values)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("110::bigint as amount", "1.10::decimal(18, 2) as amount"),
        ("1::bigint as amount", "1::bigint as total"),
        ("true as paid", "1::bigint as paid"),
        ("timestamp '2026-01-01' as at", "timestamptz '2026-01-01 00:00:00+00' as at"),
    ],
)
def test_names_and_types_are_in_the_digest(one: str, other: str) -> None:
    """The same values under another name, or of another type, are other content."""
    assert _digests(f"select 'x' as _dt, {one}") != _digests(f"select 'x' as _dt, {other}")


def test_small_values_in_many_combinations_have_hashes_of_their_own() -> None:
    """Neither rows of few values, NULL among them, nor pairs of rows that exchange one value are taken for each other."""
    columns = [f"nullif((i >> {2 * n}) & 3, 3)" for n in range(8)]
    swapped = [f"nullif(xor((i >> {2 * n}) & 3, 1), 3)" for n in range(8)]
    this, other = f"hash({', '.join(columns)})", f"hash({', '.join(swapped)})"
    one, two = ([*columns[:3], swapped[3], *columns[4:]], [*swapped[:3], columns[3], *swapped[4:]])
    exchanged = f"hash({', '.join(one)})::hugeint + hash({', '.join(two)})"
    with duckdb.connect(config={"threads": 1}) as connection:
        [(rows, alike)] = connection.execute(
            f"select count(distinct {this}), count(*) filter ({this}::hugeint + {other} = {exchanged}) "
            "from range(65536) as rows(i)"
        ).fetchall()
    assert (rows, alike) == (65536, 0)


def _digests(rows: str) -> list[tuple[object, ...]]:
    """What is digested of a built model of these rows."""
    [model] = [model for model in BUILT if model.qualified == "gold.dim_prices"]
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("create schema built")
        connection.execute(f"create table {statements.built_table(model)} as {rows}")
        kinds = connection.execute(f"describe {statements.built_table(model)}").fetchall()
        columns = {str(kind[0]): str(kind[1]) for kind in kinds}
        return connection.execute(statements.digests(model, columns)).fetchall()


def _row(columns: list[str], changed: str | None) -> str:
    """A partition of one row that is empty but for the changed column."""
    values = ", ".join(
        f"{'1' if column == changed else 'null'}::varchar as {statements.name(column)}" for column in columns
    )
    return f"select {values}, '{changed}' as _dt"
