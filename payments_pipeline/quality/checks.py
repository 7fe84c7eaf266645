"""Every check on a model, from its header or from a file of its own: SQL that returns bad rows, so that none means passed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from payments_pipeline.transform.models import Models, ModelSpec, Scope
from payments_pipeline.transform.reach import hashed
from payments_pipeline.transform.statements import name, text


@dataclass(frozen=True, slots=True)
class Check:
    """One gate: `sql` selects the bad rows of `model`, of which it `reads` these relations.

    After a change it need not see more than its `scope` says.
    """

    name: str
    model: str
    sql: str
    reads: tuple[str, ...]
    scope: Scope = "lake"
    severity: Literal["fail", "warn"] = "fail"


def checks_of(models: Models, *, reached: bool = False) -> Iterator[Check]:
    """Every check of every model, then those that stand in files of their own.

    With `reached` the references of linked rows are written for a lake of which only reached rows are shown.
    """
    for model in models.built:
        yield from header_checks(model, reached=reached)
    for check in models.checks:
        about = ", ".join(check.depends_on)
        yield Check(check.name, about, check.sql, check.depends_on, check.scope, check.severity)


def promises(models: Models) -> str:
    """A digest of all checks: it differs if a check was added, removed, or changed in what it asks or how strictly."""
    told = sorted(
        f"{check.model}\n{check.name}\n{check.severity}\n{check.sql}" for check in checks_of(models)
    )
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]


def header_checks(model: ModelSpec, *, reached: bool = False) -> Iterator[Check]:
    """What the model's header promises: grain, required columns, accepted values, references."""
    scope, reads = _scope(model), (model.qualified,)
    for check_name, sql in _own_promises(model):
        yield Check(check_name, model.qualified, sql, reads, scope)
    for column, target in model.references.items():
        relation, _, key = target.rpartition(".")
        sql = (
            f"select distinct model.{name(column)} from {model.qualified} as model "
            f"anti join {relation} as target on model.{name(column)} = target.{name(key)} "
            f"where model.{name(column)} is not null"
        )
        if reached and scope == "linked":
            sql += f" and {_is_missing(f'model.{name(column)}')}"
        wide: Scope = "linked" if scope == "linked" else "lake"
        yield Check(f"reference:{column}", model.qualified, sql, (*reads, relation), wide)


def _scope(model: ModelSpec) -> Scope:
    """Silver is merged object by object: a row of it depends on its own object only."""
    return "linked" if model.layer == "silver" else model.scope


def _is_missing(column: str) -> str:
    """Whether an id that is not shown ought to be: it was reached, or the lake has no such object at all.

    An object that is there and was not reached is as it was when it was audited.
    """
    return (
        f"({hashed(column)} in (from built.reached) "
        f"or {hashed(column)} not in (select object from links.everything))"
    )


def _own_promises(model: ModelSpec) -> Iterator[tuple[str, str]]:
    """(name, SQL) of what the model's rows promise of themselves."""
    grain = ", ".join(name(column) for column in model.grain)
    yield "grain", f"select {grain} from {model.qualified} group by all having count(*) > 1"
    required = sorted({*model.not_null, *model.grain})
    missing = ", ".join(f"case when {name(column)} is null then {text(column)} end" for column in required)
    conditions = " or ".join(f"{name(column)} is null" for column in required)
    yield (
        "not_null",
        f"select {grain}, concat_ws(', ', {missing}) as missing from {model.qualified} where {conditions}",
    )
    for column, values in model.accepted.items():
        accepted = ", ".join(text(value) for value in values)
        yield (
            f"accepted:{column}",
            f"select {grain}, {name(column)} from {model.qualified} where {name(column)} not in ({accepted})",
        )
