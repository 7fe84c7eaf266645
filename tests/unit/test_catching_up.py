"""What changed while a model or a run was away is in the lake when it comes back, as a rebuild would have it."""

from __future__ import annotations

from pathlib import Path

from payments_pipeline.lake import Lake
from payments_pipeline.pipeline import check_and_publish, opened, transform
from payments_pipeline.state.head import commit
from payments_pipeline.state.manifest import read_manifest, write_manifest
from tests.lakes import FIRST, MODELS, Clock, charge, land, open_small_lake, page, publish, rows

SALES = "select sold_minor from gold.fct_sales order by day"


def test_a_model_put_back_has_what_changed_without_it(tmp_path: Path) -> None:
    """A deploy, its rollback and the same deploy again: gold is not what it was before the rollback."""
    with open_small_lake(tmp_path / "lake", clock=Clock()) as lake:
        land(lake, "first", [page([charge(0), charge(1)])])
        publish(lake, "first")
        assert rows(lake, SALES) == [(1000,), (1001,)]
    silver = {name: text for name, text in MODELS.items() if name.startswith("silver/")}
    for name in MODELS.keys() - silver.keys():
        (tmp_path / "lake-sql" / f"{name}.sql").unlink()
    with open_small_lake(tmp_path / "lake", clock=Clock(), models=silver) as lake:
        land(lake, "without", [page([charge(1, amount=7), charge(3)], seen=60)])
        publish(lake, "without")
    with open_small_lake(tmp_path / "lake", clock=Clock()) as lake:
        publish(lake, "back")
        assert rows(lake, SALES) == [(1000,), (7,), (1003,)]


def test_a_changed_model_is_built_anew(tmp_path: Path) -> None:
    """New SQL rebuilds its entity from all of bronze, not only from what is pending."""
    with open_small_lake(tmp_path / "lake", clock=Clock()) as lake:
        land(lake, "first", FIRST)
        publish(lake, "first")
    changed = dict(MODELS)
    changed["silver/charges"] = MODELS["silver/charges"].replace("amount as", "amount + 1 - 1 as")
    with open_small_lake(tmp_path / "lake", clock=Clock(), models=changed) as lake:
        transform = publish(lake, "second").transform
        assert transform is not None
        assert transform.anew == ("charges",)
        assert rows(lake, "select count(*) from silver.charges") == [(4,)]


def test_a_run_that_goes_on_does_not_bring_back_what_was_undone(tmp_path: Path) -> None:
    """An object changed, a run saw that and was killed; it changed back, as a newer run saw: that is what stays."""
    clock = Clock()
    with open_small_lake(tmp_path / "lake", clock=clock) as lake:
        land(lake, "first", [page([charge(0)], seen=10)])
        publish(lake, "first")
        land(lake, "killed", [page([charge(0, amount=7)], seen=20)])
        _finish(lake, "killed", finished=False)
        clock.forward(10)
        land(lake, "newer", [page([charge(0)], seen=30)])
        published = publish(lake, "newer")
        _finish(lake, "killed", finished=True)
        with opened(lake, "killed") as run:
            commit(lake.storage, run.lease, lambda head: head.model_copy(update={"pending": ("killed",)}))
            gone_on = check_and_publish(lake, transform(lake, run), max_quarantine_share=0.0).manifest
        assert rows(lake, "select amount_minor from silver.charges") == [(1000,)]
        assert published.publish is not None
        assert gone_on.publish is not None
        assert gone_on.publish.digest == published.publish.digest


def _finish(lake: Lake, run_id: str, *, finished: bool) -> None:
    """Let the run's extraction have ended, or not yet."""
    manifest = read_manifest(lake.storage, run_id)
    extract = manifest.extract.model_copy(update={"finished_at": lake.clock() if finished else None})
    write_manifest(lake.storage, manifest.model_copy(update={"extract": extract}))
