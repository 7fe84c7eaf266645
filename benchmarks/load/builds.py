"""The contestants of the transform benchmark, each run in a process of its own: `… <name> <lake>`, or `fill …`.

Prints one JSON line. Floor and peer read the bronze of a lake that was filled before and write daily Parquet elsewhere.
"""

from __future__ import annotations

import json
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click
import duckdb

from payments_pipeline import layout, pipeline, session
from payments_pipeline.build import Build
from payments_pipeline.entities import ENTITIES, duckdb_type
from payments_pipeline.flow import Quiet
from payments_pipeline.inputs import parts_to_read
from payments_pipeline.publish import discard_staging
from payments_pipeline.settings import Settings
from payments_pipeline.state.manifest import Manifest, Request, all_runs, read_manifests
from payments_pipeline.transform.lines import empty_bronze
from payments_pipeline.transform.models import Models, ModelSpec, discover, sql_root

_META = 'STRUCT(observed_at VARCHAR, source VARCHAR, "offset" BIGINT, deleted_at BIGINT)'
_LATEST = 'row_number() over (partition by data.id order by meta.observed_at desc, meta.source desc, meta."offset" desc) = 1'


def floor(lake: Path, out: Path, *, in_order: bool = True) -> int:
    """One DuckDB statement for silver's charges: declared columns, latest per id, a file a day, sorted by their ids.

    Most files keep the order in which the rows are handed over; that DuckDB's partitioned copy keeps it is not promised.
    """
    spec = ENTITIES["charges"]
    kind = duckdb_type({**spec.columns, "deleted": "BOOLEAN"})
    columns = ", ".join(f'data."{name}" as "{name}"' for name in spec.columns)
    connection = duckdb.connect()
    connection.execute("create schema bronze")
    connection.execute(
        f"""create view bronze.charges as
        select {columns}, meta.observed_at::timestamp as _observed_at, coalesce(data.deleted, false) as _is_deleted,
            make_timestamp(meta.deleted_at * 1000000) as _deleted_at
        from read_json('{_bronze(lake)}', columns = {{data: '{kind}', meta: '{_META}'}},
            format = 'newline_delimited', records = true)
        qualify {_LATEST}"""
    )
    return _copied(connection, _by_day(discover(sql_root()).get("silver.charges"), in_order=in_order), out)


def floor_of_all(lake: Path, out: Path, *, in_order: bool = True) -> int:
    """A plain statement for each of the two models that ours makes of these charges, silver and gold, both as ours writes them."""
    rows = floor(lake, out / "silver", in_order=in_order)
    connection = duckdb.connect()
    connection.execute("create schema bronze; create schema silver; create schema gold")
    for spec in ENTITIES.values():
        connection.execute(empty_bronze(spec))
    for model in discover(sql_root()).built:
        shown = f"({model.sql}) limit 0"
        if model.qualified == "silver.charges":
            shown = f"read_parquet('{out}/silver/*/*.parquet', hive_partitioning = false)"
        if model.qualified == "gold.fct_payments":
            _copied(connection, _by_day(model, in_order=in_order), out / "gold")
        elif model.layer != "marts":
            connection.execute(f"create view {model.qualified} as select * from {shown}")
    return rows


def unsorted(lake: Path, out: Path) -> int:
    """The floor of all, with the rows of a file in whatever order they come."""
    return floor_of_all(lake, out, in_order=False)


def inferred(lake: Path, out: Path) -> int:
    """The same rows with whatever columns and types DuckDB infers."""
    return _copied(
        duckdb.connect(),
        f"""select data.*, strftime(make_timestamp(data.created * 1000000), '%Y-%m-%d') as dt
        from read_json('{_bronze(lake)}', format = 'newline_delimited', union_by_name = true)
        qualify {_LATEST}""",
        out,
    )


