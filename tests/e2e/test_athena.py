"""`ddl athena`: what it prints is Athena's SQL, and fits the Parquet files of a real lake column by column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlglot
from sqlglot import exp

from payments_pipeline.entities import ENTITIES
from payments_pipeline.errors import ModelError
from payments_pipeline.transform.athena import athena_type, table
from payments_pipeline.transform.duckdb_engine import DuckDBEngine
from payments_pipeline.transform.models import discover, sql_root
from tests.e2e.harness import Command, refusal

LAKE = "s3://example-lake/stripe"
MODELS = discover(sql_root())
OF_ARROW = {
    pa.string(): "string",
    pa.int64(): "bigint",
    pa.float64(): "double",
    pa.bool_(): "boolean",
    pa.timestamp("us"): "timestamp",
    pa.date32(): "date",
    pa.decimal128(38, 12): "decimal(38,12)",
    pa.json_(): "string",
    pa.list_(pa.field("element", pa.string())): "array<string>",
}
"""The Hive type that reads a Parquet column, by the type another reader of Parquet sees in it."""


class _Table:
    """One parsed statement."""

    def __init__(self, statement: exp.Expr) -> None:
        assert isinstance(statement, exp.Create)
        self.statement = statement
        self.name = statement.this.this.name
        self.columns = {column.name: column for column in statement.this.expressions}
        self.properties = {
            each.this.name if type(each) is exp.Property else type(each).__name__: each
            for each in statement.args["properties"].expressions
        }

    def type_of(self, column: str) -> exp.DataType:
        """The column's type, in no dialect's spelling."""
        kind: exp.DataType = self.columns[column].kind
        return kind

    def comment_of(self, column: str) -> str:
        """The column's comment."""
        [constraint] = self.columns[column].constraints
        return str(constraint.kind.this.this)

    def value(self, key: str) -> str:
        """A table property."""
        return str(self.properties[key].args["value"].this)


def _parsed(text: str) -> dict[str, _Table]:
    tables = [_Table(statement) for statement in sqlglot.parse(text, dialect="athena") if statement]
    return {each.name: each for each in tables}


@pytest.fixture
def printed(command: Command) -> Mapping[str, _Table]:
    """A table for every model of every layer."""
    layers = [word for layer in ("silver", "gold", "marts") for word in ("--layer", layer)]
    return _parsed(command.ok("ddl", "athena", "--location", f"{LAKE}/", *layers).stdout)


def _folder(name: str, layer: str) -> str:
    return f"silver/source=stripe/entity={name}/" if layer == "silver" else f"gold/model={name}/"


def _check_fits(found: _Table, file: Path) -> None:
    schema = pq.read_schema(file)
    assert list(found.columns) == schema.names, file
    for field in schema:
        assert found.type_of(field.name) == exp.DataType.build(OF_ARROW[field.type], dialect="hive"), field


def test_the_tables_fit_the_files_of_a_lake(printed: Mapping[str, _Table], loaded: Path) -> None:
    """Every model has a table, and its columns are those of the Parquet files: names, order and types."""
    assert set(printed) == {model.name for model in MODELS.built}
    without = set()
    for model in MODELS.built:
        files = sorted((loaded / _folder(model.name, model.layer)).rglob("*.parquet"))
        without |= set() if files else {model.name}
        for file in files:
            _check_fits(printed[model.name], file)
    assert len(without) <= 4, "this account has neither refunds nor disputes"


def test_the_tables_fit_what_the_engine_writes(printed: Mapping[str, _Table], tmp_path: Path) -> None:
    """The same for every model, also those that an account has no object for."""
    engine = DuckDBEngine(ENTITIES.values(), folders=[tmp_path], scratch=tmp_path)
    for model in MODELS.built:
        engine.show(model, [])
        if model.layer == "silver":
            engine.merge(model, ENTITIES[model.entity], [])
        else:
            engine.build(model)
        path = tmp_path / f"{model.name}.parquet"
        assert [*engine.write(model, {"2026-01-01": path})] == ["2026-01-01"]
        _check_fits(printed[model.name], path)
    engine.close()


