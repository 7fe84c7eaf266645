"""What a day's run transfers over a lake in a bucket that holds many days, beside the bytes of that lake.

The account is simulated and its clock stands still during a run; the store is SeaweedFS on this machine. The floor is
what no run can do without: the bronze that is new and the published bytes that differ afterwards.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import click

from benchmarks.measure import RESULTS, conditions
from payments_pipeline.inspect import run_query
from payments_pipeline.session import open_for_reading
from payments_pipeline.state.manifest import Manifest
from payments_pipeline.state.snapshot import snapshot_of
from payments_pipeline.storage import Storage, open_storage
from tests.e2e.harness import DAY, MIDNIGHT, Account, account_of, run, settings_for
from tests.seaweed import BUCKET, seaweed_in

QUESTION = "select count(*), sum(amount_minor) from gold.fct_payments"


@dataclass(frozen=True, slots=True)
class Transferred:
    """One run's bytes, beside those of the lake before it and the least that any run would have to move."""

    days: int
    lake: int
    published: int
    read: int
    written: int
    floor: int
    seconds: float
    load: float

    @property
    def share(self) -> float:
        """Bytes read and written, by the bytes of the lake."""
        return (self.read + self.written) / self.lake


def size_of(storage: Storage, *prefixes: str) -> int:
    """Bytes of all objects whose keys begin so."""
    return sum(info.size for prefix in prefixes for info in storage.list(prefix))


def measured(url: str, account: Account, days: int) -> Transferred:
    """The run of one more day over the lake."""
    with closing(open_storage(url)) as storage:
        lake, published = size_of(storage, ""), size_of(storage, "silver/", "gold/")
    account.clock.set(MIDNIGHT + (days + 1) * DAY)
    began = time.perf_counter()
    manifest = run(url, account, environ={"RUN_ID": f"day-{days}"})
    seconds = time.perf_counter() - began
    [transfer] = manifest.transfers.values()
    return Transferred(
        days=days,
        lake=lake,
        published=published,
        read=transfer.bytes_read,
        written=transfer.bytes_written,
        floor=floor_of(manifest),
        seconds=round(seconds, 1),
        load=round(os.getloadavg()[0], 1),
    )


def floor_of(manifest: Manifest) -> int:
    """Bytes of new bronze and of the published files that differ."""
    assert manifest.transform is not None
    staged = sum(entry.partition.bytes for entry in manifest.transform.staged)
    return staged + sum(part.bytes for part in manifest.extract.parts)


def asked(url: str, day: date) -> dict[str, int]:
    """Bytes that a question about one model reads, asked of one day and of all, beside what is published of it."""
    read = {}
    for name, condition in {"day": f" where created_at::date = date '{day}'", "all": ""}.items():
        with open_for_reading(settings_for(url)) as lake:
            run_query(lake, QUESTION + condition)
            read[name] = lake.storage.traffic.bytes_read
    with open_for_reading(settings_for(url)) as lake:
        sizes = {
            name: sum(part.bytes for part in parts.values())
            for name, parts in snapshot_of(lake.latest()).items()
        }
    return {**read, "model": sizes["gold.fct_payments"], "published": sum(sizes.values())}


def each(days: int, customers: int) -> Iterator[tuple[Transferred, dict[str, int]]]:
    """A lake filled by one run, then one run of one day more."""
    with (
        tempfile.TemporaryDirectory(prefix="payments-pipeline-") as folder,
        seaweed_in(Path(folder)) as server,
        account_of(days=float(days), customers_per_day=customers) as account,
    ):
        os.environ.update(server.environ())
        url = f"s3://{BUCKET}/lake"
        run(url, account, environ={"RUN_ID": "first"})
        day = datetime.fromtimestamp(MIDNIGHT, UTC).date() + timedelta(days=days // 2)
        yield measured(url, account, days), asked(url, day)


@click.command()
@click.option("--days", default=7, show_default=True, help="Days in the lake before the run.")
@click.option("--customers", default=2, show_default=True, help="New customers a day.")
def main(*, days: int, customers: int) -> None:
    """Measure, print and write benchmarks/results/s3.json."""
    [(found, question)] = each(days, customers)
    click.echo(
        f"a lake of {found.days} days, {customers} new customers a day: {found.lake:,} bytes, of them published "
        f"{found.published:,}\n"
        f"a run of one more day read {found.read:,} and wrote {found.written:,}: {found.share:.1%} of the lake "
        f"(goal 5.0%, floor {found.floor / found.lake:.1%}) in {found.seconds} s, load {found.load}\n"
        f"a question about a day of gold.fct_payments read {question['day']:,} bytes, about all of it "
        f"{question['all']:,}; published of it {question['model']:,}, of everything {question['published']:,}"
    )
    result = {
        "conditions": conditions(),
        "customers_per_day": customers,
        "run": {**asdict(found), "share": round(found.share, 4)},
        "query": question,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "s3.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
