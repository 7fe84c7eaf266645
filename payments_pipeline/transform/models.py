"""Model files: what stands under sql/, read, validated and put in the order it must be built.

A model file is a TOML header in `/* */` followed by one SELECT. Its folder is its layer (silver, gold, marts,
checks), its file name its name. What it depends on is read from the SQL: every `<layer>.<name>` it mentions.
"""

from __future__ import annotations

import graphlib
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pydantic

from payments_pipeline.entities import ENTITIES
from payments_pipeline.errors import ModelError, UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

__all__ = ["LAYERS", "ModelSpec", "Models", "Scope", "discover", "links_of", "sql_root"]

Scope = Literal["linked", "day", "lake"]

LAYERS: Mapping[str, frozenset[str]] = {
    "silver": frozenset({"bronze"}),
    "gold": frozenset({"silver", "gold"}),
    "marts": frozenset({"silver", "gold", "marts"}),
    "checks": frozenset({"silver", "gold", "marts"}),
}
"""The folders under sql/ in build order, each with the layers its files may read."""

_FILE = re.compile(r"\A\s*/\*(?P<header>.*?)\*/(?P<sql>.*)\Z", re.DOTALL)
_NOT_CODE = re.compile(r"/\*.*?\*/|--[^\n]*|'(?:[^']|'')*'", re.DOTALL)
_RELATION = re.compile(r"\b(bronze|silver|gold|marts)\.(\w+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One file under sql/: its SELECT and what its header promises about the rows.

    `grain` columns identify a row. `accepted` lists the values a column may hold, `references` the
    "layer.model.column" its non-null values must be found in. A silver merge replaces old rows whose
    `replace_by` value comes again; a child table names the bronze relation of its `parent`, each of whose rows
    replaces all earlier children. A check (layer "checks") selects bad rows, and only `description`,
    `severity`, `scope` and `depends_on` apply to it.

    `links` (silver) are the columns whose ids tie a row to others that gold reads together with it. `scope` says
    what a gold row, or a bad row of a check, can depend on, and so how much a run must read: on the rows `linked`
    to its own, on the partitions of the same `day`, or on the whole `lake`. A row of a `linked` model is known by
    the id in its first grain column, and lies in the partition of an object it is linked to.
    """

    layer: str
    name: str
    sql: str
    description: str
    depends_on: tuple[str, ...]
    severity: Literal["fail", "warn"] = "fail"
    grain: tuple[str, ...] = ()
    partition_by: str | None = None
    not_null: tuple[str, ...] = ()
    accepted: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    references: Mapping[str, str] = field(default_factory=dict)
    replace_by: str | None = None
    parent: str | None = None
    links: tuple[str, ...] = ()
    scope: Scope = "lake"
    columns: Mapping[str, str] = field(default_factory=dict)
    caveats: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The column with the id by which a row is replaced: an object's own, or its parent's."""
        return self.replace_by or self.grain[0]

    @property
    def entity(self) -> str:
        """The entity whose bronze a silver model reads."""
        return self.parent or self.name

    @property
    def qualified(self) -> str:
        """The name SQL knows the model by, e.g. "gold.fct_payments"."""
        return f"{self.layer}.{self.name}"


@dataclass(frozen=True, slots=True)
class Models:
    """Everything under one sql/ folder: `built` in an order in which each follows what it reads, and `checks`."""

    built: tuple[ModelSpec, ...]
    checks: tuple[ModelSpec, ...]

    @property
    def links(self) -> tuple[ModelSpec, ...]:
        """One for every entity: where its objects are and which others they are tied to."""
        return tuple(
            links_of(*self.silver(model.name)) for model in self.layer("silver") if model.parent is None
        )

    def silver(self, entity: str) -> tuple[ModelSpec, ...]:
        """The silver models of an entity: its own first, then its child tables; none if it has none."""
        found = [model for model in self.layer("silver") if model.entity == entity]
        return tuple(sorted(found, key=lambda model: model.parent is not None))

    def layer(self, name: str) -> tuple[ModelSpec, ...]:
        """The models of one layer, in build order."""
        return tuple(model for model in (*self.built, *self.checks) if model.layer == name)

    def entities(self, names: Collection[str]) -> Iterator[str]:
        """The entities whose silver models or links are among these qualified names."""
        for model in (*self.layer("silver"), *self.links):
            if model.qualified in names:
                yield model.entity

    def get(self, qualified: str) -> ModelSpec:
        """The model of that qualified name; raises UsageError naming the known ones."""
        for model in (*self.built, *self.checks):
            if model.qualified == qualified:
                return model
        known = ", ".join(model.qualified for model in self.built)
        raise UsageError(f"model {qualified!r} is not known; known: {known}")


def links_of(model: ModelSpec, *children: ModelSpec) -> ModelSpec:
    """The links of a silver model's objects: the partition `dt` of each, and hashes of its id and of what it links to.

    The ids of its `children` are among the latter: two objects that claim the same child are seen together.

    Partitioned by the month of `dt`. They hold nothing that silver does not: with them a run finds the rows it
    must read without looking through all of them.
    """
    return ModelSpec(
        layer="links",
        name=model.name,
        sql="select null::varchar as dt, null::ubigint as object, null::ubigint[] as refs",
        description=f"Where the {model.name} are",
        depends_on=(model.qualified,),
        grain=("dt", "object"),
        links=(*model.links, *(f"{child.name}.{child.grain[0]}" for child in children)),
    )


def sql_root() -> Path:
    """The folder of model files: packaged in an installed wheel, the repository's own in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for root in (package / "sql", package.parent / "sql"):
        if root.is_dir():
            return root
    raise ModelError(f"no model files: neither {package / 'sql'} nor {package.parent / 'sql'} is a folder")


def discover(root: Path) -> Models:
    """Read every model file under `root`; raises ModelError naming the file and the key that is wrong."""
    models = [_read(path, layer) for layer in LAYERS for path in sorted((root / layer).glob("*.sql"))]
    by_name = {model.qualified: model for model in models}
    for model in models:
        for problem in _problems(model, by_name):
            raise ModelError(f"{root / model.layer / model.name}.sql: {problem}")
    checks = tuple(model for model in models if model.layer == "checks")
    return Models(built=tuple(by_name[name] for name in _build_order(by_name)), checks=checks)


class _CheckHeader(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    description: str = pydantic.Field(min_length=1)
    severity: Literal["fail", "warn"] = "fail"
    scope: Scope = "lake"


class _ModelHeader(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    description: str = pydantic.Field(min_length=1)
    grain: tuple[str, ...] = pydantic.Field(min_length=1)
    columns: dict[str, str] = pydantic.Field(min_length=1)
    partition_by: str | None = None
    not_null: tuple[str, ...] = ()
    accepted: dict[str, tuple[str, ...]] = pydantic.Field(default_factory=dict)
    references: dict[str, str] = pydantic.Field(default_factory=dict)
    replace_by: str | None = None
    parent: str | None = None
    links: tuple[str, ...] = ()
    scope: Scope = "lake"
    caveats: tuple[str, ...] = ()


def _read(path: Path, layer: str) -> ModelSpec:
    match = _FILE.match(path.read_text(encoding="utf-8"))
    if match is None:
        raise ModelError(f"{path}: must begin with a TOML header in /* */")
    kind = _CheckHeader if layer == "checks" else _ModelHeader
    try:
        header = kind.model_validate(tomllib.loads(match["header"]))
    except tomllib.TOMLDecodeError as exc:
        raise ModelError(f"{path}: header: {exc}") from exc
    except pydantic.ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        raise ModelError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from exc
    values = {name: getattr(header, name) for name in kind.model_fields}
    if layer == "silver" and values["replace_by"] is None:
        values["replace_by"] = values["grain"][0]
    sql = match["sql"].strip()
    return ModelSpec(layer=layer, name=path.stem, sql=sql, depends_on=_relations(sql), **values)


def _relations(sql: str) -> tuple[str, ...]:
    """Every `<layer>.<name>` outside comments and strings, sorted: the layers' names are reserved for this."""
    code = _NOT_CODE.sub(" ", sql)
    return tuple(sorted({f"{layer}.{name}".lower() for layer, name in _RELATION.findall(code)}))


def _problems(model: ModelSpec, by_name: Mapping[str, ModelSpec]) -> Iterator[str]:
    if ";" in _NOT_CODE.sub(" ", model.sql):
        yield "sql: must be a single SELECT without a semicolon"
    yield from _wrong_dependencies(model, by_name)
    yield from _unknown_columns(model)
    for column, target in model.references.items():
        relation, _, target_column = target.rpartition(".")
        if relation not in by_name or target_column not in by_name[relation].columns:
            yield f"references.{column}: {target!r} is not a layer.model.column under sql/"


def _wrong_dependencies(model: ModelSpec, by_name: Mapping[str, ModelSpec]) -> Iterator[str]:
    if not model.depends_on:
        yield "sql: reads no model"
    for name in model.depends_on:
        layer, _, stem = name.partition(".")
        if layer not in LAYERS[model.layer]:
            yield f"sql: a file in {model.layer}/ may not read {name}"
        if name not in by_name and not (layer == "bronze" and stem in ENTITIES):
            yield f"sql: {name} does not exist"
    if model.layer != "silver":
        if model.parent or model.replace_by or model.links:
            yield "parent, replace_by, links: only silver models have them"
        if model.scope != "lake":
            yield from _out_of_scope(model, by_name)
    elif model.depends_on != (f"bronze.{model.entity}",):
        yield f"sql: must read exactly bronze.{model.entity}, reads {', '.join(model.depends_on)}"


def _out_of_scope(model: ModelSpec, by_name: Mapping[str, ModelSpec]) -> Iterator[str]:
    """What is built from parts can only be read from what is: silver, or models of the same scope."""
    for name in model.depends_on:
        found = by_name.get(name)
        if found is not None and found.layer != "silver" and found.scope not in {model.scope, "linked"}:
            yield f"scope: {model.scope!r} cannot hold, it reads {name}, whose scope is {found.scope!r}"


def _unknown_columns(model: ModelSpec) -> Iterator[str]:
    named = {
        "grain": model.grain,
        "not_null": model.not_null,
        "accepted": tuple(model.accepted),
        "references": tuple(model.references),
        "partition_by": (model.partition_by,) if model.partition_by else (),
        "replace_by": (model.replace_by,) if model.replace_by else (),
        "links": model.links,
    }
    for key, columns in named.items():
        for column in columns:
            if column not in model.columns:
                yield f"{key}: {column!r} is not among [columns]"


def _build_order(by_name: Mapping[str, ModelSpec]) -> Iterator[str]:
    built = {name: model for name, model in by_name.items() if model.layer != "checks"}
    graph = {name: [read for read in model.depends_on if read in built] for name, model in built.items()}
    sorter = graphlib.TopologicalSorter(graph)
    try:
        sorter.prepare()
    except graphlib.CycleError as exc:
        raise ModelError(f"models read each other in a circle: {' -> '.join(exc.args[1])}") from exc
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        yield from ready
        sorter.done(*ready)
