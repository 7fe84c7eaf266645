"""What is noted while records land is what an engine finds in the files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

from mock_api.world import World
from payments_pipeline.bronze import Landed, PartNames, write_pages
from payments_pipeline.entities import ENTITIES, EntitySpec
from payments_pipeline.flow import Page, RunContext
from payments_pipeline.storage import LocalStorage
from payments_pipeline.transform.duckdb_engine import DuckDBEngine, EngineOptions

NOW = datetime(2026, 9, 9, tzinfo=UTC)
RUN = RunContext("run-1", 1, NOW, 0)


@contextmanager
def engine_on(folder: Path) -> Iterator[DuckDBEngine]:
    """An engine that has noted nothing."""
    options = EngineOptions(threads=1)
    engine = DuckDBEngine(ENTITIES.values(), folders=[folder], scratch=folder, options=options)
    yield engine
    engine.close()


def noted(engine: DuckDBEngine) -> list[tuple[object, ...]]:
    """Everything the engine has noted that may come to matter."""
    return engine.query(
        "select distinct entity, id, role from built.ids where entity is not null and id is not null order by all"
    ).rows


def land(storage: LocalStorage, spec: EntitySpec, records: list[bytes]) -> Landed:
    """The records, one tombstone and one that is refused, as parts."""
    odd = [b'{"id":"gone_1","object":"%b","deleted":true}' % spec.object.encode(), b'{"id":"bad"}']
    page = Page(spec.name, "list", NOW, "req_1", "v", (*records, *odd))
    return write_pages(storage, RUN, spec, [page], PartNames(1))


def test_what_is_noted_while_landing_is_what_the_files_hold(tmp_path: Path) -> None:
    """For every kind of object of an account: its own ids, and each reference with the entity it leads to."""
    world = World(seed=7, start=date(2026, 9, 1), customers_per_day=4)
    world.play(int(NOW.timestamp()))
    truth = world.truth()
    storage = LocalStorage(tmp_path / "lake")
    with engine_on(tmp_path) as reading, engine_on(tmp_path) as told:
        for name, spec in ENTITIES.items():
            records = [json.dumps(record).encode() for record in truth.get(name, {}).values()]
            landed = land(storage, spec, records)
            files = [storage.localize(part.key) for part in landed.parts]
            reading.collect_ids(spec, files, observed=True)
            told.note_ids(spec, landed.ids.own, landed.ids.wanted)
            assert noted(told) == noted(reading), name
        assert {role for _, _, role in noted(told)} == {"observed", "wanted"}
        assert len(noted(told)) > 500
        assert told.missing_ids() == reading.missing_ids()
    storage.close()
