"""Every check on a model, from its header or from a file of its own: SQL that returns bad rows, so that none means passed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from payments_pipeline.transform.models import Models, ModelSpec
from payments_pipeline.transform.statements import name, text


@dataclass(frozen=True, slots=True)
class Check:
    """One gate: `sql` selects the bad rows of `model`."""

    name: str
    model: str
    sql: str
    severity: Literal["fail", "warn"] = "fail"


def checks_of(models: Models) -> Iterator[Check]:
    """Every check of every model, then those that stand in files of their own."""
    for model in models.built:
        yield from header_checks(model)
    for check in models.checks:
        yield Check(check.name, ", ".join(check.depends_on), check.sql, check.severity)


def header_checks(model: ModelSpec) -> Iterator[Check]:
    """What the model's header promises: grain, required columns, accepted values, references."""
    grain = ", ".join(name(column) for column in model.grain)
    yield Check(
        "grain", model.qualified, f"select {grain} from {model.qualified} group by all having count(*) > 1"
    )
    required = sorted({*model.not_null, *model.grain})
    missing = ", ".join(f"case when {name(column)} is null then {text(column)} end" for column in required)
    yield Check(
        "not_null",
        model.qualified,
        f"select {grain}, concat_ws(', ', {missing}) as missing from {model.qualified} "
        f"where {' or '.join(f'{name(column)} is null' for column in required)}",
    )
    for column, values in model.accepted.items():
        accepted = ", ".join(text(value) for value in values)
        yield Check(
            f"accepted:{column}",
            model.qualified,
            f"select {grain}, {name(column)} from {model.qualified} where {name(column)} not in ({accepted})",
        )
    for column, target in model.references.items():
        relation, _, key = target.rpartition(".")
        yield Check(
            f"reference:{column}",
            model.qualified,
            f"select distinct model.{name(column)} from {model.qualified} as model "
            f"anti join {relation} as target on model.{name(column)} = target.{name(key)} "
            f"where model.{name(column)} is not null",
        )
