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


def _row(columns: list[str], changed: str | None) -> str:
    """A partition of one row that is empty but for the changed column."""
    values = ", ".join(
        f"{'1' if column == changed else 'null'}::varchar as {statements.name(column)}" for column in columns
    )
    return f"select {values}, '{changed}' as _dt"
