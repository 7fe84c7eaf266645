"""What the pipeline asks of a SQL engine; a new engine is one module, and the same tests run on it."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from payments_pipeline.entities import EntitySpec
from payments_pipeline.errors import PipelineError
from payments_pipeline.transform.models import ModelSpec

if TYPE_CHECKING:
    from payments_pipeline.transform.lazy import LazyDataset


class UnreadableLines(PipelineError):
    """Some line of the bronze files cannot be read with the declared columns."""


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """`lines` read from bronze files, and the `current` objects (one per id) they came down to."""

    lines: int
    current: int


@dataclass(frozen=True, slots=True)
class PartitionDigest:
    """The rows of one partition: their number and an order-free digest of their business columns.

    Columns that begin with `_` (when a row was observed) do not count: the same objects observed in
    another run have the same digest. `unsettled` is how many may yet change without an event saying so; None
    if no event is needed, or all changes have one.
    """

    rows: int
    digest: str
    unsettled: int | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """A query's answer: column names and rows."""

    columns: tuple[str, ...]
    rows: list[tuple[object, ...]]

    def pairs(self) -> dict[str, str]:
        """The first two columns as text: what `describe` says of names and types."""
        return {str(row[0]): str(row[1]) for row in self.rows}


class Engine(Protocol):
    """Builds models from files and writes partitions; holds no state that matters beyond one run.

    Links made by one `version` mean nothing to another.
    """

    version: str

    def load_bronze(self, spec: EntitySpec, files: Sequence[Path]) -> BatchCounts:
        """Make `bronze.<entity>` the latest observation per id in the files; `UnreadableLines` if one is broken."""

    def months(self, spec: EntitySpec) -> Mapping[str, int]:
        """How many objects `bronze.<entity>` has of each month of their creation, "1970-01" for none, in order."""

    def narrow(self, spec: EntitySpec, first: str, last: str) -> None:
        """Let `bronze.<entity>` show the objects of these months and those between them, until it is loaded again."""

    def touched(self, spec: EntitySpec) -> frozenset[str]:
        """The `dt`s of silver that `bronze.<entity>` changes: those of its objects now, and by the links shown until now."""

    def merge(
        self, model: ModelSpec, spec: EntitySpec, existing: Sequence[Path], *, aligned: bool = False
    ) -> None:
        """Build a silver model's touched partitions: `bronze.<entity>` merged into them as they exist, see `show`."""

    def link(
        self,
        links: ModelSpec,
        silver: Sequence[ModelSpec],
        existing: Sequence[Path],
        *,
        dts: Iterable[str],
    ) -> None:
        """Build the links of the months in `existing`: those of the partitions `dts` from silver just built.

        `silver` is the entity's model and after it those of its children.
        """

    def build(self, model: ModelSpec) -> None:
        """Build a gold model or mart whole, from the relations that are shown."""

    def remake(self, model: ModelSpec, existing: Sequence[Path]) -> frozenset[str]:
        """Build the partitions of a linked model in which something reached lies, from what is shown and what exists.

        Returns their `dt`s. `ModelError` if its SQL makes rows that were not reached.
        """

    def digests(self, model: ModelSpec) -> Mapping[str, PartitionDigest]:
        """What was built, by `dt`."""

    def write(self, model: ModelSpec, paths: Mapping[str, Path]) -> Generator[str, None, None]:
        """Write built partitions, by `dt`, as Parquet sorted by the model's grain; each `dt` once its file is there.

        Close it if you leave early: until then other files are being written.
        """

    def show(self, model: ModelSpec, files: Sequence[Path], *, aligned: bool = False) -> None:
        """Let SQL see the files as `<layer>.<model>`; a typed, empty relation when there are none.

        With `aligned`, files of another version of the model are shown with its present columns, by name: NULL
        where a file has none; `ModelError` if a value is not of the column's type.
        """

    def show_lazily(self, model: ModelSpec, dataset: LazyDataset, like: Path) -> None:
        """Like `show`, but a statement fetches what it needs; types are those of the file `like`, whose footer is enough."""

    def shows(self, name: str) -> bool:
        """Whether SQL finds a relation of that qualified name."""

    def show_reached(self, model: ModelSpec, files: Sequence[Path]) -> None:
        """Like `show`, but only the rows that `reach` found."""

    def note_changed(self, model: ModelSpec, before: Sequence[Path], after: Sequence[Path]) -> None:
        """Note the keys of rows that differ between the partitions before and after."""

    def reach(self) -> Mapping[str, frozenset[str]]:
        """Find all objects linked to noted changes of silver, over any number of links shown; their `dt`s by entity."""

    def forget_changes(self) -> None:
        """Nothing is changed, nothing reached."""

    def show_plainly(self, spec: EntitySpec, files: Sequence[Path]) -> None:
        """Let `places`, `unexplained` and `unreconciled` see the lines of these bronze files, read without declared columns."""

    def places(self, spec: EntitySpec) -> frozenset[str]:
        """The `dt`s at which the links shown have the objects of the lines shown."""

    def unexplained(self, model: ModelSpec, *, observed: bool) -> int:
        """How many noted changes of a linked model were not reached; of a silver one, are of objects not in the lines shown.

        Unless lines of its entity were `observed`, that is all of them.
        """

    def count_new(self, model: ModelSpec, spec: EntitySpec) -> int:
        """How many objects of `bronze.<entity>` the partitions that were just merged with did not hold."""

    def named_in(self, sql: str) -> frozenset[str] | None:
        """The qualified names, in lower case, of everything that a statement can read; None if it cannot be told."""

    def query(self, sql: str) -> Result:
        """Run one statement over what is shown; `UsageError` if the engine refuses it."""

    def unreconciled(self, spec: EntitySpec, model: ModelSpec) -> list[tuple[object, ...]]:
        """What differs between the lines and the silver model that are shown.

        A row per (created date, currency): objects and sum of amounts in the lines' latest states, and in silver.
        """

    def collect_ids(self, spec: EntitySpec, files: Sequence[Path], *, observed: bool) -> None:
        """Note the ids that bronze files hold and the ids that their objects refer to.

        `observed` marks them as read by this very run.
        """

    def note_ids(self, spec: EntitySpec, own: Collection[str], wanted: Collection[tuple[str, str]]) -> None:
        """Note what `collect_ids` would find in files that this very run has written: their own ids, and (entity, id) that their objects refer to."""

    def missing_ids(self) -> Sequence[tuple[str, str]]:
        """(entity, id) of every object that was referred to, was not collected and has no link shown, sorted."""

    def changed_ids(self, spec: EntitySpec, files: Sequence[Path]) -> Sequence[tuple[str, str, int | None]]:
        """(entity, id, deleted at) of every object named by an event in `files`, for events without a link shown.

        Objects observed by this run are left out; the time is that of an event that says it was deleted.
        """

    def shadowed_ids(self, spec: EntitySpec, files: Sequence[Path]) -> Sequence[tuple[str, str]]:
        """(entity, id) of every object that one in `files` changes, and this run has not observed, sorted."""

    def unread_ids(
        self, spec: EntitySpec, files: Sequence[Path], *, unsettled: bool = False
    ) -> Sequence[str]:
        """Ids of the objects in `files` that this run has not observed, sorted.

        With `unsettled` only those that may yet change without an event and refer to an object that it has observed.
        """

    def unobserved_ids(
        self, model: ModelSpec, spec: EntitySpec, since: int, *, unsettled: bool = False
    ) -> Sequence[str]:
        """Ids of living objects that the model shows, created at or after `since`, and this run has not observed.

        With `unsettled` only those that may yet change without an event saying so; of them those, too, that are older
        and refer to an object that this run has observed.
        """

    def write_views(self, path: Path, relations: Mapping[str, Sequence[Path]]) -> None:
        """Write a database file of views over Parquet files, by qualified name, for ad-hoc questions."""

    def close(self) -> None:
        """Give back memory and temporary files."""
