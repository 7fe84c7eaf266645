"""The SQL that finds what a change can reach: links between objects, and rows that differ. Pure text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from payments_pipeline.flow import EPOCH_DT
from payments_pipeline.transform.models import ModelSpec
from payments_pipeline.transform.reading import plain_lines
from payments_pipeline.transform.statements import built_table, dt_of, hashable, name, text

TABLES = """
create table built.changed (model varchar, object ubigint);
create table built.reached (object ubigint);
"""
"""`changed` holds the keys of rows that differ between two snapshots, `reached` those of all rows tied to them."""


def hashed(column: str) -> str:
    """The hash by which an id is known in links; the version of DuckDB is part of the links' version."""
    return f"hash({column})"


def links(
    links: ModelSpec, silver: Sequence[ModelSpec], columns: Mapping[str, str], dts: Iterable[str]
) -> str:
    """The links of the rows of the partitions `dts` as they were built, beside those of other partitions as they were.

    `columns` gives the types of the first of the silver models: a column of links holds an id or a list of ids. The
    others are its children, which add the ids of their rows.
    """
    model, *children = silver
    listed = [
        name(column) if columns[column].endswith("[]") else f"[{name(column)}]" for column in model.links
    ]
    joined = ""
    for child in children:
        listed.append(f"{name(child.name)}.ids")
        joined += f"""
    left join (
        select {name(child.key)} as owner, list({name(child.grain[0])}) as ids from {built_table(child)} group by all
    ) as {name(child.name)} on {name(child.name)}.owner = parent.{name(model.key)}"""
    built = f"[{', '.join(text(dt) for dt in sorted(dts))}]::varchar[]"
    others = (
        f"list_filter(list_concat({', '.join(listed)}), lambda id: id is not null)"
        if listed
        else "[]::varchar[]"
    )
    return f"""
create or replace table {built_table(links)} as
with found as (
    select dt, object, refs from built.existing where not list_contains({built}, dt)
    union all
    select
        _dt as dt,
        {hashed(name(model.key))} as object,
        list_sort(list_distinct(list_transform({others}, lambda id: {hashed("id")}))) as refs
    from {built_table(model)} as parent{joined}
    where list_contains({built}, _dt)
)
select *, left(dt, 7) as _dt from found order by _dt, dt, object
"""


def changed(model: ModelSpec, columns: Mapping[str, str], before: str, after: str) -> str:
    """Add to `built.changed` the key of every row that is in one of the two relations and not the same in the other.

    `columns` gives their types. Only business columns count, those that do not begin with `_`.
    """
    counted = ", ".join(hashable(column, kind) for column, kind in columns.items() if column[0] != "_")
    key = hashed(f"{name(model.key)}::varchar")
    return f"""
insert into built.changed
select distinct {text(model.qualified)}, object
from (
    select {key} as object, hash({counted}) as content, 1 as side from ({before})
    union all
    select {key}, hash({counted}), -1 from ({after})
)
group by object, content
having sum(side) <> 0
"""


START = """
insert into built.reached select distinct object from built.changed where starts_with(model, 'silver.');
create or replace table built.frontier as select object from built.reached
"""

STEP = """
create or replace table built.frontier as
select distinct object
from (
    select unnest(refs) as object from links.everything where object in (from built.frontier)
    union all
    select object
    from (select object, unnest(refs) as other from links.everything)
    where other in (from built.frontier)
)
where object not in (from built.reached)
"""
"""From the objects found last to those they link to and those that link to them."""

ADVANCE = "insert into built.reached from built.frontier"

PLACES = """
select distinct entity, dt from links.everything where object in (from built.reached)
"""


def no_links(spec_name: str) -> str:
    """`links.<entity>` without rows."""
    columns = "null::varchar as dt, null::ubigint as object, null::ubigint[] as refs"
    return f"create view links.{name(spec_name)} as select {columns} where false"


def everything(entities: Iterable[str]) -> str:
    """`links.everything`: the links of all entities, each with the name of its entity."""
    parts = [f"select {text(entity)} as entity, * from links.{name(entity)}" for entity in entities]
    return " union all ".join(parts)


def touched(spec_name: str) -> str:
    """The partitions that `bronze.<entity>` changes: of its objects as they are now, and where the lake has them."""
    bronze = f"bronze.{name(spec_name)}"
    return f"""
select coalesce(strftime(make_timestamp(created * 1000000), '%Y-%m-%d'), {text(EPOCH_DT)}) from {bronze} where not _is_bare
union
select dt from links.{name(spec_name)} where object in (select {hashed("id")} from {bronze})
union
select {text(EPOCH_DT)} from {bronze} where _is_bare
"""


def fresh(model: ModelSpec) -> str:
    """`built.fresh`: what a linked model's SQL makes of the rows that are shown, each with its partition."""
    return f"""
create or replace table built.fresh as
select *, {dt_of(model)} as _dt, coalesce({is_reached(model)}, false) as _is_reached from (\n{model.sql}\n)
"""


STRAYS = "select count(*) from built.fresh where not _is_reached"
"""Rows that a linked model's SQL makes although nothing changed reaches them: its scope is a wrong promise."""


def places_of(model: ModelSpec) -> str:
    """The partitions of a linked model in which something reached lies, by its SQL or as they exist."""
    return f"""
create or replace table built.places as
select _dt from built.fresh
union
select {dt_of(model)} from built.existing where {is_reached(model)}
"""


def remade(model: ModelSpec) -> str:
    """Those partitions after a change: the rows that were not reached as they are, the others anew."""
    return f"""
create or replace table {built_table(model)} as
select * exclude (_is_reached) from built.fresh
union all by name
select *, {dt_of(model)} as _dt from built.existing
where not {is_reached(model)} and {dt_of(model)} in (from built.places)
order by {", ".join(["_dt", *(name(column) for column in model.grain)])}
"""


def unexplained(model: ModelSpec, *, observed: bool) -> str:
    """Noted changes of the model that nothing accounts for: a silver row's object must be among the lines `observed`."""
    cause = "select object from built.reached"
    if model.layer == "silver":
        cause = _observed(model.entity) if observed else "select null::ubigint where false"
    return f"select count(*) from built.changed where model = {text(model.qualified)} and object not in ({cause})"


def places(entity: str) -> str:
    """The partitions in which the lake has the objects of the lines that are shown."""
    return f"select distinct dt from links.{name(entity)} where object in ({_observed(entity)})"


def is_reached(model: ModelSpec) -> str:
    """A condition on a row of a silver or linked model."""
    return f"{hashed(name(model.key))} in (from built.reached)"


def _observed(entity: str) -> str:
    return f"select {hashed('id')} from {plain_lines(entity)}"
