"""DuckDB as the engine: what each step of a build is in its SQL."""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from payments_pipeline.entities import EntitySpec
from payments_pipeline.errors import ModelError, UsageError
from payments_pipeline.transform import lines, noted, reach, reading, statements
from payments_pipeline.transform.connection import Connection, EngineOptions, about, explained, in_one_line
from payments_pipeline.transform.engine import BatchCounts, PartitionDigest, Result, UnreadableLines
from payments_pipeline.transform.models import ModelSpec
from payments_pipeline.transform.months import grouped
from payments_pipeline.transform.names import relations_in
from payments_pipeline.transform.statements import built_table as _built
from payments_pipeline.transform.statements import name as _name
from payments_pipeline.transform.statements import text as _text

if TYPE_CHECKING:
    from payments_pipeline.transform.lazy import LazyDataset

_SCHEMAS = ("bronze", "silver", "gold", "marts", "links", "built")
_FILES_AT_ONCE = 25
"""Bronze files whose ids are noted together: what they refer to is in memory until it is noted."""
_BYTES_IN_MEMORY = 4 * 2**30
"""Bronze of an entity that is larger is read into a file of DuckDB's."""
_BYTES_READ_ONCE = 64 * 2**20
"""Of an entity; bronze that the audit asks several times is kept in memory, if it is not more."""
_IDS_AT_ONCE = 1_000_000
"""About so many ids are looked through together for those that come twice."""
_ROWS_SORTED = 3 * 122_880
"""So many rows are sorted together, three row groups; of more, those of some months after another."""
_WANTED_AT_ONCE = 100_000
"""About so many ids that objects refer to are held in memory; then they go to a file in scratch."""


