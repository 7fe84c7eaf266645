"""Your Stripe data as an audited medallion lakehouse.

    from payments_pipeline import Settings, query, run_pipeline

    settings = Settings(local_data_dir="lake")
    manifest = run_pipeline(settings, days=1)
    answer = query(settings, "select currency, net_minor from marts.revenue_daily where revenue_date = today()")

Everything raises `PipelineError` (see `payments_pipeline.errors`) for what it cannot do.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from payments_pipeline.api import query, rebuild, run_pipeline, status, verify
    from payments_pipeline.errors import PipelineError
    from payments_pipeline.settings import Settings
    from payments_pipeline.state.manifest import Manifest
    from payments_pipeline.transform.engine import Result

__all__ = [
    "Manifest",
    "PipelineError",
    "Result",
    "Settings",
    "query",
    "rebuild",
    "run_pipeline",
    "status",
    "verify",
]

_HOMES: Mapping[str, str] = {
    "Manifest": "payments_pipeline.state.manifest",
    "PipelineError": "payments_pipeline.errors",
    "Result": "payments_pipeline.transform.engine",
    "Settings": "payments_pipeline.settings",
    "query": "payments_pipeline.api",
    "rebuild": "payments_pipeline.api",
    "run_pipeline": "payments_pipeline.api",
    "status": "payments_pipeline.api",
    "verify": "payments_pipeline.api",
}


def __getattr__(name: str) -> object:
    """Import public names when they are used, so that the command line starts quickly."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
