"""What a world is made of: immutable object versions, a log of events, an agenda of things due, and ids."""

from __future__ import annotations

import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from heapq import heappop, heappush
from typing import Any

from mock_api.shapes import API_VERSION, Obj, shape

KINDS: dict[str, tuple[str, str]] = {
    "customers": ("customer", "cus_"),
    "products": ("product", "prod_"),
    "prices": ("price", "price_"),
    "payment_methods": ("payment_method", "pm_"),
    "subscriptions": ("subscription", "sub_"),
    "invoices": ("invoice", "in_"),
    "payment_intents": ("payment_intent", "pi_"),
    "charges": ("charge", "ch_"),
    "refunds": ("refund", "re_"),
    "disputes": ("dispute", "du_"),
    "balance_transactions": ("balance_transaction", "txn_"),
    "payouts": ("payout", "po_"),
    "invoice_payments": ("invoice_payment", "inpay_"),
    "events": ("event", "evt_"),
}
"""Kind (= Stripe's list path) -> value of `object`, id prefix."""

EVENT_NAMES = {"subscriptions": "customer.subscription", "disputes": "charge.dispute"} | {
    kind: name for kind, (name, _) in KINDS.items() if kind not in ("subscriptions", "disputes")
}


class WorldError(Exception):
    """What Stripe would refuse with an invalid_request_error: `code`, `message` and the offending `param`."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.param = code, message, param


@dataclass(frozen=True, slots=True, order=True)
class Due:
    """Something that happens at second `at`; ties are broken by the order of planning."""

    at: int
    turn: int
    act: Callable[[], object] = field(compare=False)
    origin: str = field(compare=False)


def differences(old: Obj, new: Obj) -> Obj:
    """`previous_attributes`: old values of changed keys; nested objects only in part, arrays whole, new keys null."""
    changed: Obj = {}
    for key, value in new.items():
        before = old.get(key)
        if before == value:
            continue
        both = isinstance(before, dict) and isinstance(value, dict)
        changed[key] = differences(before, value) if both and before and value else before
    return changed | {key: value for key, value in old.items() if key not in new}


def copied(value: Any) -> Any:
    """A deep copy of a JSON value; several times as quick as `copy.deepcopy`."""
    if isinstance(value, dict):
        return {key: copied(part) for key, part in value.items()}
    return [copied(part) for part in value] if isinstance(value, list) else value


class State:
    """Objects are never mutated: a change stores a new version, so that an event may simply keep the version it saw."""

    def __init__(self, seed: int, start: int) -> None:
        self.lock = threading.RLock()
        self.seed = seed
        self.now = start - 1
        self._living: dict[str, dict[str, Obj]] = {kind: {} for kind in KINDS}
        self._stubs: dict[str, dict[str, Obj]] = {kind: {} for kind in KINDS}
        self._rows: dict[str, list[Obj]] = {}
        self._agenda: list[Due] = []
        self._turns = 0
        self._issued: dict[str, int] = {}
        self._origin = "api"
        self._request: Obj = shape("event.request")
        self._version = API_VERSION

    # reading

    def rows(self, kind: str) -> Sequence[Obj]:
        """Living objects in creation order: ascending `created`, then order of creation. Never mutate them."""
        rows = self._rows.get(kind)
        if rows is None:
            rows = self._rows[kind] = list(self._living[kind].values())
        return rows

    def get(self, kind: str, id: str) -> Obj | None:
        """The current object; {"id", "object", "deleted": True} once deleted; None if it never existed."""
        return self._living[kind].get(id) or self._stubs[kind].get(id)

    def truth(self) -> dict[str, dict[str, Obj]]:
        """kind -> id -> current state, deleted ones as their stub; deep copies."""
        return {kind: copied(self._living[kind] | self._stubs[kind]) for kind in KINDS}

    # time

    def play(self, to: int) -> None:
        """Run everything due up to and including second `to`; an earlier `to` changes nothing."""
        with self.lock:
            while self._agenda and self._agenda[0].at <= to:
                due = heappop(self._agenda)
                self.now = max(self.now, due.at)
                self._run(due)
            self.now = max(self.now, to)

    def _run(self, due: Due) -> None:
        origin, self._origin = self._origin, due.origin
        try:
            due.act()
        finally:
            self._origin = origin

    @contextmanager
    def request(
        self, id: str | None, idempotency_key: str | None = None, version: str = API_VERSION
    ) -> Iterator[None]:
        """Events emitted inside name this API request; outside they are Stripe's own doing (both null)."""
        before = self._request, self._version
        self._request = shape("event.request", id=id, idempotency_key=idempotency_key)
        self._version = version
        try:
            yield
        finally:
            self._request, self._version = before

    def own_request(self, version: str = API_VERSION) -> AbstractContextManager[None]:
        """A request that the merchant's own server makes, with an id and an idempotency key of its own."""
        return self.request(self._unique("req_"), self._unique("key-"), version)

    def at(self, second: int, act: Callable[[], object], *, origin: str | None = None) -> None:
        """Plan `act` for `second`, as part of the life named `origin` (default: the one now being played)."""
        self._turns += 1
        heappush(self._agenda, Due(second, self._turns, act, origin or self._origin))

    # writing

    def note_pending_webhooks(self, event: str, number: int) -> None:
        """Set how many endpoints have not acknowledged the event; the feed's filter `delivery_success` reads it."""
        self._change_quietly("events", event, pending_webhooks=number)

    def _unique(self, prefix: str) -> str:
        """An id that depends only on the seed, the life it belongs to and its number in that life."""
        number = self._issued[self._origin] = self._issued.get(self._origin, 0) + 1
        digest = blake2b(f"{self.seed}:{self._origin}:{number}".encode(), digest_size=18).digest()
        return prefix + b64encode(digest, b"Zx").decode()

    def _create(
        self, kind: str, *, event: str | None = "created", prefix: str | None = None, **values: Any
    ) -> Obj:
        name, usual = KINDS[kind]
        obj = shape(name, id=self._unique(prefix or usual), created=self.now, **values)
        self._store(kind, obj)
        if event:
            self._emit(f"{EVENT_NAMES[kind]}.{event}", obj)
        return obj

    def _change(self, kind: str, id: str, *events: str, **values: Any) -> Obj:
        """Store a new version; emit `events` (short names; default `updated`) unless nothing changed."""
        old = self._living[kind][id]
        new = {**old, **values}
        if new == old:
            return old
        self._store(kind, new)
        for event in events or ("updated",):
            previous = differences(old, new) if event == "updated" else None
            self._emit(event if "." in event else f"{EVENT_NAMES[kind]}.{event}", new, previous)
        return new

    def _change_quietly(self, kind: str, id: str, **values: Any) -> Obj:
        """Store a new version of an object for which Stripe emits no event."""
        new = {**self._living[kind][id], **values}
        self._store(kind, new)
        return new

    def _remove(self, kind: str, id: str) -> Obj:
        obj = self._living[kind].pop(id)
        self._rows.pop(kind, None)
        stub = {"id": id, "object": obj["object"], "deleted": True}
        self._stubs[kind][id] = stub
        self._emit(f"{EVENT_NAMES[kind]}.deleted", obj)
        return stub

    def _store(self, kind: str, obj: Obj) -> None:
        self._living[kind][obj["id"]] = obj
        self._rows.pop(kind, None)

    def _emit(self, type: str, obj: Obj, previous: Obj | None = None) -> None:
        data = {"object": obj} if previous is None else {"object": obj, "previous_attributes": previous}
        event = shape(
            "event",
            id=self._unique("evt_"),
            created=self.now,
            api_version=API_VERSION,
            data=data,
            request=self._request,
            type=type,
        )
        self._store("events", event)

    def _find(self, kind: str, id: Any, param: str = "id") -> Obj:
        """The living object; refuses what does not exist or was deleted as Stripe does."""
        obj = self._living[kind].get(id)
        if obj is None:
            raise WorldError("resource_missing", f"No such {KINDS[kind][0]}: '{id}'", param)
        return obj


def require(param: str, value: Any) -> Any:
    """`value`, refused as parameter_missing when it is None or empty."""
    if value is None or value == "":
        raise WorldError("parameter_missing", f"Missing required param: {param}.", param)
    return value
