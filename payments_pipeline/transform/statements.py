"""The SQL that surrounds a model's own SELECT: reading bronze, merging silver, digests. Pure text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from payments_pipeline.entities import ENTITIES, EntitySpec, Reference
from payments_pipeline.flow import EPOCH_DT
from payments_pipeline.transform.models import ModelSpec

READ = (
    "read_json($files, columns = $columns, format = 'newline_delimited', records = true, "
    "maximum_object_size = $size)"
)
READ_LENIENTLY = READ.replace("records = true", "records = true, ignore_errors = true")
"""For looking around only: a line that cannot be read is skipped here, and quarantined by the build."""
READ_AS_TEXT = (
    "read_csv($files, columns = {'line': 'VARCHAR'}, auto_detect = false, header = false, "
    r"delim = E'\x01', quote = '', escape = '', comment = '', new_line = '\n', max_line_size = $size, buffer_size = $size)"
)
"""Lines as they are, for looking at them on another path than the one that builds; no line holds a control character."""


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
    unsettled = f"count(*) filter (where {_unsettled(spec)})" if spec and spec.mutable_days else "null"
    return f"select _dt, count(*), sum(hash({hashed})), {unsettled} from {built_table(model)} group by _dt"


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


def unreconciled(spec: EntitySpec, model: ModelSpec) -> str:
    """Where the files' latest states and silver differ, per created date and currency.

    The lines are read as plain JSON, on another path than the one that built silver. An object of which only
    the deletion was observed carries no date or amount, and is compared by its id alone. One that silver knows
    from a newer observation is left out: the files are those of an old run that went on.
    """
    amount, currency = spec.amount or ("none", "none")
    silver_amount = f"silver.{amount.removeprefix('amount_')}_minor" if spec.amount else "null::bigint"
    silver_currency = "silver.currency" if spec.amount else "null::varchar"
    key = name(model.grain[0])
    return f"""
{_plain_latest(amount, currency)},
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


def _plain_latest(amount: str, currency: str) -> str:
    """The beginning of a statement: `latest`, one row per id of the lines read as plain JSON."""
    return f"""
with texts as (
    select json_extract_string(line, [
        '$.data.id', '$.data.created', '$.data.deleted', '$.data.{amount}', '$.data.{currency}',
        '$.meta.observed_at', '$.meta.source', '$.meta.offset'
    ]) as found
    from {READ_AS_TEXT}
),
lines as (
    select
        found[1] as id,
        found[2]::bigint as created,
        coalesce(found[3]::boolean, false) as gone,
        found[4]::bigint as amount,
        found[5] as currency,
        found[6] as seen,
        case found[7] when 'list' then 1 else 2 end as place,
        found[8]::bigint as position
    from texts
),
latest as (
    select *, max(seen) over (partition by id) as newest
    from lines
    qualify row_number() over (
        partition by id
        order by gone, seen desc, place desc, position desc, created desc, amount desc, currency desc
    ) = 1
)
""".strip()


NOTED = """
create table built.known (object ubigint, is_observed boolean);
create table built.wanted (entity varchar, id varchar);
"""
"""Which objects are known to be there, as hashes, those this run has read marked; and what others refer to, as it is."""


def known(*, observed_only: bool = False) -> str:
    """A relation of the hashes of the objects that were noted, or only of those this run has read."""
    return f"(select object from built.known{' where is_observed' if observed_only else ''})"


def object_hash(entity: str, object_id: str) -> str:
    """The hash, in SQL, by which an object is known among those noted."""
    return f"hash({entity}, {object_id})"


def note_own(spec: EntitySpec) -> str:
    """A statement that notes $ids as objects that this run has read."""
    return f"insert into built.known select {object_hash(text(spec.name), 'unnest($ids)')}, true"


NOTE_WANTED = "insert into built.wanted select unnest($entities), unnest($ids)"


def wanted(files: Sequence[Path]) -> str:
    """Everything that was noted as referred to, also what was put aside in Parquet files."""
    listed = ", ".join(text(str(file)) for file in files)
    return f"from built.wanted union all from read_parquet([{listed}])" if files else "from built.wanted"


def missing_ids(relation: str) -> str:
    """What of it is nowhere in the lake."""
    return f"""
select distinct entity, id
from ({relation}) as wanted
anti join {known()} as known on {object_hash("wanted.entity", "wanted.id")} = known.object
anti join links.everything as linked on wanted.entity = linked.entity and hash(wanted.id) = linked.object
where id is not null and entity is not null
order by entity, id
"""


