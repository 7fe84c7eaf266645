"""The SQL that surrounds a model's own SELECT: merging silver, digests, writing. Pure text."""

from __future__ import annotations

from collections.abc import Mapping

from payments_pipeline.entities import ENTITIES, EntitySpec
from payments_pipeline.flow import EPOCH_DT
from payments_pipeline.transform.models import ModelSpec


def name(identifier: str) -> str:
    """A quoted SQL identifier."""
    return '"' + identifier.replace('"', '""') + '"'


def text(value: str) -> str:
    """A quoted SQL string."""
    return "'" + value.replace("'", "''") + "'"


def typed(columns: Mapping[str, str]) -> str:
    """The columns, each of the type that it is to have."""
    return ", ".join(f"{name(column)}::{kind} as {name(column)}" for column, kind in columns.items())


def built_table(model: ModelSpec) -> str:
    """Where a built model waits to be written."""
    return f"built.{name(model.qualified)}"


def empty_of(model: ModelSpec) -> str:
    """A SELECT of the model's columns and no rows."""
    return f"select * from (\n{model.sql}\n) limit 0"


def dt_of(model: ModelSpec) -> str:
    """The partition of a row: the UTC date of the model's `partition_by`."""
    if model.partition_by is None:
        return text(EPOCH_DT)
    return f"coalesce(strftime({name(model.partition_by)}, '%Y-%m-%d'), {text(EPOCH_DT)})"


def merged(model: ModelSpec, spec: EntitySpec) -> str:
    """The touched partitions after the merge: per object the newer of what was published and what was observed."""
    key = name(model.key)
    return f"""
create or replace table {built_table(model)} as
with fresh as (
    select * from (\n{model.sql}\n)
),
observed as (
    select id as _id, _observed_at as _seen, _is_bare, _deleted_at as _gone_at from bronze.{name(spec.name)}
),
kept as (
    select
        existing.* replace (
            coalesce(observed._is_bare, existing.is_deleted) as is_deleted,
            coalesce(observed._gone_at, existing.deleted_at) as deleted_at,
            coalesce(observed._seen, existing._observed_at) as _observed_at
        )
    from built.existing
    left join observed on existing.{key} = observed._id and observed._seen >= existing._observed_at
    where observed._id is null or observed._is_bare
),
added as (
    select fresh.*
    from fresh
    where fresh.{key} not in (select {key} from kept)
),
merged_rows as (
    select * from kept
    union all by name
    select * from added
)
select *, {dt_of(model)} as _dt from merged_rows {_sorted(model)}
"""


def added(model: ModelSpec) -> str:
    """What `merged` makes where nothing is published; the columns that it would replace must be there all the same."""
    needed = ", ".join(f"{column} as {column}" for column in ("is_deleted", "deleted_at", "_observed_at"))
    return (
        f"create or replace table {built_table(model)} as "
        f"select * replace ({needed}), {dt_of(model)} as _dt from (\n{model.sql}\n) {_sorted(model)}"
    )


def unsorted(model: ModelSpec) -> str:
    """`built.unsorted`: a whole model with each row's partition."""
    return f"create or replace table built.unsorted as select *, {dt_of(model)} as _dt from (\n{model.sql}\n)"


MONTHS = "select left(_dt, 7), count(*) from built.unsorted group by all"


def built(model: ModelSpec, *, empty: bool) -> str:
    """The built table with those rows, sorted, or only with their columns."""
    rows = "where false" if empty else _sorted(model)
    return f"create or replace table {built_table(model)} as select * from built.unsorted {rows}"


def built_months(model: ModelSpec, first: str, last: str) -> str:
    """Add the rows of these months, sorted."""
    return (
        f"insert into {built_table(model)} select * from built.unsorted "
        f"where left(_dt, 7) between {text(first)} and {text(last)} {_sorted(model)}"
    )


