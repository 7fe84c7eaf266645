"""Tables over a published lake for Amazon Athena: DDL made from the models' own columns. Pure text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from payments_pipeline import layout
from payments_pipeline.errors import ModelError, UsageError
from payments_pipeline.flow import EPOCH_DT
from payments_pipeline.transform.engine import Engine
from payments_pipeline.transform.models import Models, ModelSpec

_LOCATION = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^/\s'\\$]+)*/?")
_TYPES: Mapping[str, str] = {
    "VARCHAR": "string",
    "JSON": "string",
    "BIGINT": "bigint",
    "DOUBLE": "double",
    "BOOLEAN": "boolean",
    "TIMESTAMP": "timestamp",
    "DATE": "date",
}
_LONGEST_COMMENT = 255
"""Characters that Glue's catalogue takes as a column's comment."""


def checked_location(location: str) -> str:
    """The lake's `s3://bucket/prefix` without a slash at its end; `UsageError` for anything else."""
    if not _LOCATION.fullmatch(location):
        raise UsageError(
            f"{location!r} is no place in S3; tables need the lake's own s3://bucket or s3://bucket/prefix, and a "
            "bucket's name has 3 to 63 lower-case letters, digits, dots and hyphens. Nothing was printed."
        )
    return location.rstrip("/")


def columns_of(models: Models, engine: Engine) -> dict[str, Mapping[str, str]]:
    """Column to Athena type of every model, by qualified name: as the engine types them with nothing in the lake."""
    found: dict[str, Mapping[str, str]] = {}
    for model in models.built:
        engine.show(model, [])
        described = engine.query(f"describe {model.qualified}").pairs()
        found[model.qualified] = {
            column: athena_type(model, column, kind) for column, kind in described.items()
        }
    return found


def table(model: ModelSpec, columns: Mapping[str, str], location: str, *, first_day: str = EPOCH_DT) -> str:
    """One CREATE EXTERNAL TABLE, named like the model, in whatever database is current.

    Partitions are projected, so no crawler and no MSCK REPAIR is needed: every day from `first_day` on (rows of
    unknown time lie under 1970-01-01), or 1970-01-01 alone if the model is not partitioned.
    """
    lines = [
        f"  {_name(column)} {kind} COMMENT {_comment(model.columns.get(column, ''))}"
        for column, kind in columns.items()
    ]
    folder = f"{location}/{layout.partition(model.layer, model.name, '').removesuffix('dt=/data.parquet')}"
    properties = ",\n".join(
        f"  {_text(key)} = {_text(value)}" for key, value in _properties(model, folder, first_day).items()
    )
    return (
        f"CREATE EXTERNAL TABLE IF NOT EXISTS {_name(model.name)} (\n"
        + ",\n".join(lines)
        + f"\n)\nCOMMENT {_comment(model.description)}\nPARTITIONED BY (`dt` string)\nSTORED AS PARQUET\n"
        f"LOCATION {_text(folder)}\nTBLPROPERTIES (\n{properties}\n);"
    )


def chosen(models: Models, names: Sequence[str], layers: Sequence[str]) -> Iterator[ModelSpec]:
    """The models of these qualified names, or of these layers if there are none; `UsageError` for an unknown one."""
    if not names:
        yield from (model for model in models.built if model.layer in layers)
        return
    for name in names:
        model = models.get(name)
        if model not in models.built:
            raise UsageError(f"{name} is a check: it has no table. Nothing was printed.")
        yield model


def _properties(model: ModelSpec, folder: str, first_day: str) -> Mapping[str, str]:
    if model.partition_by is None:
        days = {"projection.dt.type": "enum", "projection.dt.values": EPOCH_DT}
    else:
        days = {
            "projection.dt.type": "date",
            "projection.dt.format": "yyyy-MM-dd",
            "projection.dt.range": f"{first_day},NOW",
            "projection.dt.interval": "1",
            "projection.dt.interval.unit": "DAYS",
        }
    return {
        "classification": "parquet",
        "projection.enabled": "true",
        **days,
        "storage.location.template": f"{folder}dt=${{dt}}/",
    }


def athena_type(model: ModelSpec, column: str, kind: str) -> str:
    """The Athena type that reads what DuckDB writes for `kind`."""
    if kind.endswith("[]"):
        return f"array<{athena_type(model, column, kind.removesuffix('[]'))}>"
    if re.fullmatch(r"DECIMAL\(\d+,\d+\)", kind):
        return kind.lower()
    if kind not in _TYPES:
        raise ModelError(
            f"sql/{model.layer}/{model.name}.sql: column {column!r} is {kind}, for which Athena's DDL has no type "
            f"here; cast it to one of {', '.join(_TYPES)} or DECIMAL. Nothing was printed."
        )
    return _TYPES[kind]


def _name(identifier: str) -> str:
    return f"`{identifier}`"


def _comment(value: str) -> str:
    """A quoted comment on one line, as long as the catalogue takes."""
    plain = " ".join(value.split())
    return _text(plain if len(plain) <= _LONGEST_COMMENT else f"{plain[: _LONGEST_COMMENT - 1]}…")


def _text(value: str) -> str:
    """A quoted Hive string: the backslash escapes, and two quotes would mean none."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
