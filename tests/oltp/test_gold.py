"""Gold models as tables: what they hold, what becomes of them when models change, and what readers see meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest

from payments_pipeline.errors import CorruptObject, ModelError, StorageError
from payments_pipeline.oltp import gold
from payments_pipeline.session import open_for_reading
from payments_pipeline.storage import Storage
from tests import lakes
from tests.e2e.harness import settings_for
from tests.oltp.sales import CHANGED, HIGHEST, PUBLICATION, SALES, TWO, Shop, everything


@pytest.fixture
def shop(folder: Path) -> Shop:
    """Nothing sold yet."""
    return Shop(folder / "lake")


class _Told:
    """A storage that does what the one inside does; before it does, it tells which operation on which key."""

    def __init__(self, inner: Storage, tell: Callable[[str, str], None]) -> None:
        self._inner, self._tell = inner, tell

    def __getattr__(self, operation: str) -> Any:
        found = getattr(self._inner, operation)
        if not callable(found):
            return found

        def told(*values: Any, **named: Any) -> Any:
            if values and isinstance(values[0], str):
                self._tell(operation, values[0])
            return found(*values, **named)

        return told


def _telling(tell: Callable[[str, str], None]) -> Callable[[Storage], Storage]:
    return lambda storage: cast("Storage", _Told(storage, tell))


class _Stopped(Exception):  # a process that is gone, no error
    """What stops a publish half way."""


def _asleep(seconds: float) -> None:
    """Nobody waits."""


def test_tables_equal_the_lakes_models(connection: psycopg.Connection, loaded: Path) -> None:
    """Every gold model and mart has all its rows, value by value, in columns of types that hold them exactly."""
    with open_for_reading(settings_for(loaded)) as lake:
        published = gold.publish(connection, lake)
        lake.show_published()
        models = [model for model in lake.models.built if model.layer in {"gold", "marts"}]
        assert [line.model for line in published.models] == [model.qualified for model in models]
        for model in models:
            types = lake.engine.query(f"describe {model.qualified}").pairs()
            times = {
                column: f"\"{column}\" at time zone 'UTC'"
                for column, kind in types.items()
                if kind == "TIMESTAMP"
            }
            listed = ", ".join(times.get(column, f'"{column}"') for column in types)
            expected = lake.engine.query(f"select * from {model.qualified}").rows
            found = everything(connection, f"select {listed} from {model.qualified}")
            assert sorted(map(repr, found)) == sorted(map(repr, expected)), model.qualified
    assert sum(line.rows for line in published.models) > 50


def test_what_postgresql_cannot_store_in_a_text_is_replaced(
    connection: psycopg.Connection, shop: Shop
) -> None:
    """One NUL in a text stops nothing: U+FFFD stands in its place, no row is left out, and every other value is as it was."""
    with shop.lake() as lake:
        lakes.land(lake, "run-1", [lakes.page([lakes.charge(0, currency="\0u\0"), lakes.charge(1)])])
        lakes.publish(lake, "run-1")
        assert [line.rows for line in gold.publish(connection, lake).models] == [2]
        assert not any(line.written for line in gold.publish(connection, lake).models)
    found = everything(connection, "select currency, sold_minor from gold.fct_sales order by day")
    assert found == [("\ufffdu\ufffd", 1000), ("usd", 1001)]


def _damage(path: Path) -> None:
    """Change one byte of the file; once more, and it is as it was."""
    found = bytearray(path.read_bytes())
    found[len(found) // 2] ^= 1
    path.write_bytes(found)


def test_only_gold_is_read(connection: psycopg.Connection, shop: Shop) -> None:
    """A damaged file of gold is named, and PostgreSQL stays as it was; one of silver is none of its business."""
    with shop.lake(TWO) as lake:
        shop.sell(0, 1, lake=lake)
        gold.publish(connection, lake)
        shop.sell(2, lake=lake)
    silver, damaged = (max((shop.root / layer).rglob("*.parquet")) for layer in ("silver", "gold"))
    _damage(silver)
    _damage(damaged)
    with shop.lake(TWO) as lake, pytest.raises(CorruptObject) as refused:
        gold.publish(connection, lake)
    assert damaged.relative_to(shop.root).as_posix() in str(refused.value)
    assert {run for _, run in everything(connection, PUBLICATION)} == {"run-1"}
    for table in ("fct_sales", "fct_highest"):
        assert everything(connection, f"select count(*) from gold.{table}") == [(2,)]
    _damage(damaged)
    with shop.lake(TWO) as lake:
        assert [line.rows for line in gold.publish(connection, lake).models] == [3, 3]


def test_what_has_not_changed_is_left_alone(connection: psycopg.Connection, shop: Shop) -> None:
    """A second publish writes only the tables whose content differs, and all of them name the new run."""
    only_refunds = {**TWO, "gold/fct_refunded": HIGHEST.replace("charges", "refunds")}
    with shop.lake(only_refunds) as lake:
        shop.sell(0, 1, lake=lake)
        assert all(line.written and line.new for line in gold.publish(connection, lake).models)
        assert not any(line.written or line.new for line in gold.publish(connection, lake).models)
        shop.sell(2, lake=lake)
        second = gold.publish(connection, lake)
    assert not any(line.new for line in second.models)
    assert {line.model: (line.written, line.rows) for line in second.models} == {
        "gold.fct_sales": (True, 3),
        "gold.fct_highest": (True, 3),
        "gold.fct_refunded": (False, 0),
    }
    assert {run for _, run in everything(connection, PUBLICATION)} == {"run-2"}


def _killed_between_two_lists(shop: Shop) -> None:
    """A run that brings in another day and is gone when one of the two gold models has its new list."""
    swapped: list[str] = []

    def stop(operation: str, key: str) -> None:
        if operation == "swap" and "/_latest/gold" in key:
            swapped.append(key)
            if len(swapped) > 1:
                raise _Stopped

    with shop.lake(TWO, _telling(stop)) as lake, pytest.raises(_Stopped):
        shop.sell(5, lake=lake)


def test_a_half_published_lake_is_not_loaded(connection: psycopg.Connection, shop: Shop) -> None:
    """A run begins to publish after the load began, and dies between two lists: PostgreSQL waits, and stays as it was."""
    with shop.lake(TWO) as lake:
        shop.sell(0, 1, lake=lake)
        gold.publish(connection, lake)
    begun: list[str] = []

    def begin(operation: str, key: str) -> None:
        if "/_latest/" in key and not begun:
            begun.append(key)
            _killed_between_two_lists(shop)

    with shop.lake(TWO, _telling(begin)) as lake, pytest.raises(StorageError, match="no complete state"):
        gold.publish(connection, lake, sleep=_asleep)
    assert begun
    assert {run for _, run in everything(connection, PUBLICATION)} == {"run-1"}
    for table in ("fct_sales", "fct_highest"):
        assert everything(connection, f"select count(*) from gold.{table}") == [(2,)]


def test_a_publish_that_is_finished_meanwhile_is_loaded(connection: psycopg.Connection, shop: Shop) -> None:
    """The same, but the next run finishes what was begun: all of the new publication is loaded."""
    with shop.lake(TWO) as lake:
        shop.sell(0, 1, lake=lake)
    waited: list[float] = []

    def finish(seconds: float) -> None:
        if not waited:
            with shop.lake(TWO) as lake:
                shop.sell(6, lake=lake)
        waited.append(seconds)

    _killed_between_two_lists(shop)
    with shop.lake(TWO) as lake:
        published = gold.publish(connection, lake, sleep=finish)
    assert [line.rows for line in published.models] == [4, 4]
    assert all(line.written for line in published.models)
    assert waited


def test_the_table_of_a_removed_model_goes(connection: psycopg.Connection, shop: Shop) -> None:
    """A model that is gone from sql/ is gone from PostgreSQL; tables that are nobody's models stay."""
    with shop.lake(TWO) as lake:
        shop.sell(0, lake=lake)
        gold.publish(connection, lake)
    connection.execute("create table gold.mine (id bigint)")
    (shop.root.parent / "lake-sql/gold/fct_highest.sql").unlink()
    with shop.lake(lakes.MODELS) as lake:
        published = gold.publish(connection, lake)
    assert published.removed == ("gold.fct_highest",)
    assert [model for model, _ in everything(connection, PUBLICATION)] == ["gold.fct_sales"]
    assert everything(connection, "select to_regclass('gold.fct_highest'), count(*) from gold.mine") == [
        (None, 0)
    ]


