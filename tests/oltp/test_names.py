"""The objects that are kept have one list of names, and every place that needs them agrees with it."""

from __future__ import annotations

import re
from pathlib import Path

from payments_pipeline.cli.oltp_data import ingest
from payments_pipeline.entities import ENTITIES
from payments_pipeline.oltp import LISTS
from payments_pipeline.oltp.tables import TABLES

ROOT = Path(__file__).resolve().parent.parent.parent
OBJECTS = [ENTITIES[name].object for name in LISTS]


def test_every_list_has_a_table() -> None:
    """No table is without a list of the API, no list without a table."""
    assert sorted(LISTS) == sorted(TABLES)


def test_every_table_has_a_make_target() -> None:
    """`make ingest-<object>` is there for each object, and for nothing else."""
    [objects] = re.findall(r"^OBJECTS := (.+)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert objects.split() == OBJECTS


def test_every_table_is_documented() -> None:
    """The command's help and the page on PostgreSQL name each object that can be ingested, and each file that is fetched."""
    assert [name for name in OBJECTS if name not in (ingest.help or "")] == []
    page = (ROOT / "docs" / "oltp.md").read_text("utf-8")
    assert [name for name in LISTS if f"`{name}.json`" not in page] == []
    assert [name for name in OBJECTS if f"`{name}`" not in page.replace("-", "_")] == []
