"""What is known about each Stripe entity: where it is listed, what its objects hold, what they refer to.

One entry per entity. Shapes and field names are those of API version 2026-10-28.endive, taken from the
resource classes of Stripe's official SDK. Only fields that silver and gold use are declared; bronze keeps
the whole object. Expandable fields are declared as ids, because nothing is ever expanded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from payments_pipeline.entities import billing, catalogue, money
from payments_pipeline.entities.spec import (
    ChildList,
    EntitySpec,
    Reference,
    Schema,
    SchemaNode,
    duckdb_type,
    fields,
)
from payments_pipeline.errors import UsageError

__all__ = [
    "ENTITIES",
    "EVENTS",
    "ChildList",
    "EntitySpec",
    "Reference",
    "Schema",
    "SchemaNode",
    "duckdb_type",
    "entity",
    "entity_of_id",
    "fields",
    "referenced_ids",
]

EVENTS = "events"
"""The entity that tells what became of the others."""

_NOTICES = EntitySpec(
    name=EVENTS,
    object="event",
    prefixes=("evt_",),
    columns=fields(
        text="id object type api_version account",
        integer="created pending_webhooks",
        flag="livemode",
        request=fields(text="id idempotency_key"),
        data=fields(object=fields(text="id object"), json="previous_attributes"),
    ),
    retention_days=30,
)

_SPECS = (
    catalogue.CUSTOMERS,
    catalogue.PRODUCTS,
    catalogue.PRICES,
    catalogue.PAYMENT_METHODS,
    billing.SUBSCRIPTIONS,
    billing.INVOICES,
    money.PAYMENT_INTENTS,
    money.CHARGES,
    money.REFUNDS,
    money.DISPUTES,
    money.BALANCE_TRANSACTIONS,
    money.PAYOUTS,
    billing.INVOICE_PAYMENTS,
    _NOTICES,
)

ENTITIES: Mapping[str, EntitySpec] = MappingProxyType({spec.name: spec for spec in _SPECS})
"""Every entity by the name of its list endpoint, which is also its name in the lake."""


def entity(name: str) -> EntitySpec:
    """The entity of that name; raises UsageError naming the known ones."""
    if name not in ENTITIES:
        raise UsageError(f"entity {name!r} is not known; known: {', '.join(sorted(ENTITIES))}")
    return ENTITIES[name]


def entity_of_id(object_id: str) -> str | None:
    """The name of the entity whose ids begin like this one; None when no entity's do."""
    for spec in ENTITIES.values():
        if object_id.startswith(spec.prefixes):
            return spec.name
    return None


def referenced_ids(spec: EntitySpec, record: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield (entity, id) for every reference that `record` holds, in declared order, repeats included."""
    for reference in spec.references:
        for object_id in _values(record, reference.path.replace("[]", ".[]").split(".")):
            target = reference.target or entity_of_id(object_id)
            if target is not None:
                yield target, object_id


def _values(node: object, path: list[str]) -> Iterator[str]:
    if not path:
        if isinstance(node, str):
            yield node
    elif path[0] == "[]":
        for element in node if isinstance(node, list) else ():
            yield from _values(element, path[1:])
    elif isinstance(node, Mapping):
        yield from _values(node.get(path[0]), path[1:])
