"""What the tests of the loader start from: small objects, files of them, and what the tables hold."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg

from payments_pipeline.oltp.files import JsonFiles
from payments_pipeline.oltp.ingest import Staged, ingest
from payments_pipeline.oltp.merge import Merged
from payments_pipeline.oltp.stage import Rejects
from payments_pipeline.oltp.tables import TABLES, content_columns

Object = dict[str, Any]
SOME_TIME = 1_790_000_000


def customer(number: int = 1, **fields: Any) -> Object:
    """A customer with what every customer has, and these fields."""
    return {"id": f"cus_{number}", "object": "customer", "created": SOME_TIME, "livemode": False, **fields}


def charge(number: int = 1, **fields: Any) -> Object:
    """A charge with what every charge has, and these fields."""
    return {
        "id": f"ch_{number}",
        "object": "charge",
        "created": SOME_TIME + number,
        "livemode": False,
        "amount": 1000 + number,
        "currency": "usd",
        "status": "succeeded",
        "metadata": {},
        **fields,
    }


def write(path: Path, objects: Iterable[Object], *, at: int = SOME_TIME) -> Path:
    """One JSON array, one object a line, observed at that second."""
    path.write_text("[\n" + ",\n".join(json.dumps(each) for each in objects) + "\n]\n", encoding="utf-8")
    os.utime(path, (at, at))
    return path


def write_all(folder: Path, objects: Mapping[str, Mapping[str, Object]], *, at: int = SOME_TIME) -> Path:
    """A file for every table."""
    for table in TABLES:
        write(folder / f"{table}.json", objects.get(table, {}).values(), at=at)
    return folder


def load(
    connection: psycopg.Connection,
    folder: Path,
    tables: Sequence[str] | None = None,
    *,
    max_share: float = 0.01,
) -> tuple[Staged, dict[str, Merged]]:
    """Ingest the folder's files, or those of some tables."""
    rejects = Rejects(folder / "quarantine.jsonl")

    def source() -> JsonFiles:
        if tables is None:
            return JsonFiles.of_folder(folder)
        return JsonFiles({table: folder / f"{table}.json" for table in tables})

    staged, merged = ingest(connection, source, rejects, max_share=max_share)
    return staged, {line.table: line for line in merged}


def rows(connection: psycopg.Connection, table: str, columns: str = "*") -> list[tuple[Any, ...]]:
    """The table's rows in the order of their ids."""
    return connection.execute(f"select {columns} from {table} order by id".encode()).fetchall()


def contents(connection: psycopg.Connection) -> dict[str, list[tuple[Any, ...]]]:
    """All that the tables hold, but for when it was observed."""
    return {
        name: rows(
            connection,
            name,
            ", ".join([f'"{column.name}"' for column in content_columns(table)] + ["deleted", "is_stub"]),
        )
        for name, table in TABLES.items()
    }
