"""SQL put together from names of tables and columns: how it is run, and how a name or a type is written in it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import psycopg
from sqlalchemy import Column
from sqlalchemy.dialects import postgresql

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped


def execute(connection: psycopg.Connection, statement: str, *values: object) -> psycopg.Cursor:
    """Run a statement; values are always parameters."""
    return connection.execute(statement.encode(), values or None)


def execute_all(connection: psycopg.Connection, statements: Iterable[str]) -> None:
    """Run one statement after the other."""
    for statement in statements:
        execute(connection, statement)


def name(identifier: str) -> str:
    """An identifier as SQL."""
    return '"' + identifier.replace('"', '""') + '"'


def sql_type(column: Column[Any]) -> str:
    """The PostgreSQL type of a column."""
    return column.type.compile(dialect=_DIALECT)
