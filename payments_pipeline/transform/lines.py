"""The SQL that makes `bronze.<entity>` of bronze lines: the latest state of every object. Pure text."""

from __future__ import annotations

import calendar

from payments_pipeline.entities import EntitySpec, duckdb_type
from payments_pipeline.flow import EPOCH_DT
from payments_pipeline.transform.reading import READ
from payments_pipeline.transform.statements import name, text


def empty_bronze(spec: EntitySpec) -> str:
    """`bronze.<entity>` without rows, typed as declared."""
    columns = ", ".join(f"{name(field)} {duckdb_type(node)}" for field, node in spec.columns.items())
    return (
        f"create or replace table bronze.{name(spec.name)} ({columns}, _observed_at timestamp, _is_deleted boolean, "
        "_deleted_at timestamp, _is_bare boolean, _lines bigint, _rank integer, _offset bigint)"
    )


def lines(spec: EntitySpec, table: str) -> str:
    """The table: a row for every line, as if it were the only one of its id."""
    fields = ", ".join(f"data.{name(field)} as {name(field)}" for field in spec.columns)
    return f"""
create or replace table {table} as
select
    {fields},
    meta.observed_at::timestamp as _observed_at,
    coalesce(data.deleted, false) as _is_deleted,
    case when data.deleted then make_timestamp(meta.deleted_at * 1000000) end as _deleted_at,
    coalesce(data.deleted, false) as _is_bare,
    1::bigint as _lines,
    case meta.source when 'list' then 1 else 2 end as _rank,
    meta."offset" as _offset
from {READ}
"""


REPEATED = "create or replace table built.repeated (object ubigint)"
"""Hashes of the ids that have more than one line; few, as a rule."""


def repeated(table: str, part: int, parts: int) -> str:
    """Those of one of several parts of the ids, so that not all have to be in memory together."""
    return (
        f"insert into built.repeated select hash(id) as object from {table} "
        f"where hash(id) % {parts} = {part} group by all having count(*) > 1"
    )


def latest_lines(spec: EntitySpec, table: str) -> str:
    """The table with one row per id, the latest state observed, with what is known of its deletion.

    Versions are ordered by when the call was made, then a retrieval over a list, then the place in the answer;
    never by arrival. Should all of these be equal, content decides, as it does when the audit reads the lines by itself.
    A tombstone carries no fields, so the latest full state is kept beside the mark,
    with the time of deletion that the newest tombstone since then tells, if one does;
    `_is_bare` says there was none. `_lines` counts the lines that came down to this row.
    Only the lines of repeated ids are taken out, compared and put back: all of them would be too wide to sort.
    """
    is_repeated = "hash(id) in (from built.repeated)"
    ties = ", ".join(f"{name(column)} desc" for column in ("created", *(spec.amount or ())))
    return f"""
create or replace table built.latest as
with latest as (
    select
        *,
        max(_observed_at) filter (_is_bare) over ids as _last_gone,
        max(_observed_at) filter (_is_bare and _deleted_at is not null) over ids as _last_dated,
        arg_max(_deleted_at, {{'at': _observed_at, 'tie': _deleted_at}}) filter (_is_bare) over ids as _last_gone_at,
        count(*) over ids as _count
    from {table} as line
    where {is_repeated}
    window ids as (partition by id)
    qualify row_number() over (
        partition by id order by _is_bare, _observed_at desc, _rank desc, _offset desc, {ties}, hash(line)
    ) = 1
)
select * exclude (_last_gone, _last_dated, _last_gone_at, _count) replace (
    greatest(_observed_at, _last_gone) as _observed_at,
    coalesce(_last_gone >= _observed_at, false) as _is_deleted,
    case when _is_bare or _last_gone >= _observed_at and _last_dated >= _observed_at then _last_gone_at end
        as _deleted_at,
    _count as _lines
)
from latest;
delete from {table} where {is_repeated};
insert into {table} from built.latest;
drop table built.latest
"""


def months(spec: EntitySpec) -> str:
    """How many rows of `bronze.<entity>` are of each month, and of no date, in order."""
    return f"""
select coalesce(strftime(make_timestamp(created * 1000000), '%Y-%m'), {text(EPOCH_DT[:7])}), count(*)
from bronze.{name(spec.name)}
group by all
order by all
"""


def narrowed(spec: EntitySpec, whole: str, first: str, last: str) -> str:
    """The rows of the relation `whole` that are of the months from `first` to `last`, or of no date."""
    year, month = map(int, last.split("-"))
    start = calendar.timegm((*map(int, first.split("-")), 1, 0, 0, 0))
    end = calendar.timegm((year + month // 12, month % 12 + 1, 1, 0, 0, 0))
    undated = " or created is null" if first == EPOCH_DT[:7] else ""
    return f"select * from {whole} where created >= {start} and created < {end}{undated}"
