"""Templates of Stripe objects: every field that the API always sends, from shapes.json (made by make_shapes.py)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

Obj = dict[str, Any]

API_VERSION = "2026-10-28.endive"


@cache
def templates() -> Mapping[str, Obj]:
    """path -> template, e.g. `charge`, `charge.outcome`; the values are shared, so never mutate one."""
    loaded: dict[str, Obj] = json.loads((files("mock_api") / "shapes.json").read_text(encoding="utf-8"))
    return loaded


def shape(path: str, **values: Any) -> Obj:
    """A new object of the named shape, with `values` over its defaults; nested defaults are shared, never mutated."""
    return {**templates()[path], **values}


def listing(url: str, data: list[Obj]) -> Obj:
    """A complete nested list in Stripe's envelope."""
    return {"object": "list", "data": data, "has_more": False, "url": url}