def digests(model: ModelSpec, columns: Mapping[str, str]) -> str:
    """Rows and digest per partition: the sum of the rows' hashes, over their business columns, names and types too.

    A sum does not depend on the rows' order, and unlike an exclusive or it notices a row that is there twice. The
    hash of a value does not tell its type: 1.10 as DECIMAL is 110 as BIGINT.
    """
    counted = [(column, kind) for column, kind in sorted(columns.items()) if column[0] != "_"]
    hashed = ", ".join([text(str(counted)), *(hashable(column, kind) for column, kind in counted)])
    spec = ENTITIES.get(model.entity) if model.layer == "silver" and model.parent is None else None
    open_ones = f"count(*) filter (where {unsettled(spec)})" if spec and spec.mutable_days else "null"
    return f"select _dt, count(*), sum(hash({hashed})), {open_ones} from {built_table(model)} group by _dt"


_HASHED = frozenset(
    {"BIGINT", "BOOLEAN", "DATE", "DOUBLE", "INTEGER", "JSON", "TIMESTAMP", "UBIGINT", "VARCHAR"}
)
"""Types whose values DuckDB hashes well. To its hash a list of one value is that value, and 0 as HUGEINT is -1."""


def hashable(column: str, kind: str) -> str:
    """What of a column to hash: the value, or its JSON."""
    return name(column) if kind in _HASHED else f"to_json({name(column)})::varchar"


def written(model: ModelSpec, dt: str, path: str) -> str:
    """Write one partition of the built table."""
    return (
        f"copy (select * exclude (_dt) from {built_table(model)} where _dt = {text(dt)}) "
        f"to {text(path)} (format parquet, compression zstd)"
    )


def unreconciled(spec: EntitySpec, model: ModelSpec, plain_lines: str) -> str:
    """Where the latest states of the lines and silver differ, per created date and currency.

    An object of which only the deletion was observed carries no date or amount, and is compared by its id alone. One
    that silver knows from a newer observation is left out: the lines are those of an old run that went on.
    """
    silver_amount = (
        f"silver.{spec.amount[0].removeprefix('amount_')}_minor" if spec.amount else "null::bigint"
    )
    silver_currency = "silver.currency" if spec.amount else "null::varchar"
    key = name(model.grain[0])
    return f"""
with latest as (
    select *, max(seen) over (partition by id) as newest
    from {plain_lines}
    qualify row_number() over (
        partition by id
        order by gone, seen desc, place desc, position desc, created desc, amount desc, currency desc
    ) = 1
),
current as (
    select latest.*
    from latest
    left join {model.qualified} as silver on latest.id = silver.{key}
    where silver._observed_at is null or silver._observed_at <= latest.newest::timestamp
),
received as (
    select
        case when not gone then strftime(make_timestamp(created * 1000000), '%Y-%m-%d') end as day,
        case when not gone then currency end as currency,
        count(*) as objects,
        sum(amount) as total
    from current
    group by all
),
held as (
    select
        case when not current.gone then strftime(silver.created_at, '%Y-%m-%d') end as day,
        case when not current.gone then {silver_currency} end as currency,
        count(*) as objects,
        sum(case when not current.gone then {silver_amount} end) as total
    from {model.qualified} as silver
    inner join current on silver.{key} = current.id
    group by all
)
select
    coalesce(received.day, held.day),
    coalesce(received.currency, held.currency),
    received.objects,
    held.objects,
    received.total,
    held.total
from received
full join held
    on received.day is not distinct from held.day and received.currency is not distinct from held.currency
where received.objects is distinct from held.objects or received.total is distinct from held.total
"""


def unsettled(spec: EntitySpec) -> str:
    """The condition under which a silver row may yet change without an event saying so."""
    final = ", ".join(map(text, spec.settled))
    return f"not is_deleted and (status in ({final})) is not true" if final else "not is_deleted"


def _sorted(model: ModelSpec) -> str:
    """Rows in the order of their partitions: writing one then reads its rows only, and its file is always the same."""
    return f"order by {', '.join(['_dt', *(name(column) for column in model.grain)])}"
