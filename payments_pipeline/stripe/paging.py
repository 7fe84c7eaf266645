"""Where a list is read from, where it continues, and where it may stop."""

from __future__ import annotations

from collections.abc import Iterator

from payments_pipeline.entities import EntitySpec
from payments_pipeline.errors import SourceRefused
from payments_pipeline.flow import Window
from payments_pipeline.stripe.envelope import Records, identity

CURSOR = "starting_after"
"""The parameter that names the object to continue after, towards older ones."""


def bounds(spec: EntitySpec, window: Window) -> dict[str, str]:
    """The `created` filter of a window; empty for a list that has none."""
    if not spec.created_filter:
        return {}
    return {"created[gte]": str(window.start), "created[lt]": str(window.end)}


def remaining(window: Window, shown: Records) -> Window:
    """What is left of the window after a page: its oldest second is asked for again, others may share it."""
    seconds = (second for second in _seconds(shown.texts) if window.start <= second < window.end)
    oldest = min(seconds, default=window.end - 1)
    return Window(window.start, oldest + 1)


def within(texts: tuple[bytes, ...], window: Window) -> tuple[bytes, ...]:
    """The records of the window; one that does not say when it was created is never left out."""
    return tuple(text for text in texts if _may_lie_in(text, window))


def is_past(records: Records, window: Window) -> bool:
    """Whether a page, newest first, lies before the window as a whole: one odd `created` does not end a list."""
    return max(_seconds(records.texts), default=window.start) < window.start


def span(records: Records) -> Window:
    """From the oldest to after the newest `created` of a page; nothing if it shows none."""
    seconds = sorted(_seconds(records.texts)) or [0, -1]
    return Window(seconds[0], seconds[-1] + 1)


def last_id(records: Records) -> str | None:
    """The id of the last record of a page that has one: what the next page continues after."""
    found = (identity(text) for text in reversed(records.texts))
    return next((object_id for object_id, _ in filter(None, found)), None)


def is_lost_cursor(error: SourceRefused) -> bool:
    """Whether the API no longer knows the object to continue after, or no longer shows it in this list."""
    return error.code == "resource_missing" and error.param == CURSOR


def _seconds(texts: tuple[bytes, ...]) -> Iterator[int]:
    found = (identity(text) for text in texts)
    return (created for _, created in filter(None, found) if created is not None)


def _may_lie_in(text: bytes, window: Window) -> bool:
    found = identity(text)
    return found is None or found[1] is None or window.start <= found[1] < window.end
