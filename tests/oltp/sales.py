"""Small lakes with one or two gold models, for the tests of gold in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from payments_pipeline.lake import Lake
from payments_pipeline.storage import Storage
from tests import lakes
from tests.lakes import charge, page

SALES = "gold/fct_sales"
HIGHEST = """/*
description = "The highest charge of a day."
grain = ["day", "currency"]
partition_by = "day"
[columns]
day = "d"
currency = "c"
highest_minor = "h"
*/
select created_at::date as day, currency, max(amount_minor)::bigint as highest_minor
from silver.charges where not is_deleted group by all
"""
TWO = {**lakes.MODELS, "gold/fct_highest": HIGHEST}
WIDER = lakes.MODELS[SALES].replace('sold_minor = "s"', 'sold_minor = "s"\ncharges = "n"')
WIDER = WIDER.replace("as sold_minor", "as sold_minor, count(*) as charges")
CHANGED = {**lakes.MODELS, SALES: WIDER}
HIGHER = HIGHEST.replace('highest_minor = "h"', 'highest_minor = "h"\ncharges = "n"')
HIGHER = HIGHER.replace("as highest_minor", "as highest_minor, count(*) as charges")
BOTH_CHANGED = {**CHANGED, "gold/fct_highest": HIGHER}
PUBLICATION = "select model, run_id from gold.publication order by model"


class Shop:
    """A small lake, and a clock for its runs."""

    def __init__(self, root: Path) -> None:
        self.root, self.clock, self.runs = root, lakes.Clock(), 0

    @contextmanager
    def lake(
        self,
        models: Mapping[str, str] | None = None,
        wrap: Callable[[Storage], Storage] = lambda storage: storage,
    ) -> Iterator[Lake]:
        with lakes.open_small_lake(self.root, clock=self.clock, models=models, wrap=wrap) as opened:
            yield opened

    def sell(self, *numbers: int, lake: Lake) -> None:
        """One run that brings these charges in and publishes."""
        self.runs += 1
        self.clock.forward(60)
        lakes.land(lake, f"run-{self.runs}", [page([charge(number) for number in numbers], seen=self.runs)])
        lakes.publish(lake, f"run-{self.runs}")


def everything(connection: psycopg.Connection, statement: str) -> list[tuple[Any, ...]]:
    """The answer's rows."""
    return connection.execute(statement.encode()).fetchall()
