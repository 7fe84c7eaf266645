"""The engine a run uses can touch nothing but its lake, and a question changes nothing at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from payments_pipeline.entities import ENTITIES
from payments_pipeline.errors import PipelineError, StorageError, UsageError
from payments_pipeline.transform.connection import EngineOptions
from payments_pipeline.transform.duckdb_engine import DuckDBEngine

CHARGES = ENTITIES["charges"]

ESCAPES = {
    "read a text file": "select * from read_text('{outside}/secret.csv')",
    "read a binary file": "select * from read_blob('{outside}/secret.csv')",
    "read CSV": "select * from read_csv('{outside}/secret.csv')",
    "read JSON": "select * from read_json('{outside}/secret.csv')",
    "read Parquet": "select * from read_parquet('{outside}/secret.parquet')",
    "replacement scan": "select * from '{outside}/secret.csv'",
    "system file": "select * from read_text('/etc/passwd')",
    "system file as CSV": "from read_csv('/etc/passwd', sep = ':')",
    "environment file": "select * from read_blob('/proc/self/environ')",
    "parent folder": "select * from read_text('{inside}/../outside/secret.csv')",
    "parent of scratch": "select * from read_text('{inside}/scratch/../../outside/secret.csv')",
    "sibling with the same beginning": "select * from read_text('{inside}-sibling/secret.csv')",
    "link to a file": "select * from read_text('{inside}/link.csv')",
    "link to a folder": "select * from read_text('{inside}/folder/secret.csv')",
    "glob": "select * from glob('{outside}/*')",
    "glob through the root": "select * from read_text('/*/passwd')",
    "list of files": "select * from read_text(['{outside}/secret.csv'])",
    "file URL": "select * from read_text('file://{outside}/secret.csv')",
    "copy to outside": "copy (select 1) to '{outside}/new.csv'",
    "copy over outside": "copy (select 1) to '{outside}/secret.csv'",
    "copy from outside": "copy built.wanted from '{outside}/secret.csv'",
    "partitioned copy": "copy (select 1 as a) to '{outside}' (format parquet, partition_by (a))",
    "export": "export database '{outside}/export'",
    "import": "import database '{outside}'",
    "attach a file": "attach '{outside}/new.duckdb' as other",
    "attach the network": "attach 'https://127.0.0.1:1/x.duckdb' as other",
    "attach an extension's format": "attach '{outside}/x.db' as other (type sqlite)",
    "install": "install httpfs",
    "install from anywhere": "install spatial from 'http://127.0.0.1:1'",
    "load": "load httpfs",
    "load a file": "load '{outside}/evil.duckdb_extension'",
    "http": "select * from read_text('http://127.0.0.1:1/x')",
    "s3": "select * from read_parquet('s3://bucket/x.parquet')",
    "secret": "create secret (type s3, key_id 'a', secret 'b')",
    "persistent secret": "create persistent secret x (type http, bearer_token 'b')",
    "environment": "select getenv('HOME')",
    "Python variable": "select * from ESCAPES",
    "Python data frame": "select * from TABLE_OUTSIDE",
    "external access": "set enable_external_access = true",
    "allowed folders": "set allowed_directories = ['/']",
    "allowed paths": "set allowed_paths = ['/etc/passwd']",
    "unlock": "set lock_configuration = false",
    "reset": "reset allowed_directories",
    "home": "set home_directory = '/'",
    "search path of files": "set file_search_path = '/etc'",
    "memory": "set memory_limit = '1TB'",
    "threads": "set threads = 64",
    "temporary folder": "set temp_directory = '/tmp'",
    "extension folder": "set extension_directory = '/tmp'",
    "autoload": "set autoload_known_extensions = true",
    "log file": "call enable_logging(storage = 'file', storage_path = '{outside}/log')",
    "profile": "pragma profiling_output = '{outside}/profile.json'",
    "a pragma that sets": "pragma enable_profiling",
}
"""Attempts to leave the lake, to load code, or to loosen the engine; `{inside}` is the lake, `{outside}` is not."""

WRITES = {
    "copy into the lake": "copy (select 1) to '{inside}/gold.parquet'",
    "copy over the lake": "copy (select 1) to '{inside}/kept.csv'",
    "explained copy": "explain analyze copy (select 1) to '{inside}/kept.csv'",
    "second statement": "select 1; copy (select 1) to '{inside}/kept.csv'",
    "attach in the lake": "attach '{inside}/new.duckdb' as other",
    "export into the lake": "export database '{inside}/export'",
    "create": "create table silver.mine (a int)",
    "create or replace": "create or replace view silver.charges as select 1",
    "drop": "drop schema silver cascade",
    "insert": "insert into built.wanted values ('a', 'b')",
    "delete": "delete from built.wanted",
    "update": "update built.wanted set id = 'x'",
    "alter": "alter table built.wanted add column a int",
    "detach": "detach memory",
    "use": "use bronze",
    "transaction": "begin",
    "prepare": "prepare p as copy (select 1) to '{inside}/kept.csv'",
    "nothing": "",
    "comment": "-- nothing",
}
"""Statements that are no questions."""


@dataclass(frozen=True, slots=True)
class Fort:
    """An engine that may touch `inside`, and a secret beside it."""

    engine: DuckDBEngine
    inside: Path
    outside: Path

    def refuses(self, statement: str) -> None:
        """The statement is a `PipelineError`, and no byte has changed."""
        before = self._bytes()
        with pytest.raises(PipelineError):
            self.engine.query(self.filled(statement))
        assert self._bytes() == before

    def filled(self, statement: str) -> str:
        """The statement with the folders' names in it."""
        return statement.format(inside=self.inside, outside=self.outside)

    def _bytes(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in self.inside.parent.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def fort(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fort]:
    """The engine as a run makes it."""
    root = tmp_path_factory.mktemp("fort")
    inside, outside, sibling = root / "inside", root / "outside", root / "inside-sibling"
    for folder in (inside / "scratch", outside, sibling):
        folder.mkdir(parents=True)
    for folder in (outside, sibling):
        (folder / "secret.csv").write_text("a,b\nsecret,1\n", encoding="utf-8")
    (inside / "kept.csv").write_text("a,b\nkept,1\n", encoding="utf-8")
    (inside / "link.csv").symlink_to(outside / "secret.csv")
    (inside / "folder").symlink_to(outside)
    engine = DuckDBEngine([CHARGES], folders=[inside], scratch=inside / "scratch")
    yield Fort(engine, inside, outside)
    engine.close()


@pytest.mark.parametrize("name", ESCAPES)
def test_the_engine_cannot_be_left(fort: Fort, name: str) -> None:
    """Every attempt is refused, as a question and, were it one, by the locked connection below."""
    fort.refuses(ESCAPES[name])
    with pytest.raises(duckdb.Error):
        fort.engine._connection.run(fort.filled(ESCAPES[name]), {})


@pytest.mark.parametrize("name", WRITES)
def test_a_question_changes_nothing(fort: Fort, name: str) -> None:
    """Only a single question is answered: neither files of the lake nor the engine's own tables change."""
    fort.refuses(WRITES[name])


@pytest.mark.parametrize(
    "question",
    [
        "select a from read_csv('{inside}/kept.csv')",
        "from read_csv('{inside}/kept.csv') select a;",
        "with x as (select 'kept') select * from x",
        "values ('kept')",
        "-- a comment\n(select 'kept')",
    ],
)
def test_a_question_is_answered(fort: Fort, question: str) -> None:
    """Inside the lake everything can be read."""
    assert fort.engine.query(question.format(inside=fort.inside)).rows == [("kept",)]


@pytest.mark.parametrize(
    "question", ["describe bronze.charges", "summarize bronze.charges", "show all tables"]
)
def test_what_there_is_can_be_asked(fort: Fort, question: str) -> None:
    """Describing is asking."""
    assert fort.engine.query(question).rows


def test_a_wrong_question_is_a_usage_error(fort: Fort) -> None:
    """The engine's own words say what is wrong."""
    with pytest.raises(UsageError, match="nonsense"):
        fort.engine.query("select nonsense")


def test_too_little_memory_is_a_storage_error_with_a_remedy(tmp_path: Path) -> None:
    """Out of memory names the setting to raise."""
    options = EngineOptions(memory_limit="20MB", threads=1)
    engine = DuckDBEngine([CHARGES], folders=[tmp_path], scratch=tmp_path, options=options)
    with pytest.raises(StorageError, match="DUCKDB_MEMORY_LIMIT"):
        engine.query("select list(range) from range(100000000)")
    engine.close()
