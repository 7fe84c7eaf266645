"""Billing periods: calendar months and years from an anchor, in UTC."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime

from mock_api.money import DAY
from mock_api.shapes import Obj

MONTHS = {"month": 1, "year": 12}
DAYS = {"day": 1, "week": 7}


def months_later(second: int, months: int) -> int:
    """The same time of day `months` later, on the last day of a month that is too short."""
    moment = datetime.fromtimestamp(second, UTC)
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    day = min(moment.day, monthrange(year, month + 1)[1])
    return int(moment.replace(year=year, month=month + 1, day=day).timestamp())


def period_end(anchor: int, start: int, recurring: Obj) -> int:
    """The first boundary of the cycle anchored at `anchor` that lies after `start`."""
    interval: str = recurring["interval"]
    count: int = recurring["interval_count"]
    if interval in DAYS:
        length = DAYS[interval] * count * DAY
        return anchor + ((start - anchor) // length + 1) * length
    turn = 1
    while (end := months_later(anchor, MONTHS[interval] * count * turn)) <= start:
        turn += 1
    return end
