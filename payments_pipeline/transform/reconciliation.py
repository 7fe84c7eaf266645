"""The SQL that compares received webhooks with the events feed and with silver's objects. Pure text."""

from __future__ import annotations

from collections.abc import Collection

from payments_pipeline.entities import ENTITIES, EVENTS
from payments_pipeline.transform.models import Models, ModelSpec
from payments_pipeline.transform.reading import plain_lines
from payments_pipeline.transform.statements import name, text

RECEIVED = ModelSpec(
    layer="bronze",
    name="webhook_events",
    description="Received events of the period, as they were delivered.",
    depends_on=(),
    sql="""
select
    null::varchar as event_id, null::varchar as type, null::varchar as object_type, null::varchar as object_id,
    null::varchar as request_id, null::varchar as api_version, null::varchar as previous_attributes,
    null::varchar as origin,
    null::timestamp as created_at, null::timestamp as received_at
""",
)
"""What the caller shows of the journal; several columns are compared with those of `silver.events`."""

PERIOD = ModelSpec(
    layer="bronze",
    name="webhook_period",
    description="One row: the period, how far the feed was read, and which deliveries are late or overdue.",
    depends_on=(),
    sql="""
select
    null::timestamp as starts_at, null::timestamp as ends_at, null::timestamp as read_until,
    null::timestamp as due_until, null::bigint as late_seconds
""",
)

COMPARED = ("type", "object_type", "object_id", "request_id", "created_at")
"""The columns in which the two sides of an event must agree."""

FLAGS = (
    "is_missing",
    "is_caught_up",
    "is_extra",
    "is_late",
    "is_out_of_order",
    "is_different",
    "is_object_stale",
)


def reconciliation(models: Models, read: Collection[str] = ()) -> ModelSpec:
    """`marts.webhook_reconciliation`: a row per event of the period that either side knows, and what is wrong with it.

    `read` are the entities of which the engine shows bronze lines: an object is read more often than it changes.
    """
    return ModelSpec(
        layer="marts",
        name="webhook_reconciliation",
        description="Every event of the last reconciled period: what webhooks, feed and silver say of it.",
        depends_on=(),
        grain=("event_id",),
        sql=_SELECT.format(objects=_objects(models, read), differences=_differences()),
    )


def _objects(models: Models, read: Collection[str]) -> str:
    """Every silver object by its type and id, and when it was last read."""
    return "\n    union all\n    ".join(
        f"select {text(ENTITIES[model.name].object)} as object_type, {name(model.grain[0])} as object_id, "
        + (
            _read_in_bronze(model)
            if model.name in read
            else f"_observed_at as observed_at from {model.qualified}"
        )
        for model in models.layer("silver")
        if model.parent is None and model.name != EVENTS
    )


def _read_in_bronze(model: ModelSpec) -> str:
    last = f"select id, max(seen)::timestamp as last_read from {plain_lines(model.name)} group by id"
    return (
        f"greatest(_observed_at, last_read) as observed_at from {model.qualified} "
        f"left join ({last}) on id = {name(model.grain[0])}"
    )


def _differences() -> str:
    """The names of the columns in which the two sides differ.

    An endpoint may have its payloads rendered in another API version than the feed; then earlier values may
    differ too.
    """
    cases = [
        f"case when received.{column} is distinct from fed.{column} then {text(column)} end"
        for column in (*COMPARED, "api_version")
    ]
    cases.append(
        "case when received.api_version is not distinct from fed.api_version and "
        "json(received.previous_attributes) is distinct from json(fed.previous_attributes) "
        "then 'previous_attributes' end"
    )
    return ", ".join(cases)


_SELECT = """
with period as (
    select * from bronze.webhook_period
),
once as (
    select * from bronze.webhook_events
    qualify row_number() over (partition by event_id order by received_at) = 1
),
received as (
    select
        once.*,
        coalesce(
            max(created_at) over (
                partition by object_type, object_id order by received_at
                rows between unbounded preceding and 1 preceding
            ) > created_at,
            false
        ) as is_overtaken
    from once
),
fed as (
    select events.*
    from silver.events
    inner join period on events.created_at >= period.starts_at and events.created_at < period.ends_at
),
objects as (
    {objects}
),
events as (
    select
        coalesce(received.event_id, fed.event_id) as event_id,
        coalesce(fed.type, received.type) as type,
        coalesce(fed.object_type, received.object_type) as object_type,
        coalesce(fed.object_id, received.object_id) as object_id,
        coalesce(fed.created_at, received.created_at) as created_at,
        received.received_at,
        received.origin,
        fed._observed_at as fed_at,
        received.event_id is not null as is_received,
        fed.event_id is not null as is_fed,
        coalesce(received.is_overtaken, false) as is_out_of_order,
        case when received.event_id is not null and fed.event_id is not null
            then list_filter([{differences}], lambda found: found is not null) else [] end as differences
    from received
    full join fed on received.event_id = fed.event_id
)
select
    events.event_id,
    events.object_id,
    events.type,
    events.object_type,
    events.origin,
    not events.is_received and events.created_at < period.due_until as is_missing,
    coalesce(events.origin = 'catch-up', false) as is_caught_up,
    not events.is_fed and coalesce(events.created_at < period.read_until, false) as is_extra,
    coalesce(
        events.origin = 'webhook' and date_diff('second', events.created_at, events.received_at) > period.late_seconds,
        false
    ) as is_late,
    events.is_out_of_order,
    len(list_filter(events.differences, lambda found: found <> 'api_version')) > 0 as is_different,
    events.object_id is not null
        and coalesce(events.created_at < period.read_until, false)
        and events.object_type in (select object_type from objects)
        and coalesce(objects.observed_at < events.created_at, true) as is_object_stale,
    array_to_string(events.differences, ', ') as differences,
    events.created_at,
    events.received_at,
    events.fed_at,
    objects.observed_at as object_observed_at
from events
cross join period
left join objects on events.object_type = objects.object_type and events.object_id = objects.object_id
"""


def counts() -> str:
    """One row over the relation: events, received events, and the events of each flag."""
    flags = ", ".join(f"count(*) filter ({flag})" for flag in FLAGS)
    return f"select count(*), count(received_at), {flags} from marts.webhook_reconciliation"


def sample(flag: str, most: int) -> str:
    """The first few ids that carry the flag."""
    return (
        f"select event_id from marts.webhook_reconciliation where {name(flag)} order by event_id limit {most}"
    )
