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


def test_nested_values_that_hash_alike_have_digests_of_their_own() -> None:
    """DuckDB's hash takes a list of one value for the value, and a list or struct of nothing for NULL."""
    values = [
        "null",
        "{'rates': []}",
        "{'rates': null}",
        "{'rates': [null]}",
        "{'rates': [0]}",
        "{'rates': [0, null]}",
        "{'rates': [0, 0]}",
    ]
    kind = "struct(rates bigint[])"
    rows = " union all ".join(
        f"select {value}::{kind} as tiers, {n} as _dt" for n, value in enumerate(values)
    )
    [model] = [model for model in BUILT if model.qualified == "gold.dim_prices"]
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("create schema built")
        connection.execute(f"create table {statements.built_table(model)} as {rows}")
        columns = {str(row[0]): str(row[1]) for row in connection.execute(f"describe ({rows})").fetchall()}
        found = connection.execute(statements.digests(model, columns)).fetchall()
    assert len({digest for _, _, digest, _ in found}) == len(values)


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


def _row(columns: list[str], changed: str | None) -> str:
    """A partition of one row that is empty but for the changed column."""
    values = ", ".join(
        f"{'1' if column == changed else 'null'}::varchar as {statements.name(column)}" for column in columns
    )
    return f"select {values}, '{changed}' as _dt"
