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
from payments_pipeline.transform.connection import EngineOptions
from payments_pipeline.transform.duckdb_engine import DuckDBEngine
from tests.lakes import refund

NOW = datetime(2026, 9, 9, tzinfo=UTC)
RUN = RunContext("run-1", 1, NOW, 0)


@contextmanager
def engine_on(folder: Path) -> Iterator[DuckDBEngine]:
    """An engine that has noted nothing."""
    options = EngineOptions(threads=1)
    engine = DuckDBEngine(ENTITIES.values(), folders=[folder], scratch=folder, options=options)
    yield engine
    engine.close()


def noted(engine: DuckDBEngine) -> list[list[tuple[object, ...]]]:
    """Everything the engine has noted that may come to matter: what is known, and what is wanted."""
    known = "select distinct object, is_observed from built.known order by all"
    wanted = "select distinct entity, id from built.wanted where entity is not null and id is not null order by all"
    return [engine.query(known).rows, engine.query(wanted).rows]


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
        known, wanted = noted(told)
        assert len(known) > 200
        assert len(wanted) > 200
        assert told.missing_ids() == reading.missing_ids()
    storage.close()


def test_what_is_wanted_stays_so_when_there_is_much_of_it(tmp_path: Path) -> None:
    """A quarter of a million references, to a few hundred objects: those that are not there are missing, each once."""
    charges, customers = ENTITIES["charges"], ENTITIES["customers"]
    with engine_on(tmp_path) as engine:
        for start in range(0, 250_000, 5_000):
            wanted = {("customers", f"cus_{number % 500:06d}") for number in range(start, start + 500)}
            rare = {("payment_intents", f"pi_{number:06d}") for number in range(start, start + 4_500)}
            engine.note_ids(
                charges, {f"ch_{number:06d}" for number in range(start, start + 5_000)}, wanted | rare
            )
        engine.note_ids(customers, {f"cus_{number:06d}" for number in range(1, 500)}, set())
        engine.note_ids(ENTITIES["payment_intents"], {f"pi_{number:06d}" for number in range(250_000)}, set())
        assert engine.missing_ids() == [("customers", "cus_000000")]
        assert [path for path in tmp_path.iterdir() if path.suffix == ".parquet"]


def test_what_an_object_changes_without_an_event_is_found(tmp_path: Path) -> None:
    """A refund changes its charge, unless that was read as well; nothing else that it refers to."""
    lines = tmp_path / "lines.jsonl"
    meta = {"observed_at": "2026-09-01T00:00:00.000000Z", "source": "list", "offset": 0}
    refunds = [
        refund(1, charge="ch_1"),
        refund(2, charge="ch_2"),
        refund(3, charge="ch_1"),
        refund(4, charge=None),
    ]
    lines.write_text("".join(json.dumps({"data": each, "meta": meta}) + "\n" for each in refunds))
    with engine_on(tmp_path) as engine:
        engine.note_ids(ENTITIES["charges"], {"ch_2"}, set())
        assert engine.shadowed_ids(ENTITIES["refunds"], [lines]) == [("charges", "ch_1")]
        assert engine.shadowed_ids(ENTITIES["refunds"], []) == []
        assert engine.shadowed_ids(ENTITIES["charges"], [lines]) == []


def test_what_a_run_has_read_is_known_by_a_few_bytes(tmp_path: Path) -> None:
    """Two hundred thousand objects without references cost the engine less than 16 bytes each."""
    with engine_on(tmp_path) as engine:
        for start in range(0, 200_000, 4_000):
            own = {f"ch_{number:09d}000000000000" for number in range(start, start + 4_000)}
            engine.note_ids(ENTITIES["charges"], own, set())
        [(used,)] = engine.query("select sum(memory_usage_bytes)::bigint from duckdb_memory()").rows
    assert int(str(used)) < 16 * 200_000


def test_an_id_is_known_as_the_kind_of_object_that_it_is(tmp_path: Path) -> None:
    """An object of another kind with the same id is not what was referred to."""
    with engine_on(tmp_path) as engine:
        engine.note_ids(ENTITIES["charges"], {"ch_1"}, {("customers", "ch_1"), ("charges", "ch_1")})
        assert engine.missing_ids() == [("customers", "ch_1")]
