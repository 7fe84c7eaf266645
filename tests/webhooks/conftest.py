from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from payments_pipeline.lake import Lake
from tests.lakes import Clock, open_small_lake


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    """A lake on disk that no run has ever touched."""
    with open_small_lake(tmp_path / "lake", clock=Clock()) as made:
        yield made