def test_changed_columns_make_a_new_table(connection: psycopg.Connection, shop: Shop) -> None:
    """A model with another column has a table with that column, all its rows, and its key."""
    with shop.lake() as lake:
        shop.sell(0, 1, lake=lake)
        gold.publish(connection, lake)
    with shop.lake(CHANGED) as lake:
        shop.sell(2, lake=lake)
        gold.publish(connection, lake)
        assert not any(line.written for line in gold.publish(connection, lake).models)
    assert everything(connection, "select sold_minor, charges from gold.fct_sales order by day") == [
        (1000, 1),
        (1001, 1),
        (1002, 1),
    ]
    with pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute("insert into gold.fct_sales select * from gold.fct_sales limit 1")


def test_a_view_that_is_in_the_way_is_named(connection: psycopg.Connection, shop: Shop) -> None:
    """Where somebody's view needs a table that must go, one error says which; PostgreSQL stays as it was."""
    with shop.lake() as lake:
        shop.sell(0, lake=lake)
        gold.publish(connection, lake)
        connection.execute("create view public.report as select day, sold_minor from gold.fct_sales")
        shop.sell(1, lake=lake)
        gold.publish(connection, lake)
    assert everything(connection, "select count(*) from public.report") == [(2,)]
    with shop.lake(CHANGED) as lake:
        shop.sell(2, lake=lake)
        with pytest.raises(StorageError, match=r"gold\.fct_sales .*report.*as it was") as refused:
            gold.publish(connection, lake)
        assert "upgrade" not in str(refused.value)
        assert everything(connection, "select count(*) from public.report") == [(2,)]
        connection.execute("drop view public.report")
        gold.publish(connection, lake)
    assert everything(connection, "select sum(charges) from gold.fct_sales") == [(3,)]


