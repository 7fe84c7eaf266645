"""What every engine must do with files: those of bronze that it reads, twice, and those that it writes."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from payments_pipeline.errors import StorageError
from payments_pipeline.transform.engine import UnreadableLines
from tests.contract.bench import CHARGES, SILVER, Bench, Line, gone
from tests.lakes import CREATED, DAY, charge


def test_written_files_are_sorted_and_whole(bench: Bench) -> None:
    """A partition's file holds its rows in the grain's order, the same bytes every time."""
    numbers = [*range(40)]
    random.Random(1).shuffle(numbers)
    bench.merge([Line(charge(1, id=f"ch_{number:03d}"), 1) for number in numbers])
    path = bench.partitions["silver.charges"]["2026-01-02"]
    bench.engine.show(SILVER, [path])
    found = [row[0] for row in bench.engine.query("select charge_id from silver.charges").rows]
    assert found == [f"ch_{number:03d}" for number in range(40)]
    data = path.read_bytes()
    bench.forget()
    bench.merge([Line(charge(1, id=f"ch_{number:03d}"), 1) for number in range(40)])
    assert bench.partitions["silver.charges"]["2026-01-02"].read_bytes() == data


def test_writing_ends_with_the_first_error_or_when_nobody_waits(bench: Bench) -> None:
    """A folder that is not there is told, what is under way is stopped, and the engine then writes all the same."""
    lines = [Line(charge(number), 1) for number in range(40)]
    bench.forget()
    bench.engine.load_bronze(CHARGES, [bench.file(lines)])
    bench.engine.merge(SILVER, CHARGES, [])
    paths = {dt: bench.folder / f"{dt}.parquet" for dt in bench.engine.digests(SILVER)}
    [first, *_, last] = paths
    with pytest.raises(StorageError, match=r"could not be processed.*Nothing was published"):
        list(bench.engine.write(SILVER, {**paths, last: bench.folder / "nowhere" / "x.parquet"}))
    writing = bench.engine.write(SILVER, paths)
    assert next(writing) in paths
    writing.close()
    assert {*bench.engine.write(SILVER, paths)} == paths.keys()
    assert list(bench.engine.write(SILVER, {})) == []
    bench.engine.show(SILVER, [paths[first], paths[last]])
    assert bench.engine.query("select count(*) from silver.charges").rows == [(2,)]


def test_a_line_may_be_as_long_as_its_file(bench: Bench) -> None:
    """Long lines are read whole, alone in a file or across the ends of buffers, on both ways of reading."""
    widths = [3 * 2**20, 10, 15 * 2**20, 2**20, 2**20 - 1]
    for batch in (range(5), *([number] for number in range(5))):
        lines = [Line(charge(number, metadata={"note": "x" * widths[number]}), 1) for number in batch]
        bench.forget()
        bench.merge(lines)
        assert bench.rows("length(metadata ->> 'note')") == [(widths[number],) for number in batch]
        assert _unreconciled(bench, bench.file(lines)) == []


def test_lines_that_cannot_be_read_are_told(bench: Bench) -> None:
    """A line that slipped past the quick check is `UnreadableLines`, so that the build can look closer."""
    path = bench.file([])
    for broken in (
        '{"data":{"id":"a","id":"b"},"meta":{}}',
        '{"data":{"id":"a","amount":"x"},"meta":{}}',
        "{",
        "nonsense",
    ):
        path.write_text(broken + "\n", encoding="utf-8")
        with pytest.raises(UnreadableLines, match="charges"):
            bench.engine.load_bronze(CHARGES, [path])


def _unreconciled(bench: Bench, path: Path) -> list[tuple[object, ...]]:
    """What differs between a file's lines and the silver that is shown."""
    bench.engine.show_plainly(CHARGES, [path])
    return bench.engine.unreconciled(CHARGES, SILVER)


def _reconciled(bench: Bench, lines: Sequence[Line], published: Sequence[Line]) -> list[tuple[object, ...]]:
    bench.forget()
    bench.merge(published)
    return _unreconciled(bench, bench.file(lines))


def test_reconciliation_finds_the_smallest_difference(bench: Bench) -> None:
    """One minor unit, one row, one date, one currency: each is found with its date; equality is silence."""
    lines = [Line(charge(number % 3, id=f"ch_{number}"), 1) for number in range(12)]
    lines += [Line(charge(1, id="ch_old"), 0), Line(charge(1, id="ch_old", amount=3), 2), gone(1, 5)]
    assert _reconciled(bench, lines, lines) == []
    changes: list[dict[str, object]] = [
        {"amount": 1001},
        {"amount": 999},
        {"currency": "eur"},
        {"created": CREATED + 9 * DAY},
    ]
    for change in changes:
        changed = [Line({**lines[0].record, **change}, 1), *lines[1:]]
        assert _reconciled(bench, lines, changed), change
        assert "2026-01-01" in {row[0] for row in _reconciled(bench, lines, changed)}
    assert _reconciled(bench, lines, lines[1:])
    assert _reconciled(bench, lines, lines[:-1])


def test_reconciliation_reads_whatever_text_a_line_holds(bench: Bench) -> None:
    """Quotes, delimiters, line ends of other systems, a byte order mark, nothing, megabytes: each line is one line."""
    texts = [
        "",
        "'",
        '"',
        '\\"',
        "#",
        ",",
        "\t",
        "\x01",
        "\x7f",
        "a\r\nb",
        "\u0085\u2028",
        "\ufeff",
        "é",
        "NULL",
        "x" * 3_000_000,
    ]
    lines = [Line(charge(1, id=f"ch_{number}", description=found), 1) for number, found in enumerate(texts)]
    bench.merge(lines)
    path = bench.file([])
    found = (json.dumps(json.loads(line.text()), ensure_ascii=False, separators=(",", ":")) for line in lines)
    path.write_text("".join(f"{line}\n" for line in found), encoding="utf-8")
    assert _unreconciled(bench, path) == []
    bench.forget()
    bench.merge(lines[1:])
    assert [row[:4] for row in _unreconciled(bench, path)] == [
        ("2026-01-02", "usd", len(lines), len(lines) - 1)
    ]
