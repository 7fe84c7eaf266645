from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from tests.history.machine import LEASE_SECONDS
from tests.history.subject import Opening, Stage, Subject, subject, theatre


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Stage, str]]:
    """A server for accounts that come and go."""
    with theatre() as stage_and_url:
        yield stage_and_url


@pytest.fixture
def opening(server: tuple[Stage, str], lake: Path) -> Opening:
    """Opens an account with a few payers and payments, and a lake that is to follow it."""

    def make(start: date = date(2026, 3, 2), seed: int = 5) -> Subject:
        made = subject(lake, *server, start=start, seed=seed)
        made.change(
            *((name, aim) for aim in (0, 3) for name in ("a new customer", "a payment", "a subscription"))
        )
        made.wait(LEASE_SECONDS)
        return made

    return make
