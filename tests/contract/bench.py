"""An engine with a memory: merges batches of bronze lines as runs do, partition by partition."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from payments_pipeline.bronze import OBSERVED_FORMAT
from payments_pipeline.entities import ENTITIES, EntitySpec
from payments_pipeline.transform.duckdb_engine import DuckDBEngine
from payments_pipeline.transform.engine import PartitionDigest
from payments_pipeline.transform.models import ModelSpec, discover, links_of, sql_root
from tests.lakes import CREATED, charge

MODELS = discover(sql_root())
CHARGES, INVOICES = ENTITIES["charges"], ENTITIES["invoices"]
SILVER, LINES = MODELS.get("silver.charges"), MODELS.get("silver.invoice_lines")


@dataclass(frozen=True, slots=True)
class Line:
    """One bronze line: a record, or None and an id for a tombstone, and how it was observed."""

    record: Mapping[str, object]
    seen: int
    source: str = "list"
    offset: int = 0
    deleted_at: int | None = None

    def text(self) -> str:
        """The line as bronze holds it."""
        meta: dict[str, object] = {
            "observed_at": datetime.fromtimestamp(CREATED + self.seen, UTC).strftime(OBSERVED_FORMAT),
            "source": self.source,
            "offset": self.offset,
        }
        if self.deleted_at is not None:
            meta["deleted_at"] = self.deleted_at
        return json.dumps({"data": self.record, "meta": meta})


def gone(number: int, seen: int, *, deleted_at: int | None = None) -> Line:
    """The tombstone of a charge."""
    record = {"id": charge(number)["id"], "object": "charge", "deleted": True}
    return Line(record, seen, "absent", deleted_at=deleted_at)


@dataclass(slots=True)
class Bench:
    """An engine and the partitions it has written so far."""

    engine: DuckDBEngine
    folder: Path
    written: int = 0
    partitions: dict[str, dict[str, Path]] = field(default_factory=dict)

    def file(self, lines: Sequence[Line]) -> Path:
        """The lines as a bronze file."""
        self.written += 1
        path = self.folder / f"{self.written:05d}.jsonl"
        path.write_text("".join(line.text() + "\n" for line in lines), encoding="utf-8")
        return path

    def merge(
        self, lines: Sequence[Line], *, spec: EntitySpec = CHARGES, model: ModelSpec = SILVER
    ) -> dict[str, PartitionDigest]:
        """Merge a batch into what was merged before, as a run does; the digests of what it built."""
        links = links_of(MODELS.get(f"silver.{spec.name}"))
        known = self.partitions.setdefault(model.qualified, {})
        places = self.partitions.setdefault(links.qualified, {})
        self.engine.show(links, [places[month] for month in sorted(places)])
        self.engine.load_bronze(spec, [self.file(lines)] if lines else [])
        touched = self.engine.touched(spec)
        self.engine.merge(model, spec, [known[dt] for dt in sorted(touched & known.keys())])
        self.engine.link(links, [model], list(places.values()), dts=touched)
        built = self.engine.digests(model)
        assert built.keys() <= touched
        self._keep(model, touched)
        self._keep(links, frozenset(places) | self.engine.digests(links).keys())
        self.engine.show(model, [known[dt] for dt in sorted(known)])
        self.engine.show(links, [places[month] for month in sorted(places)])
        return dict(built)

    def _keep(self, model: ModelSpec, touched: frozenset[str]) -> None:
        """Write what was built of the touched partitions; the others stay as they are."""
        known, built = self.partitions[model.qualified], self.engine.digests(model)
        for dt in touched:
            known.pop(dt, None)
        for dt in built:
            self.written += 1
            known[dt] = self.folder / f"{self.written:05d}" / f"dt={dt}" / "data.parquet"
            known[dt].parent.mkdir(parents=True)
        assert {*self.engine.write(model, {dt: known[dt] for dt in built})} == built.keys()

    def rows(self, columns: str, *, model: ModelSpec = SILVER) -> list[tuple[object, ...]]:
        """Columns of the merged rows, in the grain's order."""
        return self.engine.query(f"select {columns} from {model.qualified} order by {model.grain[0]}").rows

    def forget(self) -> None:
        """Begin again with nothing merged."""
        self.partitions.clear()
        for links in MODELS.links:
            self.engine.show(links, [])