def ours(lake: Path, out: Path) -> int:
    """Everything: checksums verified, every entity, gold and marts built, audited, written and published.

    What was published before is removed first: a rebuild writes only what differs.
    """
    del out
    for layer in ("silver", "gold", layout.LINKS):
        shutil.rmtree(lake / layer)
    settings = Settings.from_env({"LOCAL_DATA_DIR": str(lake)})
    with (
        session.open_existing(settings, session.now, Quiet()) as opened,
        pipeline.opened(opened, session.new_run_id()) as run,
    ):
        done = pipeline.build_and_publish(opened, run, max_quarantine_share=0.01, rebuild=True)
    assert done.manifest.transform is not None
    return done.manifest.transform.counts["charges"].after


def our_silver(lake: Path, out: Path) -> int:
    """Of ours only what the floor does: silver's charges from bronze, with checksums, digests and links."""
    del out
    settings = Settings.from_env({"LOCAL_DATA_DIR": str(lake)})
    with (
        session.open_existing(settings, session.now, Quiet()) as opened,
        pipeline.opened(opened, session.new_run_id()) as run,
    ):
        alone = replace(opened, models=Models(built=(opened.models.get("silver.charges"),), checks=()))
        anew = frozenset({"charges"})
        runs = read_manifests(opened.storage, all_runs(opened.storage))
        parts = parts_to_read(runs, (), (*runs,), anew)
        built = Build(alone, run.context, {}, anew=anew)(parts, whole=True)
        discard_staging(opened.storage, run.context.run_id, run.context.epoch)
    return built.counts["charges"].after


BUILDS: Mapping[str, Callable[[Path, Path], int]] = {
    "floor": floor,
    "floor-of-all": floor_of_all,
    "unsorted": unsorted,
    "inferred": inferred,
    "our-silver": our_silver,
    "ours": ours,
}


def _by_day(model: ModelSpec, *, in_order: bool) -> str:
    """The model's rows, each with the day of its partition, and in the order in which ours are."""
    order = f"order by dt, {', '.join(model.grain)}" if in_order else ""
    return f"select *, strftime(created_at, '%Y-%m-%d') as dt from ({model.sql}) {order}"


def _bronze(lake: Path) -> str:
    return f"{lake}/bronze/source=stripe/entity=charges/**/*.jsonl"


def _copied(connection: duckdb.DuckDBPyConnection, select: str, out: Path) -> int:
    """The rows written, as compressed Parquet by day."""
    row = connection.execute(
        f"copy ({select}) to '{out}' (format parquet, compression zstd, partition_by (dt), overwrite_or_ignore)"
    ).fetchone()
    return int(row[0]) if row else 0


@click.group()
def main() -> None:
    """Build, or fill a lake to build from."""


@main.command()
@click.argument("name", type=click.Choice(list(BUILDS)))
@click.argument("lake", type=click.Path(path_type=Path))
def build(name: str, lake: Path) -> None:
    """Run one contestant on the lake's bronze."""
    with tempfile.TemporaryDirectory(prefix="payments-pipeline-bench-") as folder:
        before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        rows = BUILDS[name](lake, Path(folder))
        seconds = time.perf_counter() - started
        after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    click.echo(
        json.dumps({"rows": rows, "seconds": seconds, "cpu_seconds": cpu, "peak_mib": after.ru_maxrss / 1024})
    )


@main.command()
@click.argument("url")
@click.argument("lake")
@click.argument("start", type=int)
@click.argument("end", type=int)
def fill(url: str, lake: str, start: int, end: int) -> None:
    """A run for the window: seconds of the whole, of what follows the extraction, and of that only the build."""
    settings = Settings.from_env({"LOCAL_DATA_DIR": lake, "MOCK_API_BASE_URL": url})
    window = [datetime.fromtimestamp(each, UTC) for each in (start, end)]
    request = Request.of(("charges",), days=None, start=window[0], end=window[1])
    started = time.perf_counter()
    done: Manifest = session.execute(settings, request, session.new_run_id(), Quiet(), publish=True)
    seconds = time.perf_counter() - started
    assert done.transform is not None
    found = {"after_extract": seconds - done.extract.seconds, "build": done.transform.seconds}
    click.echo(json.dumps({"seconds": seconds, **found}))


if __name__ == "__main__":
    main()
