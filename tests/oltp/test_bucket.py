"""A lake in a bucket fills PostgreSQL as one in a folder does; the server's own data stays on this machine."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from payments_pipeline.oltp.database import Database, local_folder
from payments_pipeline.settings import Settings
from payments_pipeline.storage import open_storage
from tests.e2e.harness import Account, Command, command_in
from tests.oltp.objects import rows
from tests.seaweed import BUCKET, Seaweed


@pytest.fixture
def bucket(on_seaweed: str, loaded: Path) -> dict[str, str]:
    """The environment that names a copy of `loaded` in a bucket."""
    with closing(open_storage(on_seaweed)) as storage:
        for path in sorted(path for path in loaded.rglob("*") if path.is_file() and path.name != ".lock"):
            storage.put(path.relative_to(loaded).as_posix(), path.read_bytes())
    prefix = on_seaweed.removeprefix(f"s3://{BUCKET}/")
    return {"PIPELINE_ENV": "AWS", "S3_BUCKET": BUCKET, "S3_PREFIX": prefix}


@pytest.fixture
def command(
    database: Database, folder: Path, bucket: dict[str, str], seaweed: Seaweed, small: Account
) -> Command:
    """The installed command, told of the bucket, of the account, and of the database."""
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    environ = {**bucket, **seaweed.environ(), "MOCK_API_BASE_URL": small.url, "DATABASE_URL": url}
    return command_in(folder, **environ)


def test_every_source_but_files_works_with_a_bucket(command: Command, database: Database) -> None:
    """From the lake and checked, gold beside it; then from the API, which finds nothing to change."""
    command.ok("oltp", "ingest-all", "--source", "lake")
    assert "is equal to its source, lake" in command.ok("oltp", "check", "--source", "lake").stdout
    for word in ("new", "as it was"):
        shown = command.ok("oltp", "publish-gold").stdout.splitlines()
        assert {line.split("│")[3].strip() for line in shown if "│ gold.fct_payments " in line} == {word}
    with database.connect() as connection:
        before = rows(connection, "charges", "xmin, id")
        assert before != []
        command.ok("oltp", "ingest", "charge", "--source", "api")
        assert rows(connection, "charges", "xmin, id") == before


def test_the_server_of_a_lake_in_a_bucket_lies_here() -> None:
    """A database needs a disk: its folder is the one that a lake on this machine would have."""
    settings = Settings.from_env({"PIPELINE_ENV": "AWS", "S3_BUCKET": "some-bucket"})
    assert local_folder(settings) == Path("_local_data/oltp").resolve()
    settings = Settings.from_env({"LOCAL_DATA_DIR": "s3://some-bucket/lake"})
    assert local_folder(settings) == Path("_local_data/oltp").resolve()
