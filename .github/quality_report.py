"""Copies the quality report of RUN_ID out of the lake, wherever that is; a run that failed earlier has none."""

from __future__ import annotations

import os
from pathlib import Path

from payments_pipeline.errors import ObjectMissing
from payments_pipeline.layout import quality_report
from payments_pipeline.session import storage_of
from payments_pipeline.settings import Settings

run_id = os.environ["RUN_ID"]
try:
    with storage_of(Settings.from_env(os.environ)) as storage:
        Path(f"quality_{run_id}.json").write_bytes(storage.read(quality_report(run_id)))
except ObjectMissing as error:
    print(error)  # noqa: T201 - into the job's log
