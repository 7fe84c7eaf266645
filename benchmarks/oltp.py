"""How fast charges become rows of PostgreSQL: our loader beside plain COPY and beside what others would write.

A server of its own, its data in the temporary folder. Customers and payment intents are there already, so that
references are checked and none needs a stub. The floor keeps nothing but the rows: no key, no check, no index.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import click

from benchmarks.charts import Bar, Chart, Kind
from benchmarks.load.server import RECORD_BYTES, Charges
from benchmarks.measure import Measured, Scene, conditions, in_child, publish
from payments_pipeline.errors import StorageError
from payments_pipeline.oltp import migrate
from payments_pipeline.oltp.database import Database, database_of, recreate
from payments_pipeline.oltp.server import Server
from payments_pipeline.oltp.tables import TABLES, content_columns
from payments_pipeline.settings import Settings

_SHARE = 100
_LABELS: dict[str, tuple[str, Kind]] = {
    "plain-copy": ("COPY into an unlogged table", "floor"),
    "ours": ("payments-pipeline", "ours"),
    "executemany": ("psycopg executemany", "peer"),
    "bulk": ("SQLAlchemy bulk insert", "peer"),
    "orm": ("SQLAlchemy ORM, row by row", "peer"),
}


@dataclass(frozen=True, slots=True)
class Bench:
    """A database, and the files that are loaded into it: the charges, and the same with one in a hundred changed."""

    database: Database
    charges: Path
    changed: Path
    rows: int

    def empty(self) -> None:
        """The database anew, with what the charges refer to and the floor's table."""
        recreate(self.database)
        migrate.upgrade(self.database)
        names = ", ".join(f'"{column.name}"' for column in content_columns(TABLES["charges"]))
        with self.database.connect() as connection:
            for statement in (
                "insert into customers (id) select 'cus_' || n from generate_series(0, 1999) as n",
                f"insert into payment_intents (id) select 'pi_' || n from generate_series(0, {self.rows}) as n",
                f"create unlogged table plain as select {names}, observed_at from charges with no data",
                "vacuum analyze",
                "checkpoint",
            ):
                connection.execute(statement.encode())

    def load(self, name: str, file: Path, rows: int) -> tuple[Measured, int]:
        """A contestant's way with the first `rows` charges of the file, and how many rows it wrote."""
        found = in_child(["-m", "benchmarks.load.loaders", name, str(file), str(rows)])
        written = found.pop("written")
        return Measured(*_LABELS[name], **found), written

    def first_loads(self, sizes: dict[str, int], *, rounds: int) -> Scene:
        """Everybody into an empty table in turns, the fastest round of each."""
        best: dict[str, Measured] = {}
        for _ in range(rounds):
            for name, rows in sizes.items():
                self.empty()
                found, written = self.load(name, self.charges, rows)
                if written != rows:
                    raise click.ClickException(f"{found.name} wrote {written} of {rows} charges")
                if name not in best or found.seconds < best[name].seconds:
                    best[name] = found
        ceiling = best["plain-copy"].rows_per_second
        return Scene(
            f"{self.rows:,} charges into an empty table", ceiling, "plain COPY", tuple(best.values())
        )

    def reloads(self, ceiling: float) -> tuple[Scene, dict[str, int]]:
        """Ours once more on a full table: the same charges, and those of which one in a hundred differs."""
        self.empty()
        self.load("ours", self.charges, self.rows)
        same, nothing = self.load("ours", self.charges, self.rows)
        changed, written = self.load("ours", self.changed, self.rows)
        again = (replace(same, name="ours, nothing changed"), replace(changed, name="ours, 1 % changed"))
        scene = Scene("Loaded again into the full table", ceiling, "plain COPY", again)
        return scene, {"unchanged": nothing, "one_percent_changed": written}

    def lz4(self) -> str:
        """What becomes of `COMPRESSION lz4` for the JSONB column on this server."""
        self.empty()
        try:
            with self.database.connect() as connection:
                connection.execute("alter table plain alter column raw set compression lz4")
        except StorageError as error:
            return f"not available: {str(error).split('refused: ')[-1].split('. Nothing')[0]}"
        found, _ = self.load("plain-copy", self.charges, self.rows)
        return f"COPY {found.rows_per_second:,.0f} rows/s"


def _write(path: Path, rows: int, *, changed: bool) -> Path:
    """One array, one charge of `RECORD_BYTES` a line."""
    source = Charges(rows)
    with path.open("w", encoding="utf-8") as stream:
        for first in range(0, rows, 100):
            cursor = {"starting_after": f"ch_{first - 1:09d}"} if first else {}
            page = json.loads(source.page({"limit": "100", **cursor}))["data"]
            for number, charge in enumerate(page, start=first):
                charge |= {"customer": f"cus_{number % 2000}", "payment_intent": f"pi_{number}"}
                charge["amount_captured"] = 4200 - (changed and number % _SHARE == 0)
                stream.write((",\n" if number else "[\n") + json.dumps(charge, separators=(",", ":")))
        stream.write("\n]\n")
    os.utime(path, (1_790_812_800 + changed, 1_790_812_800 + changed))
    return path


def _chart(scene: Scene) -> Chart:
    bars = [
        Bar(each.name, each.rows_per_second, f"{each.rows_per_second:,.0f} rows/s", each.kind)
        for each in sorted(scene.results, key=lambda each: -each.rows_per_second)
    ]
    return Chart(scene.title, tuple(bars))


@click.command()
@click.option("--rows", default=50_000, show_default=True, help="Charges to load.")
@click.option("--orm-rows", default=2_000, show_default=True, help="Charges for the ORM, which is slow.")
@click.option("--rounds", default=1, show_default=True, help="Rounds; the fastest of each counts.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for JSON and chart [default: the repository's]."
)
def main(*, rows: int, orm_rows: int, rounds: int, out: Path | None) -> None:
    """Measure, print, and write oltp.json and oltp.svg."""
    with tempfile.TemporaryDirectory(prefix="payments-pipeline-bench-") as folder:
        server = Server(Path(folder) / "oltp")
        server.up()
        try:
            os.environ["DATABASE_URL"] = server.url("bench")
            database = database_of(Settings.from_env(os.environ))
            files = [Path(folder) / f"{name}.json" for name in ("charges", "changed")]
            bench = Bench(
                database, _write(files[0], rows, changed=False), _write(files[1], rows, changed=True), rows
            )
            sizes = {name: orm_rows if name == "orm" else rows for name in _LABELS}
            first = bench.first_loads(sizes, rounds=rounds)
            again, written = bench.reloads(first.ceiling)
            lz4 = bench.lz4()
        finally:
            server.down()
    about = conditions(charge_bytes=RECORD_BYTES, written_again=written, jsonb_lz4=lz4)
    publish("oltp", [first, again], about, out=out, charts=[_chart(first)])
    click.echo(f"\nrows written again: {written}; JSONB with lz4: {lz4}")


if __name__ == "__main__":
    main()
