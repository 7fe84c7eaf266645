"""What the faults do to an answer's body."""

from __future__ import annotations

import json
from typing import Any

from mock_api.faults import AnyAction, Duplicate, Empty, Poison, Truncate

_MARK = "\u2063poison\u2063"


def spoiled(body: bytes, action: AnyAction) -> bytes:
    """The body after the action; pages only are changed by the actions that are about pages."""
    if isinstance(action, Truncate):
        return body[: int(len(body) * action.share)]
    if not isinstance(action, Duplicate | Poison | Empty):
        return body
    page = json.loads(body)
    if page.get("object") != "list":
        return body
    return _spoiled_page(page, action)


def _spoiled_page(page: dict[str, Any], action: Duplicate | Poison | Empty) -> bytes:
    rows = page["data"]
    if isinstance(action, Empty):
        return _dump({**page, "data": [], "has_more": True})
    if isinstance(action, Duplicate):
        return _dump({**page, "data": rows + rows[: action.rows]})
    if not rows:
        return _dump(page)
    row = action.row % len(rows)
    poisoned = {**rows[row], action.field: _MARK}
    text = _dump({**page, "data": [*rows[:row], poisoned, *rows[row + 1 :]]}).decode()
    return text.replace(json.dumps(_MARK, ensure_ascii=False), action.raw).encode()


def _dump(page: dict[str, Any]) -> bytes:
    return json.dumps(page, indent=2, ensure_ascii=False).encode()
