"""The quality report: every check of a run, as JSON that holds no personal data."""

from __future__ import annotations

import json
from dataclasses import asdict

from payments_pipeline import layout
from payments_pipeline.state.manifest import Manifest
from payments_pipeline.storage import Storage


def write_report(storage: Storage, manifest: Manifest) -> None:
    """Write the run's report under `_state/reports/`."""
    storage.put(layout.quality_report(manifest.run_id), report(manifest))


def report(manifest: Manifest) -> bytes:
    """The run's checks, counts and verdict as JSON."""
    assert manifest.quality is not None, "only what was audited has a report"
    assert manifest.transform is not None, "only what was built is audited"
    content = {
        "run_id": manifest.run_id,
        "passed": manifest.quality.passed,
        "finished_at": manifest.quality.finished_at.isoformat(),
        "digest": manifest.transform.digest,
        "counts": {name: asdict(counts) for name, counts in sorted(manifest.transform.counts.items())},
        "checks": [asdict(check) | {"passed": check.passed} for check in manifest.quality.checks],
    }
    return json.dumps(content, indent=2).encode() + b"\n"
