"""Every check on a model, from its header or from a file of its own: SQL that returns bad rows, so that none means passed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from payments_pipeline.transform.models import Models, ModelSpec, Scope
from payments_pipeline.transform.reach import hashed
from payments_pipeline.transform.statements import name, text


@dataclass(frozen=True, slots=True)
class Question:
    """What a header promises of a relation, in a form in which many are asked at once.

    `about` is a condition that no row fulfils, the columns that no two rows share, or a column whose values are all
    in the `target` ("layer.model.column"); with `reached` a value that ought not to be shown may be missing there.
    """

    kind: Literal["condition", "grain", "reference"]
    relation: str
    about: str
    target: str = ""
    reached: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """One gate: `sql` selects the bad rows of `model`, of which it `reads` these relations.

    After a change it need not see more than its `scope` says. The first of `reads` has the rows that a header's
    `question` is about.
    """

    name: str
    model: str
    sql: str
    reads: tuple[str, ...]
    scope: Scope = "lake"
    severity: Literal["fail", "warn"] = "fail"
    question: Question | None = None


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
    told += [f"{model.qualified}\nschema\n{sorted(model.columns)}" for model in models.built]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]


def header_checks(model: ModelSpec, *, reached: bool = False) -> Iterator[Check]:
    """What the model's header promises: grain, required columns, accepted values, references."""
    scope, reads = _scope(model), (model.qualified,)
    for check_name, sql, question in _own_promises(model):
        yield Check(check_name, model.qualified, sql, reads, scope, question=question)
    for column, target in model.references.items():
        relation, _, key = target.rpartition(".")
        sql = (
            f"select distinct model.{name(column)} from {model.qualified} as model "
            f"anti join {relation} as target on model.{name(column)} = target.{name(key)} "
            f"where model.{name(column)} is not null"
        )
        linked = scope == "linked"
        if reached and linked:
            sql += f" and {_is_missing(f'model.{name(column)}')}"
        question = Question("reference", model.qualified, name(column), target, reached and linked)
        wide: Scope = "linked" if linked else "lake"
        yield Check(f"reference:{column}", model.qualified, sql, (*reads, relation), wide, question=question)


def asked_together(checks: Sequence[Check]) -> Iterator[tuple[str, ...]]:
    """Few statements for all checks with a question: each selects the places in `checks` of some that have bad rows.

    DuckDB plans each of them in the time of one check. Rows with equal columns have equal hashes, so no bad row of
    a grain is overlooked. Of a tuple the next is to be asked only if the one before named any; whoever is named by
    the last must be asked again, alone.
    """
    conditions: dict[str, list[str]] = {}
    grains: list[str] = []
    references: dict[tuple[str, bool], list[str]] = {}
    for place, check in enumerate(checks):
        match check.question:
            case Question("condition", relation, about):
                found = f"case when bool_or({about}) then {place} end"
                conditions.setdefault(relation, []).append(found)
            case Question("grain", relation, about):
                grains.append(f"select {place} as place, hash({about}) as row from {relation}")
            case Question("reference", relation, about, target, reached):
                ids = f"select {place} as place, {about} as id from {relation}"
                references.setdefault((target, reached), []).append(ids)
    if conditions:
        rows = _union(
            f"select unnest([{', '.join(of)}]) as place from {relation}"
            for relation, of in conditions.items()
        )
        yield (f"select place from ({rows}) where place is not null",)
    if grains:
        yield (f"select distinct place from ({_union(grains)}) group by place, row having count(*) > 1",)
    for (target, reached), columns in references.items():
        relation, _, key = target.rpartition(".")
        absent = (
            f"select distinct place from ({_union(columns)}) as model "
            f"anti join {relation} as target on model.id = target.{name(key)} where model.id is not null"
        )
        yield (absent, f"{absent} and {_is_missing('model.id')}") if reached else (absent,)


def _union(selects: Iterable[str]) -> str:
    return " union all ".join(selects)


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


def _own_promises(model: ModelSpec) -> Iterator[tuple[str, str, Question]]:
    """(name, SQL, question) of what the model's rows promise of themselves."""
    grain = ", ".join(name(column) for column in model.grain)
    yield (
        "grain",
        f"select {grain} from {model.qualified} group by all having count(*) > 1",
        Question("grain", model.qualified, grain),
    )
    required = sorted({*model.not_null, *model.grain})
    missing = ", ".join(f"case when {name(column)} is null then {text(column)} end" for column in required)
    conditions = " or ".join(f"{name(column)} is null" for column in required)
    yield (
        "not_null",
        f"select {grain}, concat_ws(', ', {missing}) as missing from {model.qualified} where {conditions}",
        Question("condition", model.qualified, conditions),
    )
    for column, values in model.accepted.items():
        wrong = f"{name(column)} not in ({', '.join(text(value) for value in values)})"
        yield (
            f"accepted:{column}",
            f"select {grain}, {name(column)} from {model.qualified} where {wrong}",
            Question("condition", model.qualified, wrong),
        )
