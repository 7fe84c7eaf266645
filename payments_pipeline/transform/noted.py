"""The SQL that finds what a run must still read: what changed, what is missing, what nobody has confirmed. Pure text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from payments_pipeline.entities import ENTITIES, EntitySpec, Reference
from payments_pipeline.transform.models import ModelSpec
from payments_pipeline.transform.reading import READ, READ_LENIENTLY
from payments_pipeline.transform.statements import name, text
from payments_pipeline.transform.statements import unsettled as is_unsettled

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


def unread_ids(spec: EntitySpec, *, unsettled: bool) -> str:
    """Objects of the lines that this run has not read: all, or the unsettled that refer to one that it has read."""
    observed = known(observed_only=True)
    wanted = ["data.id is not null", f"{object_hash(text(spec.name), 'data.id')} not in {observed}"]
    if unsettled:
        referred = [
            f"{object_hash(text(each.target), f'data.{each.path}')} in {observed}"
            for each in spec.references
            if each.target and "[]" not in each.path
        ]
        final = ", ".join(map(text, spec.settled))
        wanted += [f"(data.status in ({final})) is not true", f"({' or '.join(['false', *referred])})"]
    return f"select distinct data.id from {READ_LENIENTLY} where {' and '.join(wanted)} order by all"


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
where {is_unsettled(spec) if unsettled else "not is_deleted"} and ({" or ".join(wanted)})
order by id
"""


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
