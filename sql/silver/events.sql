/*
description = "What happened to objects, as Stripe announced it within the last 30 days."
grain = ["event_id"]
partition_by = "created_at"
links = ["object_id"]
not_null = ["event_id", "is_deleted", "_observed_at"]
caveats = [
    "Stripe keeps events for 30 days: a lake that was not fed for longer has a gap here.",
]

[columns]
event_id = "Stripe id, evt_… (id)"
object_id = "Object it is about; NULL for objects without id (data.object.id)"
account_id = "Connected account it happened in (account)"
request_id = "API request that caused it; NULL when Stripe did (request.id)"
type = "What happened, e.g. customer.deleted (type)"
object_type = "What kind of object it is about (data.object.object)"
api_version = "Version its payload was rendered in (api_version)"
idempotency_key = "Idempotency key of that request (request.idempotency_key)"
previous_attributes = "Values before an update, as JSON (data.previous_attributes)"
pending_webhooks = "Deliveries not yet confirmed (pending_webhooks)"
is_livemode = "Whether the object exists in live mode (livemode)"
created_at = "When the object was created, UTC (created)"
is_deleted = "Whether the object was observed as deleted"
deleted_at = "When it was deleted, UTC, where the observation says so"
_observed_at = "When this state was observed, UTC"
*/
with

events as (
    select * from bronze.events
)

select
    id as event_id,
    data.object.id as object_id,
    account as account_id,
    request.id as request_id,

    type,
    data.object.object as object_type,
    api_version,
    request.idempotency_key as idempotency_key,
    data.previous_attributes as previous_attributes,

    pending_webhooks,

    livemode as is_livemode,

    make_timestamp(created * 1000000) as created_at,

    _is_deleted as is_deleted,
    _deleted_at as deleted_at,
    _observed_at,
from events
