"""What a lake holds that no manifest and no list of partitions names, read from its files alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def unnamed(lake: Path) -> list[str]:
    """Every data file, staged object and temporary that nothing names."""
    named = named_objects(lake).keys()
    found = [
        str(path.relative_to(lake))
        for folder in ("bronze", "quarantine", "silver", "gold", "_staging")
        for path in sorted((lake / folder).rglob("*"))
        if path.is_file() and str(path.relative_to(lake)) not in named
    ]
    return found + [str(path.relative_to(lake)) for path in sorted(lake.rglob(".tmp-*"))]


def named_objects(lake: Path) -> dict[str, str]:
    """Key to sha256 of everything that a manifest or a list of partitions names."""
    named: dict[str, str] = {}
    for path in (lake / "_state/manifests").glob("run_*.json"):
        extract = body_of(path)["extract"]
        named |= {part["key"]: part["sha256"] for part in (*extract["parts"], *extract["quarantine"])}
    for path in (lake / "_state/manifests/_latest").glob("*.json"):
        named |= {part["key"]: part["sha256"] for part in body_of(path)["partitions"].values()}
    return named


def body_of(path: Path) -> dict[str, Any]:
    """What a state file says."""
    body: dict[str, Any] = json.loads(path.read_bytes())["body"]
    return body


def torn(lake: Path) -> list[str]:
    """Every object that readers could see and that is not whole: temporaries aside, there must never be one."""
    whole = {".parquet": _is_parquet, ".jsonl": _ends_a_line, ".json": body_of}
    return [
        str(path.relative_to(lake))
        for path in sorted(lake.rglob("*"))
        if path.suffix in whole and not _is_temporary(path.relative_to(lake)) and not whole[path.suffix](path)
    ]


def _is_temporary(path: Path) -> bool:
    return any(part.startswith(".tmp-") for part in path.parts) or path.parent.name == "reports"


def _is_parquet(path: Path) -> bool:
    data = path.read_bytes()
    return data[:4] == data[-4:] == b"PAR1"


def _ends_a_line(path: Path) -> bool:
    return path.read_bytes().endswith(b"\n")
