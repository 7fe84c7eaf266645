"""A run that goes on after a newer one has published undoes nothing: silver is what all of bronze makes of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from payments_pipeline import layout
from payments_pipeline.errors import QualityError, UsageError
from payments_pipeline.flow import Page, Source
from payments_pipeline.pipeline import check_and_publish, opened
from payments_pipeline.state.head import read_head
from payments_pipeline.state.manifest import write_manifest
from tests.lakes import (
    CREATED,
    DAY,
    INVOICE_MODELS,
    Clock,
    charge,
    land,
    open_small_lake,
    page,
    publish,
    rows,
    stage,
)


@dataclass(frozen=True, slots=True)
class Seen:
    """An observation of invoice `number` at `second`: with so many lines, or as deleted if None."""

    number: int
    lines: int | None
    second: int

    def page(self) -> Page:
        """It as a page of its own."""
        record: dict[str, object] = {"id": f"in_{self.number}", "object": "invoice"}
        if self.lines is None:
            record |= {"deleted": True}
        else:
            data = [{"id": f"il_{self.number}_{line}"} for line in range(self.lines)]
            record |= {
                "created": CREATED + self.number * DAY,
                "currency": "usd",
                "total": self.second,
                "lines": {"data": data, "has_more": False},
            }
        moment = datetime.fromtimestamp(CREATED + self.second, UTC)
        source: Source = "absent" if self.lines is None else "retrieve"
        return Page("invoices", source, moment, "req_1", "2026-10-28.endive", (json.dumps(record).encode(),))


def _seen(first: int, last: int) -> st.SearchStrategy[list[Seen]]:
    one = st.builds(Seen, st.integers(0, 1), st.none() | st.integers(0, 2), st.integers(first, last))
    return st.lists(one, max_size=4, unique_by=lambda seen: seen.second)


@settings(max_examples=12, deadline=None)
@given(_seen(1, 9), _seen(11, 19), _seen(21, 29))
def test_an_overtaken_run_leaves_what_a_rebuild_makes(
    early: Sequence[Seen], newer: Sequence[Seen], late: Sequence[Seen]
) -> None:
    """It saw some before the newer run did, and some after; the newer run merged the former, and it brings them again."""
    clock = Clock()
    with (
        TemporaryDirectory() as folder,
        open_small_lake(Path(folder) / "lake", clock=clock, models=INVOICE_MODELS) as lake,
    ):
        land(lake, "overtaken", [seen.page() for seen in early])
        clock.forward(10)
        land(lake, "newer", [seen.page() for seen in newer])
        publish(lake, "newer")
        clock.forward(10)
        land(lake, "overtaken", [seen.page() for seen in (*early, *late)])
        assert publish(lake, "overtaken").publish is not None
        clock.forward(10)
        rebuilt = stage(lake, "rebuilt", rebuild=True).manifest.transform
        assert rebuilt is not None
        assert (rebuilt.staged, rebuilt.removed) == ((), ())


def test_what_an_older_run_saw_last_counts(tmp_path: Path) -> None:
    """An invoice that lost its lines does not get them back; a deletion seen by the older run marks the newer state."""
    clock = Clock()
    with open_small_lake(tmp_path / "lake", clock=clock, models=INVOICE_MODELS) as lake:
        land(lake, "overtaken", [Seen(0, 2, 1).page(), Seen(1, 2, 1).page()])
        clock.forward(10)
        land(lake, "newer", [Seen(0, 0, 11).page(), Seen(1, 1, 11).page()])
        publish(lake, "newer")
        clock.forward(10)
        land(lake, "overtaken", [Seen(0, 2, 1).page(), Seen(1, 2, 1).page(), Seen(1, None, 21).page()])
        publish(lake, "overtaken")
        assert rows(lake, "select invoice_id, total_minor, is_deleted from silver.invoices order by 1") == [
            ("in_0", 11, False),
            ("in_1", 11, True),
        ]
        assert rows(lake, "select invoice_line_id, is_deleted from silver.invoice_lines") == [
            ("il_1_0", True)
        ]


def test_a_rebuild_shows_of_an_overtaken_run_what_is_shown(tmp_path: Path) -> None:
    """It went on and was stopped again: what it landed since then waits until it ends, what is published stays."""
    clock = Clock()
    with open_small_lake(tmp_path / "lake", clock=clock, models=INVOICE_MODELS) as lake:
        early = land(lake, "overtaken", [Seen(0, 2, 1).page()])
        clock.forward(10)
        land(lake, "newer", [Seen(1, 1, 11).page()])
        publish(lake, "newer")
        clock.forward(10)
        late = land(lake, "overtaken", [Seen(1, 2, 21).page()])
        parts = (*early.extract.parts, *late.extract.parts)
        begun = late.extract.model_copy(update={"parts": parts, "finished_at": None})
        write_manifest(lake.storage, late.model_copy(update={"extract": begun}))
        rebuilt = stage(lake, "rebuilt", rebuild=True).manifest.transform
        assert rebuilt is not None
        assert (rebuilt.staged, rebuilt.removed) == ((), ())
        land(lake, "next", [Seen(2, 1, 31).page()])
        publish(lake, "next")
        assert rows(lake, "select invoice_id, total_minor from silver.invoices order by 1") == [
            ("in_0", 1),
            ("in_1", 21),
            ("in_2", 31),
        ]


@pytest.mark.parametrize("rebuild", [False, True], ids=["merged", "rebuilt"])
@pytest.mark.parametrize("order", [("stopped", "newer"), ("newer", "stopped")], ids=["read", "left out"])
def test_a_build_is_outdated_once_a_run_that_it_saw_has_gone_on(
    tmp_path: Path, order: tuple[str, str], *, rebuild: bool
) -> None:
    """Its audit would call lost what was landed since: it is to be made again. A build that did not look there goes on."""
    clock = Clock()
    pages = {"stopped": page([charge(1)], seen=11), "newer": page([charge(2)], seen=12)}
    with open_small_lake(tmp_path / "lake", clock=clock) as lake:
        land(lake, "first", [page([charge(0)])])
        publish(lake, "first")
        clock.forward(10)
        for run_id in order:
            landed = land(lake, run_id, [pages[run_id]])
            if run_id == "stopped":
                begun = landed.extract.model_copy(update={"finished_at": None})
                write_manifest(lake.storage, landed.model_copy(update={"extract": begun}))
        stage(lake, "build", rebuild=rebuild)
        clock.forward(10)
        land(lake, "stopped", [pages["stopped"], page([charge(3)], seen=13)])
        if rebuild or order[0] == "stopped":
            with opened(lake, "build") as run, pytest.raises(UsageError, match=r"stopped .* again\. Nothing"):
                check_and_publish(lake, run, max_quarantine_share=0.0)
            publish(lake, "build")
        else:
            with opened(lake, "build") as run:
                check_and_publish(lake, run, max_quarantine_share=0.0)
            publish(lake, "next")
        assert rows(lake, "select count(*) from silver.charges") == [(4,)]


def test_a_lost_head_knows_what_an_overtaken_run_landed_since(tmp_path: Path) -> None:
    """The run is consumed, its newer bronze is not."""
    clock = Clock()
    with open_small_lake(tmp_path / "lake", clock=clock, models=INVOICE_MODELS) as lake:
        land(lake, "overtaken", [Seen(0, 2, 1).page()])
        clock.forward(10)
        land(lake, "newer", [Seen(1, 1, 11).page()])
        publish(lake, "newer")
        clock.forward(10)
        land(lake, "overtaken", [Seen(0, 2, 1).page(), Seen(2, 1, 21).page()])
        lake.storage.delete(layout.HEAD)
        assert read_head(lake.storage).pending == ("overtaken",)
        publish(lake, "next")
        assert rows(lake, "select count(*) from silver.invoices") == [(3,)]
        lake.storage.delete(layout.HEAD)
        assert read_head(lake.storage).pending == ()


def test_records_of_former_runs_are_not_counted_against_an_overtaken_one(tmp_path: Path) -> None:
    """Its entities are built from all bronze; the share in quarantine is of what is new, neither raised nor diluted."""
    clock, bad = Clock(), page([b'{"id": 1}', b"{"])
    with open_small_lake(tmp_path / "lake", clock=clock) as lake:
        land(lake, "bad", [page([charge(0)]), bad])
        publish(lake, "bad", max_quarantine_share=0.9)
        clock.forward(10)
        land(lake, "overtaken", [page([charge(1)], seen=11)])
        clock.forward(10)
        land(lake, "newer", [page([charge(number) for number in range(2, 9)], seen=21)])
        publish(lake, "newer", max_quarantine_share=0.01)
        clock.forward(10)
        land(lake, "overtaken", [page([charge(1)], seen=11), page([charge(10)], seen=31)])
        assert publish(lake, "overtaken", max_quarantine_share=0.01).publish is not None
        clock.forward(10)
        land(lake, "half", [page([charge(11), b"{"], seen=41)])
        with pytest.raises(QualityError, match="1 of 2 records"):
            publish(lake, "half", max_quarantine_share=0.1)