class DuckDBEngine:
    """An in-memory DuckDB that can touch nothing but the given folders: no network, no extensions."""

    version = f"duckdb {duckdb.__version__}"

    def __init__(
        self,
        specs: Iterable[EntitySpec],
        *,
        folders: Sequence[Path],
        scratch: Path,
        options: EngineOptions | None = None,
    ) -> None:
        self._connection = Connection([*folders, scratch], scratch, options or EngineOptions())
        self._scratch = scratch
        self._wanted = 0
        self._put_aside: list[Path] = []
        self._views: dict[str, str] = {}
        self._empty: dict[str, str] = {}
        self._kept: set[str] = set()
        self._whole: dict[str, str] = {}
        for schema in _SCHEMAS:
            self._run(f"create schema {schema}")
        self._run(reach.TABLES)
        self._run(noted.NOTED)
        entities = [*specs]
        for spec in entities:
            self._run(lines.empty_bronze(spec))
            self._run(reach.no_links(spec.name))
        self._entities = tuple(spec.name for spec in entities)

    def load_bronze(self, spec: EntitySpec, files: Sequence[Path]) -> BatchCounts:
        self._widen(spec)
        if not files:
            self._run(lines.empty_bronze(spec))
            return BatchCounts(0, 0)
        try:
            table = self._table_for(spec, files)
            [(read,)] = self._run(
                lines.lines(spec, table), reading.parameters(spec, files), in_any_order=True
            )
        except (duckdb.InvalidInputException, duckdb.ConversionException) as error:
            raise UnreadableLines(f"bronze of {spec.name}: {error}") from error
        self._run(lines.REPEATED)
        parts = int(str(read)) // _IDS_AT_ONCE + 1
        if [self._run(lines.repeated(table, part, parts)) for part in range(parts)] != [[(0,)]] * parts:
            self._run(lines.latest_lines(spec, table))
        [(current,)] = self._run(f"select count(*) from {table}")
        if spec.name in self._whole:
            self._view(f"bronze.{_name(spec.name)}", f"select * from {table}")
        return BatchCounts(int(str(read)), int(str(current)))

    def months(self, spec: EntitySpec) -> Mapping[str, int]:
        return self._counted(lines.months(spec))

    def narrow(self, spec: EntitySpec, first: str, last: str) -> None:
        shown, whole = f"bronze.{_name(spec.name)}", _name(f"all {spec.name}")
        if spec.name not in self._whole:
            self._run(f"alter table {shown} rename to {whole}")
            self._whole[spec.name] = f"bronze.{whole}"
        self._view(shown, lines.narrowed(spec, self._whole[spec.name], first, last))

    def touched(self, spec: EntitySpec) -> frozenset[str]:
        return frozenset(str(dt) for (dt,) in self._run(reach.touched(spec.name)))

    def merge(
        self, model: ModelSpec, spec: EntitySpec, existing: Sequence[Path], *, aligned: bool = False
    ) -> None:
        self.show(model, existing, aligned=aligned)
        with about(model):
            self._view("built.existing", f"select * from {model.qualified}")
            self._keep(model, statements.merged(model, spec) if existing else statements.added(model))

    def link(
        self,
        links: ModelSpec,
        silver: Sequence[ModelSpec],
        existing: Sequence[Path],
        *,
        dts: Iterable[str],
    ) -> None:
        self._view("built.existing", self._rows_of(links, existing))
        self._keep(links, reach.links(links, silver, self._columns(_built(silver[0])), dts))

    def build(self, model: ModelSpec) -> None:
        with about(model):
            [(made,)] = self._run(statements.unsorted(model), in_any_order=True)
            many = int(str(made)) > _ROWS_SORTED
            self._keep(model, statements.built(model, empty=many))
            for months in grouped(self._counted(statements.MONTHS), _ROWS_SORTED) if many else ():
                self._run(statements.built_months(model, months[0], months[-1]))
            self._run("drop table built.unsorted")

    def remake(self, model: ModelSpec, existing: Sequence[Path]) -> frozenset[str]:
        with about(model):
            self._view("built.existing", self._rows_of(model, existing))
            [(made,)] = self._run(reach.fresh(model))
            if not made and not existing:
                return frozenset()
            [(strays,)] = self._run(reach.STRAYS)
            self._run(reach.places_of(model))
            self._keep(model, reach.remade(model))
            dts = frozenset(str(dt) for (dt,) in self._run("from built.places"))
        if strays:
            raise ModelError(
                f"sql/{model.layer}/{model.name}.sql makes {strays} row(s) that nothing changed is linked to: its scope "
                'is not "linked". Nothing was published; correct the header.'
            )
        return dts

    def digests(self, model: ModelSpec) -> Mapping[str, PartitionDigest]:
        rows = self._run(statements.digests(model, self._columns(_built(model))))
        return {
            str(dt): PartitionDigest(
                int(str(count)), f"{int(str(sum_)):032x}", None if unsettled is None else int(str(unsettled))
            )
            for dt, count, sum_, unsettled in rows
        }

    def write(self, model: ModelSpec, paths: Mapping[str, Path]) -> Generator[str, None, None]:
        copies = {dt: statements.written(model, dt, str(path)) for dt, path in paths.items()}
        with about(model), explained("the transformation"):
            yield from self._connection.run_all(copies)

    def show(self, model: ModelSpec, files: Sequence[Path], *, aligned: bool = False) -> None:
        with about(model):
            if aligned and files:
                self._align(model, files)
            else:
                self._view(model.qualified, self._rows_of(model, files))
            self._drop(model)

    def show_lazily(self, model: ModelSpec, dataset: LazyDataset, like: Path) -> None:
        relation = f"{model.qualified} elsewhere"
        self._connection.register(relation, dataset)
        columns = statements.typed(self._columns(f"({self._reading([like])})"))
        self._view(model.qualified, f"select {columns} from {_name(relation)}")

    def shows(self, name: str) -> bool:
        return name in self._views

    def show_reached(self, model: ModelSpec, files: Sequence[Path]) -> None:
        with about(model):
            shown = self._rows_of(model, [])
            if files:
                reached = f"built.{_name(f'reached {model.qualified}')}"
                found = f"from ({self._reading(files)}) where {reach.is_reached(model)}"
                self._run(f"create or replace table {reached} as {found}")
                shown = f"select * from {reached}"
            self._view(model.qualified, shown)
            self._drop(model)

    def note_changed(self, model: ModelSpec, before: Sequence[Path], after: Sequence[Path]) -> None:
        sides = [self._rows_of(model, files) for files in (before, after)]
        columns = self._columns(sides[1] if after else sides[0])
        self._run(reach.changed(model, columns, *sides))

    def reach(self) -> Mapping[str, frozenset[str]]:
        self._view("links.everything", reach.everything(self._entities))
        self._run(reach.START)
        while self._run("select 1 from built.frontier limit 1"):
            self._run(reach.STEP)
            self._run(reach.ADVANCE)
        found: dict[str, set[str]] = {}
        for entity, dt in self._run(reach.PLACES):
            found.setdefault(str(entity), set()).add(str(dt))
        return {entity: frozenset(dts) for entity, dts in found.items()}

    def forget_changes(self) -> None:
        self._run("delete from built.changed; delete from built.reached")

    def show_plainly(self, spec: EntitySpec, files: Sequence[Path]) -> None:
        shown = reading.read_plainly(spec, files)
        if sum(path.stat().st_size for path in files) <= _BYTES_READ_ONCE:
            table = f"built.{_name(f'lines of {spec.name}')}"
            self._run(f"create or replace table {table} as {shown}")
            shown = f"from {table}"
        self._view(reading.plain_lines(spec.name), shown)

    def places(self, spec: EntitySpec) -> frozenset[str]:
        return frozenset(str(dt) for (dt,) in self._run(reach.places(spec.name)))

    def unexplained(self, model: ModelSpec, *, observed: bool) -> int:
        [(count,)] = self._run(reach.unexplained(model, observed=observed))
        return int(str(count))

    def count_new(self, model: ModelSpec, spec: EntitySpec) -> int:
        known = f"select {_name(model.key)} from built.existing"
        [(count,)] = self._run(f"select count(*) from bronze.{_name(spec.name)} where id not in ({known})")
        return int(str(count))

    def named_in(self, sql: str) -> frozenset[str] | None:
        [(tree,)] = self._run("select json_serialize_sql($sql)", {"sql": sql})
        return relations_in(json.loads(str(tree)))

    def query(self, sql: str) -> Result:
        try:
            if not self._connection.is_one_select(sql):
                raise UsageError(
                    "the query must be one SELECT (or FROM, VALUES, DESCRIBE, SUMMARIZE, SHOW); nothing was run."
                )
            with explained("the query"):
                return self._connection.run(sql, {})
        except duckdb.Error as error:
            raise UsageError(f"the query cannot be run: {in_one_line(error)}") from error

    def unreconciled(self, spec: EntitySpec, model: ModelSpec) -> list[tuple[object, ...]]:
        return self._run(statements.unreconciled(spec, model, reading.plain_lines(spec.name)))

    def collect_ids(self, spec: EntitySpec, files: Sequence[Path], *, observed: bool) -> None:
        read, own, wanted = noted.collect_ids(spec, observed=observed)
        for start in range(0, len(files), _FILES_AT_ONCE):
            self._run(read, reading.parameters(spec, files[start : start + _FILES_AT_ONCE]))
            self._run(own)
            [(count,)] = self._run(wanted)
            self._note_wanted(int(str(count)))

    def note_ids(self, spec: EntitySpec, own: Collection[str], wanted: Collection[tuple[str, str]]) -> None:
        self._run(noted.note_own(spec), {"ids": [*own]})
        if wanted:
            entities, ids = zip(*wanted, strict=True)
            self._run(noted.NOTE_WANTED, {"entities": [*entities], "ids": [*ids]})
            self._note_wanted(len(wanted))

    def missing_ids(self) -> Sequence[tuple[str, str]]:
        self._view("links.everything", reach.everything(self._entities))
        rows = self._run(noted.missing_ids(noted.wanted(self._put_aside)))
        return [(str(entity), str(object_id)) for entity, object_id in rows]

    def changed_ids(self, spec: EntitySpec, files: Sequence[Path]) -> Sequence[tuple[str, str, int | None]]:
        rows = self._run(noted.changed_ids(), reading.parameters(spec, files)) if files else []
        return [
            (str(entity), str(object_id), None if gone is None else int(str(gone)))
            for entity, object_id, gone in rows
        ]

    def shadowed_ids(self, spec: EntitySpec, files: Sequence[Path]) -> Sequence[tuple[str, str]]:
        sql = noted.shadowed_ids(spec) if files else None
        rows = self._run(sql, reading.parameters(spec, files)) if sql else []
        return [(str(entity), str(object_id)) for entity, object_id in rows]

    def unread_ids(
        self, spec: EntitySpec, files: Sequence[Path], *, unsettled: bool = False
    ) -> Sequence[str]:
        sql = noted.unread_ids(spec, unsettled=unsettled)
        return [str(row[0]) for row in self._run(sql, reading.parameters(spec, files))] if files else []

    def unobserved_ids(
        self, model: ModelSpec, spec: EntitySpec, since: int, *, unsettled: bool = False
    ) -> Sequence[str]:
        sql = noted.unobserved_ids(model, spec, unsettled=unsettled)
        return [str(object_id) for (object_id,) in self._run(sql, {"since": since})]

    def write_views(self, path: Path, relations: Mapping[str, Sequence[Path]]) -> None:
        self._run(f"attach {_text(str(path))} as views (storage_version 'v1.0.0')")
        layers = sorted({name.partition(".")[0] for name in relations})
        schemas = [f"create schema views.{layer}" for layer in layers]
        views = [
            f"create view views.{name} as {self._reading(files, hive=True) if files else self._typed_empty(name)}"
            for name, files in relations.items()
        ]
        self._run("; ".join(["begin", *schemas, *views, "commit"]))
        self._run("detach views")

    def close(self) -> None:
        self._connection.close()

    def _widen(self, spec: EntitySpec) -> None:
        """Forget what was narrowed, or is in a file."""
        shown = f"bronze.{_name(spec.name)}"
        if whole := self._whole.pop(spec.name, None):
            self._run(f"drop view if exists {shown}; drop table if exists {whole}")
            self._views.pop(shown, None)

    def _table_for(self, spec: EntitySpec, files: Sequence[Path]) -> str:
        """Where bronze goes: much of it to a database in scratch, or the remains of its many files would fill memory."""
        shown = f"bronze.{_name(spec.name)}"
        if sum(path.stat().st_size for path in files) <= _BYTES_IN_MEMORY:
            return shown
        self._run(f"drop table if exists {shown}")
        self._run(f"attach if not exists {_text(str(self._scratch / 'bronze.duckdb'))} as large")
        self._whole[spec.name] = f"large.main.{_name(spec.name)}"
        return self._whole[spec.name]

    def _note_wanted(self, count: int) -> None:
        """Count what was just added to what is wanted; when that is much, put it aside."""
        self._wanted += count
        if self._wanted > _WANTED_AT_ONCE:
            path = self._scratch / f"wanted-{secrets.token_hex(8)}.parquet"
            self._run(f"copy (select distinct * from built.wanted) to {_text(str(path))}")
            self._run("truncate built.wanted")
            self._wanted = 0
            self._put_aside.append(path)

    def _view(self, relation: str, select: str) -> None:
        """Let the relation be this view; if it is already, there is nothing to bind again."""
        if self._views.get(relation) != select:
            self._run(f"create or replace view {relation} as {select}")
            self._views[relation] = select

    def _keep(self, model: ModelSpec, build: str) -> None:
        """Run the statement that builds the model's table, which is there until the model is shown."""
        self._run(build)
        self._kept.add(_built(model))

    def _drop(self, model: ModelSpec) -> None:
        if _built(model) in self._kept:
            self._run(f"drop table {_built(model)}")
            self._kept.remove(_built(model))

    def _rows_of(self, model: ModelSpec, files: Sequence[Path]) -> str:
        """A SELECT of what the files hold; if there are none, of an empty table that is typed by the model's SQL once."""
        if files:
            return self._reading(files)
        table = f"built.{_name(f'no {model.qualified}')}"
        empty = statements.empty_of(model)
        if self._empty.get(table) != empty:
            self._run(f"create or replace table {table} as {empty}")
            self._empty[table] = empty
        return f"select * from {table}"

    def _align(self, model: ModelSpec, files: Sequence[Path]) -> None:
        """Show the files with the columns that the model's SQL has now, and see that every value fits."""
        empty = self._rows_of(model, [])
        now = self._columns(empty)
        self._view(
            model.qualified,
            f"select {statements.typed(now)} from (({empty}) union all by name {self._reading(files)})",
        )
        self._run(f"select max(hash(shown)) from {model.qualified} as shown")

    def _reading(self, files: Sequence[Path], *, hive: bool = False) -> str:
        listed = ", ".join(_text(str(file)) for file in files)
        kind = "hive_partitioning = true, hive_types = {'dt': date}" if hive else "hive_partitioning = false"
        return f"select * from read_parquet([{listed}], {kind})"

    def _typed_empty(self, relation: str) -> str:
        columns = [f"null::{kind} as {_name(name)}" for name, kind in self._columns(relation).items()]
        return f"select {', '.join(columns)}, null::date as dt where false"

    def _counted(self, sql: str) -> dict[str, int]:
        return {str(name): int(str(count)) for name, count in self._run(sql)}

    def _columns(self, relation: str) -> dict[str, str]:
        return self.query(f"describe {relation}").pairs()

    def _run(
        self, sql: str, parameters: Mapping[str, object] | None = None, *, in_any_order: bool = False
    ) -> list[tuple[object, ...]]:
        with explained("the transformation"):
            return self._connection.run(sql, parameters or {}, in_any_order=in_any_order).rows