def test_the_projection_finds_every_file_of_a_lake(printed: Mapping[str, _Table], loaded: Path) -> None:
    """Every published file lies where a projected partition is looked for, 1970-01-01 included, and nowhere else."""
    for model in MODELS.built:
        found, days = printed[model.name], set()
        assert found.value("projection.enabled") == "true"
        if model.partition_by is None:
            assert found.value("projection.dt.type") == "enum"
            days = {found.value("projection.dt.values")}
            assert days == {"1970-01-01"}
        else:
            assert found.value("projection.dt.type") == "date"
            assert found.value("projection.dt.format") == "yyyy-MM-dd"
            first, _, last = found.value("projection.dt.range").partition(",")
            assert (first, last) == ("1970-01-01", "NOW")
            step = found.value("projection.dt.interval"), found.value("projection.dt.interval.unit")
            assert step == ("1", "DAYS")
            days = {str(date(1970, 1, 1) + timedelta(days=count)) for count in range(40_000)}
        template = found.value("storage.location.template")
        expected = {template.replace("${dt}", day) + "data.parquet" for day in days}
        folder = _folder(model.name, model.layer)
        keys = {f"{LAKE}/{path.relative_to(loaded)}" for path in (loaded / folder).rglob("*.parquet")}
        assert keys - expected == set()
        assert found.properties["LocationProperty"].this.this == f"{LAKE}/{folder}"
        partitions = found.properties["PartitionedByProperty"].this.expressions
        assert [(each.name, each.kind.this) for each in partitions] == [("dt", exp.DType.TEXT)]
        assert "ExternalProperty" in found.properties
        assert found.properties["FileFormatProperty"].this.name.upper() == "PARQUET"


def test_the_comments_are_the_headers(printed: Mapping[str, _Table]) -> None:
    """Whoever looks at a table in Athena reads what the model file says of it."""
    for model in MODELS.built:
        found = printed[model.name]
        assert {column: found.comment_of(column) for column in found.columns} == dict(model.columns)
        assert found.properties["SchemaCommentProperty"].this.this == model.description


def test_hostile_comments_stay_comments() -> None:
    """Quotes, backslashes, line ends and very long texts arrive as one string that the catalogue takes."""
    said = "Stripe's \\ own';\ndrop table x -- \\' " + "very " * 100
    model = MODELS.get("marts.revenue_daily")
    hostile = replace(model, columns={"currency": said}, description=said)
    parsed = _parsed(table(hostile, {"currency": "string"}, LAKE))
    comment = parsed["revenue_daily"].comment_of("currency")
    assert comment.startswith("Stripe's \\ own'; drop table x -- \\' very very")
    assert len(comment) == 255


def test_one_model_can_be_asked_for(command: Command) -> None:
    """By its name; where the lake is may come from the environment, and the first day may be chosen."""
    lake = {"PIPELINE_ENV": "AWS", "S3_BUCKET": "example-lake", "S3_PREFIX": "stripe", "LOCAL_DATA_DIR": ""}
    done = command.ok("ddl", "athena", "gold.fct_refunds", "--since", "2019-03-01", **lake)
    [found] = _parsed(done.stdout).values()
    assert found.name == "fct_refunds"
    assert found.value("projection.dt.range") == "2019-03-01,NOW"
    assert (
        found.value("storage.location.template")
        == "s3://example-lake/stripe/gold/model=fct_refunds/dt=${dt}/"
    )


def test_gold_and_marts_are_the_default(command: Command) -> None:
    """Silver holds what gold is made of, and is left out unless it is asked for."""
    found = _parsed(command.ok("ddl", "athena", "--location", LAKE).stdout)
    assert set(found) == {model.name for model in MODELS.built if model.layer != "silver"}


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--location", "./lake"],
        ["--location", "s3://bucket/it's"],
        ["--location", "s3://bucket/${dt}"],
        ["--location", LAKE, "gold.nothing"],
        ["--location", LAKE, "checks.ledger_identity"],
    ],
)
def test_wrong_input_is_refused(command: Command, arguments: list[str]) -> None:
    """No place in S3, or no model: one line, exit code 2."""
    refusal(command("ddl", "athena", *arguments), 2)


def test_a_name_that_no_bucket_can_have_is_explained(command: Command) -> None:
    """Who tries it with `s3://b` learns what a bucket may be called."""
    assert "3 to 63" in refusal(command("ddl", "athena", "--location", "s3://b/p"), 2)


def test_a_type_without_a_counterpart_is_named() -> None:
    """A model whose column Athena could not read is refused by name instead of being given a wrong type."""
    with pytest.raises(ModelError, match=r"revenue_daily\.sql: column 'net_minor' is HUGEINT"):
        athena_type(MODELS.get("marts.revenue_daily"), "net_minor", "HUGEINT")
