"""What Alembic runs for every command: on the connection it is given, in one transaction, one migrator at a time."""

from __future__ import annotations

from alembic import context
from sqlalchemy import text

from payments_pipeline.oltp.tables import Base

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, target_metadata=Base.metadata, compare_type=True, compare_server_default=True
)
with context.begin_transaction():
    connection.execute(text("select pg_advisory_xact_lock(8319684593)"))
    context.run_migrations()