def unread_ids(spec: EntitySpec) -> str:
    """Objects of the lines that this run has not read."""
    return f"""
select distinct data.id
from {READ_LENIENTLY}
where data.id is not null
    and {object_hash(text(spec.name), "data.id")} not in {known(observed_only=True)}
order by all
"""


def unobserved_ids(model: ModelSpec, spec: EntitySpec, *, unsettled: bool) -> str:
    """Living objects of the silver model as it is shown that this run has not read: all since then, or the unsettled.

    Of the latter those, too, that are older and refer to an object that it has read.
    """
    observed = known(observed_only=True)
    wanted = ["created_at >= make_timestamp($since::bigint * 1000000)"]
    if unsettled:
        wanted += [
            f"{object_hash(text(target.split('.')[1]), f'held.{name(column)}')} in {observed}"
            for column, target in model.references.items()
        ]
    return f"""
select {name(model.key)} as id
from {model.qualified} as held
anti join {observed} as observed on {object_hash(text(spec.name), f"held.{name(model.key)}")} = observed.object
where {_unsettled(spec) if unsettled else "not is_deleted"} and ({" or ".join(wanted)})
order by id
"""


def _unsettled(spec: EntitySpec) -> str:
    """The condition under which a silver row may yet change without an event saying so."""
    final = ", ".join(map(text, spec.settled))
    return f"not is_deleted and (status in ({final})) is not true" if final else "not is_deleted"


def changed_ids() -> str:
    """The objects that events name which silver does not hold yet, except those this run has read."""
    entities = " ".join(f"when {text(spec.object)} then {text(spec.name)}" for spec in ENTITIES.values())
    return f"""
with notices as (
    select
        case data.data.object.object {entities} end as entity,
        data.data.object.id as id,
        case when ends_with(data.type, '.deleted') then data.created end as deleted_at
    from {READ}
    where hash(data.id) not in (select object from links.events)
)
select entity, id, max(deleted_at)
from notices
anti join {known(observed_only=True)} as observed on {object_hash("entity", "id")} = observed.object
where entity is not null and id is not null
group by entity, id
order by entity, id
"""


def shadowed_ids(spec: EntitySpec) -> str | None:
    """The objects that those of the lines change, except those this run has read; None if they change no other."""
    references = [each for each in spec.references if each.changes_it]
    if not references:
        return None
    found = " union all ".join(
        f"select {_target(each)} as entity, id from (select unnest({_ids_at(each.path)}) as id from {READ_LENIENTLY})"
        for each in references
    )
    return f"""
select distinct entity, id
from ({found}) as changed
anti join {known(observed_only=True)} as observed on {object_hash("entity", "id")} = observed.object
where entity is not null and id is not null
order by entity, id
"""


def collect_ids(spec: EntitySpec, *, observed: bool) -> tuple[str, str, str]:
    """Statements that read the lines, note their own ids as known, and the ids they refer to as wanted."""
    listed = "[]::struct(entity varchar, id varchar)[]"
    for reference in spec.references:
        found = f"{{'entity': {_target(reference)}, 'id': id}}"
        listed = f"list_concat({listed}, list_transform({_ids_at(reference.path)}, lambda id: {found}))"
    return (
        f"create or replace table built.found as select data.id as own, {listed} as wanted from {READ_LENIENTLY}",
        f"insert into built.known select distinct {object_hash(text(spec.name), 'own')}, {observed} from built.found where own is not null",
        "insert into built.wanted select distinct found.entity, found.id from (select unnest(wanted) as found from built.found)",
    )


def _target(reference: Reference) -> str:
    """The entity `id` belongs to: the declared one, or the one its prefix tells."""
    if reference.target is not None:
        return text(reference.target)
    cases = [
        f"when starts_with(id, {text(prefix)}) then {text(spec.name)}"
        for spec in ENTITIES.values()
        for prefix in spec.prefixes
    ]
    return f"case {' '.join(cases)} end"


def _ids_at(path: str) -> str:
    """A list expression for the ids at a reference's path: `a.b` holds one, `a[].b` one per element of `a`."""
    outer, through_list, inner = path.partition("[]")
    found = "data" + "".join(f".{name(field)}" for field in outer.split("."))
    if not through_list:
        return f"[{found}]"
    step = "".join(f".{name(field)}" for field in inner.split(".") if field)
    return f"list_transform({found}, lambda element: element{step})" if step else found


def _sorted(model: ModelSpec) -> str:
    """Rows in the order of their partitions: writing one then reads its rows only, and its file is always the same."""
    return f"order by {', '.join(['_dt', *(name(column) for column in model.grain)])}"