def test_somebody_elses_table_is_not_touched(connection: psycopg.Connection, shop: Shop) -> None:
    """A table of a model's name that publish-gold did not make stops it."""
    connection.execute("create schema gold")
    connection.execute("create table gold.fct_sales as select 1 as mine")
    with shop.lake() as lake:
        shop.sell(0, lake=lake)
        with pytest.raises(StorageError, match=r"gold\.fct_sales .*was not made by"):
            gold.publish(connection, lake)
    assert everything(connection, "select mine from gold.fct_sales") == [(1,)]


def test_a_type_that_postgresql_does_not_get_is_named(connection: psycopg.Connection, shop: Shop) -> None:
    """A model with a column of an unknown type is refused with model, column and type; nothing is loaded."""
    struct = lakes.MODELS[SALES].replace(
        "sum(amount_minor)::bigint as sold_minor", "{'sum': sum(amount_minor)::bigint} as sold_minor"
    )
    checks = {name: text for name, text in lakes.MODELS.items() if not name.startswith("checks/")}
    with shop.lake({**checks, SALES: struct}) as lake:
        shop.sell(0, lake=lake)
        with pytest.raises(
            ModelError, match=r"gold\.fct_sales\.sold_minor is STRUCT.*sql/gold/fct_sales\.sql"
        ):
            gold.publish(connection, lake)
    assert everything(connection, "select to_regclass('gold.fct_sales')") == [(None,)]
