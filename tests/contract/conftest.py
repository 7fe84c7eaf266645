from __future__ import annotations

from collections.abc import Iterator

import pytest

from payments_pipeline.entities import ENTITIES
from payments_pipeline.transform.connection import EngineOptions
from payments_pipeline.transform.duckdb_engine import DuckDBEngine
from tests.contract.bench import LINES, MODELS, SILVER, Bench


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One engine for all tests of a module."""
    folder = tmp_path_factory.mktemp("lake's folder")
    (folder / "scratch").mkdir()
    engine = DuckDBEngine(
        ENTITIES.values(), folders=[folder], scratch=folder / "scratch", options=EngineOptions(threads=2)
    )
    for model in (*MODELS.built, *MODELS.links):
        engine.show(model, [])
    yield Bench(engine, folder)
    engine.close()


@pytest.fixture
def bench(shared: Bench) -> Bench:
    """The engine, with nothing merged."""
    shared.forget()
    shared.engine.show(SILVER, [])
    shared.engine.show(LINES, [])
    return shared
