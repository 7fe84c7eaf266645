"""The rows of child tables, which come and go with their parents, are checked against those of every other parent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from payments_pipeline.errors import QualityError
from payments_pipeline.flow import Page
from payments_pipeline.lake import Lake
from payments_pipeline.pipeline import check_and_publish, opened, transform
from tests.lakes import CREATED, DAY, INVOICE_MODELS, Clock, land, open_small_lake, publish, rows


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    """A lake of invoices and their lines."""
    with open_small_lake(tmp_path / "lake", clock=Clock(), models=INVOICE_MODELS) as opened_lake:
        yield opened_lake


def _land(lake: Lake, run_id: str, invoices: dict[int, Sequence[str]], *, seen: int) -> None:
    """Land invoice `n`, made on day `n` of 2026, with these lines."""
    records = [
        {
            "id": f"in_{number:08d}",
            "object": "invoice",
            "created": CREATED + number * DAY,
            "currency": "usd",
            "total": 100,
            "lines": {"object": "list", "data": [{"id": line} for line in lines], "has_more": False},
        }
        for number, lines in invoices.items()
    ]
    texts = tuple(json.dumps(record).encode() for record in records)
    observed_at = datetime.fromtimestamp(CREATED + seen, UTC)
    land(lake, run_id, [Page("invoices", "list", observed_at, "req_1", "2026-10-28.endive", texts)])


def _lines(lake: Lake) -> list[tuple[object, ...]]:
    return rows(lake, "select invoice_line_id, right(invoice_id, 1) from silver.invoice_lines order by all")


@pytest.mark.parametrize("rebuild", [False, True], ids=["a run", "a rebuild"])
def test_a_line_of_two_invoices_is_refused(lake: Lake, *, rebuild: bool) -> None:
    """An id that an invoice of another day has already is found, though nothing of that day has changed."""
    _land(lake, "first", {0: ["il_a", "il_b"], 1: ["il_c"]}, seen=10)
    publish(lake, "first")
    before = _lines(lake)
    _land(lake, "second", {40: ["il_d", "il_a"]}, seen=20)
    with (
        opened(lake, "second") as run,
        pytest.raises(QualityError, match=r"grain on silver\.invoice_lines: 1 bad"),
    ):
        check_and_publish(lake, transform(lake, run, rebuild=rebuild), max_quarantine_share=0.5)
    assert _lines(lake) == before
    _land(lake, "third", {40: ["il_d", "il_e"]}, seen=30)
    publish(lake, "third")
    assert _lines(lake) == [*before, ("il_d", "0"), ("il_e", "0")]


def test_a_line_may_move_to_another_invoice(lake: Lake) -> None:
    """Once its old invoice no longer names it, the id is free: in the same run, or before."""
    _land(lake, "first", {0: ["il_a", "il_b"], 1: ["il_c"]}, seen=10)
    publish(lake, "first")
    _land(lake, "second", {0: ["il_b"], 40: ["il_a"]}, seen=20)
    publish(lake, "second")
    _land(lake, "third", {1: []}, seen=30)
    publish(lake, "third")
    _land(lake, "fourth", {2: ["il_c"]}, seen=40)
    publish(lake, "fourth")
    assert _lines(lake) == [("il_a", "0"), ("il_b", "0"), ("il_c", "2")]
