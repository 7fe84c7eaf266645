"""A window while it is listed: what of it is left, and how to give half of that away."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace

from payments_pipeline.flow import Page, Window
from payments_pipeline.stripe.envelope import identity
from payments_pipeline.stripe.paging import within

_WORTH_PAGES = 2.0
"""How many pages must be left to be divided: each division costs about half a call more."""


class Stretch:
    """One worker lists the window from its newest second down; others may take the older half of what is left.

    Whatever is given away, every second of the window belongs to exactly one stretch, and so does every object,
    because its `created` never changes. A list that is not `ordered`, newest first, is never divided. Safe to use
    from several threads.
    """

    def __init__(
        self, window: Window, *, ordered: bool = True, density: float = 0.0, page_size: int = 1
    ) -> None:
        self._lock = threading.Lock()
        self._ordered = ordered
        self.window = window
        self._reached = self._lowest = self._incomplete = window.end
        self._density, self._page_size = density, page_size
        self._records = 0
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether all that it did not give away was listed."""
        with self._lock:
            return self._ended

    def taken(self, pages: Iterable[Page]) -> Iterator[Page]:
        """The pages without what was given away meanwhile, until that begins or the pages end."""
        for page in pages:
            reached, lowest = _depths(page) if self._ordered else (None, None)
            window = self._seen(page, reached, lowest)
            if lowest is not None and lowest < window.start:
                yield replace(page, records=within(page.records, window))
            else:
                yield page
            if reached is not None and reached < window.start:
                break
        with self._lock:
            self._ended = True

    def complete(self) -> Window | None:
        """The seconds that were listed to their end since the last call, if there are any.

        The second in which the last page ended is not among them: other objects may share it.
        """
        with self._lock:
            end, floor = self._incomplete, self.window.start
            self._incomplete = floor if self._ended else max(floor, min(self._reached + 1, end))
            return Window(self._incomplete, end) or None

    def pages_left(self) -> float:
        """About how many more pages it takes, if the rest is as dense as what was seen; 0 before the first page."""
        with self._lock:
            return self._pages_left()

    def halved(self) -> Stretch | None:
        """The older half of what is left, which is no longer part of this stretch; None if that is too little."""
        with self._lock:
            start, middle = self.window.start, (self.window.start + self._lowest) // 2
            if self._pages_left() < _WORTH_PAGES or middle <= start:
                return None
            self.window = Window(middle, self.window.end)
            return Stretch(Window(start, middle), density=self._density, page_size=self._page_size)

    def _pages_left(self) -> float:
        if self._ended:
            return 0.0
        return self._density * (self._lowest - self.window.start) / self._page_size

    def _seen(self, page: Page, reached: int | None, lowest: int | None) -> Window:
        """Note how far the list has come; the window as it stands."""
        with self._lock:
            window = self.window
            self._records += len(page.records)
            self._page_size = max(self._page_size, len(page.records))
            if reached is not None and lowest is not None and reached < window.end:
                self._reached, self._lowest = reached, max(lowest, window.start)
                self._density = self._records / (window.end - self._lowest)
            return window


def _depths(page: Page) -> tuple[int | None, int | None]:
    """The newer and the older `created` of a page's last two records, of those that say so.

    A page, newest first, has come down to the newer: one odd `created` must not end a list. It may hold what is
    as old as the older.
    """
    found = (identity(record) for record in page.records[-2:])
    seconds = [created for _, created in filter(None, found) if created is not None]
    return max(seconds, default=None), min(seconds, default=None)
