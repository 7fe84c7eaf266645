from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from payments_pipeline.errors import ModelError
from tests.lakes import MODELS, Clock, charge, land, open_small_lake, page, publish, refund, rows


def _changed(layer: str, before: str, after: str) -> dict[str, str]:
    """The small lake's models, with one text of a layer's SQL replaced."""
    models = {
        name: sql.replace(before, after) if name.startswith(layer) else sql for name, sql in MODELS.items()
    }
    assert models != MODELS
    return models


def _published(root: Path, models: dict[str, str]) -> Clock:
    clock = Clock()
    with open_small_lake(root, clock=clock, models=models) as lake:
        land(lake, "first", [page([charge(n) for n in range(4)], seen=10), page([refund(1)], seen=11)])
        publish(lake, "first")
    return clock


def test_an_amount_of_another_type_is_written_everywhere(tmp_path: Path) -> None:
    """1000 minor units are 10.00 major ones to a hash of values: no day may keep its old file."""
    clock = _published(tmp_path / "lake", MODELS)
    models = _changed("gold", "sum(amount_minor)::bigint as", "(sum(amount_minor) / 100)::decimal(18, 2) as")
    with open_small_lake(tmp_path / "lake", clock=clock, models=models) as lake:
        land(lake, "second", [page([charge(0, amount=5000)], seen=40)])
        publish(lake, "second")
        found = rows(lake, "select sold_minor::varchar, typeof(sold_minor) from gold.fct_sales order by day")
    assert found == [(amount, "DECIMAL(18,2)") for amount in ("50.00", "10.01", "10.02", "10.03")]


def test_a_column_of_another_name_is_written_everywhere(tmp_path: Path) -> None:
    """A column that is only renamed holds the same values: every file has its new name all the same."""
    clock = _published(tmp_path / "lake", MODELS)
    with open_small_lake(tmp_path / "lake", clock=clock, models=_changed("", "sold_minor", "sold")) as lake:
        land(lake, "second", [page([charge(0)], seen=40)])
        publish(lake, "second")
        assert rows(lake, "select sold from gold.fct_sales order by day") == [
            (1000,),
            (1001,),
            (1002,),
            (1003,),
        ]


@pytest.fixture
def far_from_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine on which the day ends five hours after UTC's."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("far_from_greenwich")
def test_days_are_of_utc_on_every_machine(tmp_path: Path) -> None:
    """A model that makes a date of an instant gets UTC's, whichever connection builds it."""
    day = "to_timestamp(epoch(created_at))::date as day"
    clock = _published(tmp_path / "lake", _changed("gold", "created_at::date as day", day))
    with open_small_lake(tmp_path / "lake", clock=clock, models=MODELS) as lake:
        lake.show_published()
        found = rows(lake, "select day::varchar from gold.fct_sales order by day")
    assert found == [(f"2026-01-0{number}",) for number in (1, 2, 3, 4)]


def test_silver_that_could_not_be_merged_is_refused_at_once(tmp_path: Path) -> None:
    """A silver model without `deleted_at` is refused by the first run, not by the one that merges with its files."""
    models = _changed("silver/charges", " _deleted_at as deleted_at,", "")
    models["silver/charges"] = models["silver/charges"].replace('deleted_at = "d"\n', "")
    with pytest.raises(ModelError, match=r"silver/charges\.sql.*deleted_at"):
        _published(tmp_path / "lake", models)
