"""A run as seen on a terminal: progress while it works, a table when it is done."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from payments_pipeline.state.manifest import Manifest

_SPOKEN = {
    "source_opened": "reading {source}, account {account}",
    "extract_complete": "extracted {records} records in {api_calls} calls ({retries} retries)",
    "extract_skipped": "nothing to extract: {reason}",
    "transform_complete": "built: {staged} partitions changed, {removed} removed",
    "transform_skipped": "nothing to build: {reason}",
    "quality_passed": "audited: {checks} checks passed",
    "quality_failed": "audited: {failed} of {checks} checks failed",
    "quality_skipped": "nothing to audit: {reason}",
    "publish_complete": "published {partitions} partitions",
    "publish_recovered": "finished publishing run {recovered_run_id}, which was interrupted",
    "rows_kept_without_bronze": "{entity}: {rows} rows kept whose bronze retention has removed",
    "rows_lost": "{rows} rows are lost: their file was damaged and their bronze is gone",
    "fetch_complete": "wrote {records} records to {folder}",
    "records_quarantined": "{entity}: {records} records put into quarantine",
}

_NO_EDGE = 100_000


class TerminalReporter:
    """Draws what is being fetched on standard error and says what was done, line by line."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<22}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:>9,.0f} records"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def event(self, name: str, **fields: object) -> None:
        """Say what happened, if it is for people."""
        if name in _SPOKEN:
            self._console.print("•", _SPOKEN[name].format(**fields), highlight=False)

    def progress(self, entity: str, records: int) -> None:
        """Count records under the entity's bar."""
        with self._lock:
            if entity not in self._tasks:
                self._tasks[entity] = self._progress.add_task(entity, total=None)
        self._progress.advance(self._tasks[entity], records)


def summary(manifest: Manifest, lake: str) -> Table:
    """The closing table of a run: per entity what was fetched and what became of it."""
    table = Table(title=f"run {manifest.run_id}: {manifest.outcome}", title_justify="left")
    table.add_column("entity", no_wrap=True)
    for column in ("listed", "retrieved", "quarantined", "new in silver", "rows in silver"):
        table.add_column(column, justify="right")
    counts = manifest.transform.counts if manifest.transform else {}
    for name in sorted({*manifest.extract.entities, *counts}):
        fetched, built = manifest.extract.entities.get(name), counts.get(name)
        table.add_row(
            name,
            f"{fetched.listed:,}" if fetched else "",
            f"{fetched.retrieved + fetched.absent:,}" if fetched else "",
            f"{fetched.quarantined:,}" if fetched else "",
            f"{built.inserted:,}" if built else "",
            f"{built.after:,}" if built else "",
        )
    table.caption = _caption(manifest, lake)
    table.caption_justify = "left"
    return table


def _caption(manifest: Manifest, lake: str) -> str:
    lines = [f"lake {lake}"]
    if manifest.quality is not None:
        passed = sum(check.passed for check in manifest.quality.checks)
        lines.append(f"{passed} of {len(manifest.quality.checks)} checks passed")
    if manifest.publish is not None:
        lines.append(
            f"{manifest.publish.written} partitions published, content digest {manifest.publish.digest[:16]}"
        )
        question = "select currency, net_minor from marts.revenue_daily where revenue_date = today()"
        lines.append(f'next: payments-pipeline query "{question}"')
    return "\n".join(lines)


def answering(stream: TextIO | None = None) -> Console:
    """Where an answer is printed: standard output, or the stream. What is no terminal has no edge to fold tables at."""
    found = Console(file=stream)
    return found if found.is_terminal else Console(file=stream, width=_NO_EDGE)


def table_of(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Rows as a table; numbers to the right."""
    rows = list(rows)
    table = Table()
    for index, column in enumerate(columns):
        numeric = any(isinstance(row[index], int | float) for row in rows)
        table.add_column(Text(column), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(_shown, row))
    return table


def print_answer(console: Console, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table; on a terminal where that would break values, a record for each row."""
    table = table_of(columns, rows)
    unbroken = console.options.update(max_width=_NO_EDGE)
    if not console.is_terminal or Measurement.get(console, unbroken, table).maximum <= console.width:
        console.print(table)
    elif not rows:
        console.print(Text(f"no rows of {', '.join(columns)}"))
    else:
        for number, row in enumerate(rows, 1):
            console.rule(Text(str(number)), align="left")
            console.print(_record(columns, row))


def _record(columns: Sequence[str], row: Sequence[object]) -> Table:
    """A line for each column: its name, its value."""
    record = Table.grid(padding=(0, 2))
    record.add_column(no_wrap=True)
    record.add_column(overflow="fold")
    for column, value in zip(columns, row, strict=True):
        record.add_row(Text(column), _shown(value))
    return record


def _shown(value: object) -> Text:
    return Text("" if value is None else str(value))
