"""Every benchmark runs, at its smallest size, and says what it promises; how fast it was is nobody's test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from benchmarks.__main__ import names
from benchmarks.measure import ROOT


def _run(name: str, out: Path, *arguments: str) -> tuple[str, dict[str, Any]]:
    """What the benchmark printed, and its JSON."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments, "--out", str(out)]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
    return done.stdout, found


def _bars(picture: Path) -> int:
    """How many bars are drawn on the page, which is a rectangle itself."""
    return len(ET.parse(picture).findall(".//{*}rect")) - 1  # noqa: S314 - written by the benchmark


def test_every_module_with_a_command_is_a_benchmark() -> None:
    """`make bench` finds the benchmarks by themselves, and nothing that only serves them."""
    assert {"extract", "oltp", "webhooks"} <= set(names())
    assert not {"measure", "senders", "charts", "peers"} & set(names())


def test_extraction_is_measured_beside_its_floors(tmp_path: Path) -> None:
    """Both scenes list every charge, are printed as shares of a ceiling, and are drawn."""
    printed, found = _run("extract", tmp_path, "--rows", "1500", "--peer-rows", "0")
    free, paced = found["scenes"]
    assert [each["kind"] for each in free["results"]] == ["floor", "floor", "ours"]
    assert [each["kind"] for each in paced["results"]] == ["floor", "ours"]
    assert {each["rows"] for scene in found["scenes"] for each in scene["results"]} == {1500}
    assert paced["ceiling"] == 10_000
    assert printed.count("payments-pipeline") == 2
    assert _bars(tmp_path / "extract.svg") == 4, "a bar for all but the load server's own ceiling"


def test_loading_is_measured_beside_plain_copy_and_peers(tmp_path: Path) -> None:
    """Everybody's rows are all there; of a file of which one in a hundred differs, one in a hundred is written."""
    printed, found = _run("oltp", tmp_path, "--rows", "300", "--orm-rows", "20")
    first, again = found["scenes"]
    assert [(each["kind"], each["rows"]) for each in first["results"]] == [
        ("floor", 300),
        ("ours", 300),
        ("peer", 300),
        ("peer", 300),
        ("peer", 20),
    ]
    assert first["ceiling"] == first["results"][0]["rows_per_second"]
    assert len(again["results"]) == 2
    assert found["conditions"]["written_again"] == {"unchanged": 0, "one_percent_changed": 3}
    assert "JSONB with lz4" in printed
    assert _bars(tmp_path / "oltp.svg") == 5


def test_building_is_measured_beside_its_floor_and_on_longer_histories(tmp_path: Path) -> None:
    """Floor, our build and the inferred way give the same rows; a day's run is shown for every history."""
    printed, found = _run("transform", tmp_path, "--days", "3", "--per-day", "50")
    kinds = [each["kind"] for each in found["scenes"][0]["results"]]
    assert kinds == ["floor", "floor", "floor", "ours", "ours", "peer"]
    assert {each["rows"] for each in found["scenes"][0]["results"]} == {150}
    assert [each["days"] for each in found["conditions"]["histories"]] == [3]
    assert "3 days: silver alone takes" in printed
    assert _bars(tmp_path / "transform.svg") == 6 + 1
