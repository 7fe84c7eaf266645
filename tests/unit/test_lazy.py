"""What is fetched of a model's files is what a scan can need of them."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from payments_pipeline.errors import CorruptObject, StorageError
from payments_pipeline.flow import EPOCH_DT, Partition
from payments_pipeline.transform.lazy import LazyDataset

SCHEMA = pa.schema(
    [("id", pa.int64()), ("created_at", pa.timestamp("us")), ("day", pa.date32()), ("a", pa.int64())]
)
DAYS = (EPOCH_DT, "2026-01-01", "2026-01-02", "9999-12-31", "10000-01-01")


class Fetched:
    """Fetches files that have no rows, and remembers which, with what columns."""

    def __init__(self, folder: Path) -> None:
        self.days: list[str] = []
        self.columns: frozenset[str] = frozenset()
        self.file = folder / "empty.parquet"
        pq.write_table(SCHEMA.empty_table(), self.file)

    def __call__(self, partition: Partition, columns: frozenset[str]) -> Path:
        """The file."""
        self.days.append(partition.key)
        self.columns = columns
        return self.file


def _scanned(folder: Path, partition_by: str | None, **scan: Any) -> Fetched:
    fetched = Fetched(folder)
    partitions = {dt: Partition(dt, 0, 0, "", "") for dt in DAYS}
    LazyDataset(SCHEMA, partitions, partition_by, fetched).scanner(**scan).to_table()
    fetched.days.sort(key=DAYS.index)
    return fetched


@pytest.mark.parametrize(
    ("partition_by", "condition", "days"),
    [
        ("created_at", pc.field("created_at") >= datetime(2026, 1, 2), DAYS[:1] + DAYS[2:]),  # noqa: DTZ001 - UTC, as the files hold it
        ("created_at", pc.field("created_at") < datetime(2026, 1, 2), DAYS[:2] + DAYS[3:]),  # noqa: DTZ001 - UTC, as the files hold it
        ("day", pc.field("day") == date(2026, 1, 1), (DAYS[0], DAYS[1], DAYS[3], DAYS[4])),
        ("created_at", pc.field("created_at").is_null(), (DAYS[0], DAYS[3], DAYS[4])),
        ("created_at", pc.field("a") == 1, DAYS),
        (None, pc.field("created_at") < datetime(2026, 1, 2), DAYS),  # noqa: DTZ001 - UTC, as the files hold it
        ("id", pc.field("id") < 0, DAYS),
        ("created_at", None, DAYS),
    ],
)
def test_only_files_that_may_hold_such_rows_are_fetched(
    tmp_path: Path, partition_by: str | None, condition: Any, days: tuple[str, ...]
) -> None:
    """Files of no date, and of days beyond the calendar, may hold any row."""
    assert tuple(_scanned(tmp_path, partition_by, columns=["a"], filter=condition).days) == days


def test_columns_are_those_of_the_answer_and_of_the_filter(tmp_path: Path) -> None:
    """All if none are named."""
    condition = (pc.field("created_at") > datetime(2026, 1, 2)) & pc.field("a").isin([1, 2])  # noqa: DTZ001 - UTC, as the files hold it
    assert _scanned(tmp_path, None, columns=["id"], filter=condition).columns == {"id", "created_at", "a"}
    assert _scanned(tmp_path, None, columns=["id"]).columns == {"id"}
    assert _scanned(tmp_path, None).columns == {*SCHEMA.names}


def test_a_failure_is_told_once_as_it_was(tmp_path: Path) -> None:
    """Whatever became of it on its way through DuckDB; a dataset that was stopped fetches nothing."""

    def fail(*_: object) -> Path:
        raise CorruptObject("this file")

    dataset = LazyDataset(SCHEMA, {DAYS[1]: Partition("key", 0, 0, "", "")}, None, fail)
    with pytest.raises(CorruptObject):
        dataset.scanner()
    with pytest.raises(CorruptObject, match="this file"):
        dataset.explain()
    dataset.explain()
    dataset.stop()
    with pytest.raises(StorageError, match="interrupted"):
        dataset.scanner()
