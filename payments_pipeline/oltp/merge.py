"""Brings what is staged into the tables: newer states only, missing parents as stubs, all in one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from sqlalchemy import Column, Table

from payments_pipeline.oltp.bulk import TakenOff, take_off
from payments_pipeline.oltp.sql import execute, execute_all, name
from payments_pipeline.oltp.stage import staging
from payments_pipeline.oltp.tables import TABLES, content_columns, parents

_LOCK = 0x7374726970655F  # one loader at a time in a database: whoever comes second waits for the first
_TRIES = 5
_LINK = "pg_temp.charge_link"


@dataclass(frozen=True, slots=True)
class Merged:
    """What became of one table's staged objects; `older` were passed over because the table knows newer states.

    `stubs` were made for other tables' references to it, `marked` were found to be deleted.
    """

    table: str
    inserted: int
    updated: int
    marked: int
    older: int
    stubs: int


def merge(connection: psycopg.Connection, tables: Sequence[Table]) -> list[Merged]:
    """Bring the staged objects of `tables` into them, in the order of references; all of it or, on any error, nothing.

    Taken again from its beginning if another session got in its way.
    """
    ordered = [table for table in TABLES.values() if table in tables]
    for attempt in range(_TRIES):
        try:
            with connection.transaction():
                execute(connection, "select pg_advisory_xact_lock(%s)", _LOCK)
                return _merge_all(connection, ordered)
        except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure):
            if attempt + 1 == _TRIES:
                raise
    raise AssertionError("the last try returns or raises")


def link_charges(connection: psycopg.Connection, staged: Sequence[Table]) -> None:
    """Make the temporary table of each charge's invoice, from what is staged and what the tables hold.

    Of several payments of one charge the paid one counts, then the default one, then the first.
    """
    payments = _newest(
        TABLES["invoice_payments"],
        staged,
        "invoice_id, payment_intent_id, charge_id, status, is_default, created_at",
    )
    charges = _newest(TABLES["charges"], staged, "payment_intent_id")
    execute(connection, f"drop table if exists {_LINK}")
    execute(
        connection,
        f"""
        create temporary table charge_link as
        with payments as ({payments}), charges as ({charges}),
        pairs as (
            select charges.id as charge, payments.* from charges join payments using (payment_intent_id)
            union all
            select payments.charge_id, payments.* from payments where charge_id is not null
        )
        select distinct on (charge) charge as id, invoice_id from pairs
        order by charge, status = 'paid' desc nulls last, is_default desc nulls last, created_at, id
        """,
    )
    execute(connection, f"analyze {_LINK}")


def expected(table: Table) -> str:
    """A SELECT of the staged states as they should be in the table: `content_columns`, and when they were observed."""
    values = ", ".join(f"{_value(column)} as {name(column.name)}" for column in content_columns(table))
    link = f" left join {_LINK} as link on link.id = staged.id" if table.name == "charges" else ""
    return f"select {values}, staged.observed_at from {staging(table)} as staged{link} where not staged.gone"


def missing_parents(
    parent: Table, children: Sequence[Table], staged: Sequence[Table], *, held: bool = True
) -> str:
    """A SELECT of the ids that staged `children` refer to, and that are neither staged nor (if `held`) in the table."""
    references = " union ".join(
        f"select {name(column.name)} as id from ({expected(child)}) as child"
        for child in children
        for column, target in parents(child)
        if target is parent
    )
    known = [parent.name] if held else []
    known += [staging(parent)] if parent in staged else []
    tests = "".join(
        f" and not exists (select from {place} as known where known.id = wanted.id)" for place in known
    )
    return f"select id from ({references or 'select null::text as id'}) as wanted where id is not null{tests}"


def _merge_all(connection: psycopg.Connection, tables: Sequence[Table]) -> list[Merged]:
    link_charges(connection, tables)
    taken_off = take_off(connection, tables)
    empty = taken_off.empty
    stubs = _add_stubs(connection, [table for table in tables if table not in empty], tables)
    merged = {
        table.name: _fill(connection, table) if table in empty else _merge(connection, table)
        for table in tables
    }
    stubs += _put_back(connection, taken_off, tables)
    execute(
        connection,
        f"update charges set invoice_id = link.invoice_id from {_LINK} as link "
        "where link.id = charges.id and charges.invoice_id is distinct from link.invoice_id "
        "and not charges.is_stub and charges.raw ->> 'invoice' is null",
    )
    nothing = (0, 0, 0, 0)
    return [
        Merged(table, *merged.get(table, nothing), stubs=stubs[table])
        for table in TABLES
        if table in merged or stubs[table]
    ]


def _put_back(connection: psycopg.Connection, taken_off: TakenOff, tables: Sequence[Table]) -> Counter[str]:
    """Put back what was taken off. Only if a reference leads nowhere, look for parents of what was filled; the stubs.

    All that is staged for an empty table is in it now, so its references say whether a parent is missing.
    """
    stubs: Counter[str] = Counter()
    execute(connection, "set constraints all immediate")  # while checks wait, no constraint can be added
    try:
        with connection.transaction():
            execute_all(connection, taken_off.references)
    except psycopg.errors.ForeignKeyViolation:
        stubs = _add_stubs(connection, taken_off.empty, tables)
        execute_all(connection, taken_off.references)
    execute_all(connection, taken_off.indexes)
    return stubs


def _add_stubs(
    connection: psycopg.Connection, children: Sequence[Table], tables: Sequence[Table]
) -> Counter[str]:
    """Make a stub of every missing parent; how many for each table."""
    return Counter(
        {
            parent.name: execute(
                connection,
                f"insert into {parent.name} (id) {missing_parents(parent, children, tables)} on conflict do nothing",
            ).rowcount
            for parent in TABLES.values()
        }
    )


def _fill(connection: psycopg.Connection, table: Table) -> tuple[int, int, int, int]:
    """What `_merge` would do to an empty table that is locked."""
    columns = ", ".join(name(column.name) for column in content_columns(table))
    new = execute(connection, f"insert into {table.name} ({columns}, observed_at) {expected(table)}").rowcount
    return new, 0, execute(connection, _mark(table)).rowcount, 0


def _merge(connection: psycopg.Connection, table: Table) -> tuple[int, int, int, int]:
    """Rows inserted, updated, marked as deleted, and passed over as older."""
    older, _ = _pair(
        connection,
        f"select count(*), 0 from {staging(table)} as staged join {table.name} as held using (id) "
        "where not gone and staged.observed_at < held.observed_at",
    )
    new, changed = _pair(
        connection,
        f"with written as ({_upsert(table)} returning xmax = 0 as new) "
        "select count(*) filter (where new), count(*) filter (where not new) from written",
    )
    marked = execute(connection, _mark(table)).rowcount
    return new, changed, marked, older


def _upsert(table: Table) -> str:
    """Insert what is new; update what is newer and differs, or was marked as deleted before. The same is not even locked.

    An inserted row's xmax is 0; that of an updated one is the lock it was updated under.
    """
    columns = [name(column.name) for column in content_columns(table)]
    listed = ", ".join(columns)
    assignments = ", ".join(f"{column} = excluded.{column}" for column in [*columns[1:], "observed_at"])
    differs = f"({_of('held', columns)}) is distinct from ({_of('staged', columns)})"
    is_back = "held.deleted and held.deletion_observed_at < staged.observed_at"
    return f"""
        insert into {table.name} as target ({listed}, observed_at)
        select {_of("staged", columns)}, staged.observed_at
        from ({expected(table)}) as staged left join {table.name} as held on held.id = staged.id
        where held.observed_at is null or staged.observed_at >= held.observed_at and ({differs} or {is_back})
        on conflict (id) do update set {assignments}
        where target.observed_at is null or target.observed_at <= excluded.observed_at
    """


def _mark(table: Table) -> str:
    """Note deletions; an object first heard of by its deletion becomes a stub. What is marked stays as it is."""
    return f"""
        insert into {table.name} as target (id, deletion_observed_at)
        select staged.id, staged.observed_at
        from {staging(table)} as staged left join {table.name} as held on held.id = staged.id
        where staged.gone and (held.id is null or not held.deleted
            and (held.deletion_observed_at is null or held.deletion_observed_at < staged.observed_at))
        on conflict (id) do update set deletion_observed_at = excluded.deletion_observed_at
    """


def _value(column: Column[Any]) -> str:
    if column.table.name == "charges" and column.name == "invoice_id":
        return "coalesce(staged.invoice_id, link.invoice_id)"
    return f"staged.{name(column.name)}"


def _newest(table: Table, staged: Sequence[Table], columns: str) -> str:
    """A SELECT of the objects that are staged, and of those in the table that are not."""
    held = f"select id, {columns} from {table.name} as held"
    if table not in staged:
        return held
    return (
        f"select id, {columns} from {staging(table)} where not gone union all {held} "
        f"where not exists (select from {staging(table)} as staged where staged.id = held.id and not gone)"
    )


def _of(relation: str, columns: Sequence[str]) -> str:
    return ", ".join(f"{relation}.{column}" for column in columns)


def _pair(connection: psycopg.Connection, statement: str) -> tuple[int, int]:
    found = execute(connection, statement).fetchone()
    assert found is not None, "aggregates without groups give one row"
    return int(found[0]), int(found[1])
