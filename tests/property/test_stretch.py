"""Windows that are divided while they are listed: every object once, and only complete seconds are called so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from payments_pipeline.flow import Page, Window
from payments_pipeline.state.coverage import union
from payments_pipeline.stretch import Stretch

WINDOW = Window(1000, 1120)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Listing:
    """A stretch that somebody lists, and what came of it."""

    stretch: Stretch
    pages: Iterator[Page]
    shown: list[int] = field(default_factory=list)
    complete: list[Window] = field(default_factory=list)


@dataclass
class Account:
    """Objects by when they were created; an object's id is its place in that list, oldest first."""

    created: list[int]
    page_size: int

    def pages(self, window: Window) -> Iterator[Page]:
        """What the API shows of a window, newest first."""
        found = [number for number, second in enumerate(self.created) if window.start <= second < window.end]
        found.reverse()
        for start in range(0, len(found), self.page_size) or [0]:
            records = [self.record(number) for number in found[start : start + self.page_size]]
            yield Page("charges", "list", NOW, "req_1", "v", tuple(records))

    def record(self, number: int) -> bytes:
        """An object as the API shows it."""
        return b'{"id":"ch_%d","created":%d}' % (number, self.created[number])

    def listing(self, stretch: Stretch) -> Listing:
        """Begin to list what a stretch stands for."""
        return Listing(stretch, stretch.taken(self.pages(stretch.window)))


def _carry_on(listing: Listing) -> None:
    page = next(listing.pages, None)
    for record in page.records if page is not None else ():
        listing.shown.append(int(record.split(b'"')[3].removeprefix(b"ch_")))


def _note_complete(listing: Listing) -> None:
    window = listing.stretch.complete()
    if window is not None:
        listing.complete.append(window)


ACCOUNTS = st.builds(
    Account,
    st.sampled_from((1, 10)).flatmap(
        lambda step: st.lists(st.sampled_from(range(WINDOW.start, WINDOW.end, step)), max_size=60).map(sorted)
    ),
    st.integers(1, 5),
)
MOVES = st.lists(
    st.tuples(st.sampled_from("page page part half half".split()), st.integers(0, 7)), max_size=90
)


@given(account=ACCOUNTS, moves=MOVES)
def test_however_a_window_is_divided_every_object_is_shown_once(
    account: Account, moves: list[tuple[str, int]]
) -> None:
    """Whoever takes a half and whenever; what is called complete was shown, and at the end all is complete."""
    listings = [account.listing(Stretch(WINDOW))]
    for move, number in moves:
        listing = listings[number % len(listings)]
        if move == "page":
            _carry_on(listing)
        elif move == "part":
            _note_complete(listing)
            _check_claims(account, listings)
        elif (half := listing.stretch.halved()) is not None:
            listings.append(account.listing(half))
    for listing in listings:
        while not listing.stretch.ended:
            _carry_on(listing)
        _note_complete(listing)
    _check_claims(account, listings)
    assert Counter(_shown(listings)) == Counter(range(len(account.created)))
    assert union(_claimed(listings)) == [WINDOW]
    assert sum(window.end - window.start for window in _claimed(listings)) == WINDOW.end - WINDOW.start


def _shown(listings: list[Listing]) -> list[int]:
    return [number for listing in listings for number in listing.shown]


def _claimed(listings: list[Listing]) -> list[Window]:
    return [window for listing in listings for window in listing.complete]


def _check_claims(account: Account, listings: list[Listing]) -> None:
    """Every object of a second that is called complete was shown."""
    shown = set(_shown(listings))
    for window in _claimed(listings):
        inside = {n for n, second in enumerate(account.created) if window.start <= second < window.end}
        assert inside <= shown


def test_a_dense_window_is_divided_and_a_small_rest_is_not() -> None:
    """After a page of many, half is given away; when little is left, nothing is."""
    account = Account(list(range(WINDOW.start, WINDOW.end)), 5)
    listing = account.listing(Stretch(WINDOW))
    assert listing.stretch.halved() is None, "before the first page nobody knows how much there is"
    _carry_on(listing)
    half = listing.stretch.halved()
    assert half is not None
    assert (half.window, listing.stretch.window) == (Window(1000, 1057), Window(1057, 1120))
    for _ in range(10):
        _carry_on(listing)
    assert listing.stretch.halved() is None


def test_one_odd_moment_does_not_end_a_list() -> None:
    """The last record of a page claims to be from the part that was given away; the list goes on all the same."""
    account = Account(list(range(WINDOW.start, WINDOW.end)), 5)
    listing = account.listing(Stretch(WINDOW))
    _carry_on(listing)
    assert listing.stretch.halved() is not None
    account.created[110] = 1001
    while not listing.stretch.ended:
        _carry_on(listing)
    assert set(range(57, 120)) - {110} <= set(listing.shown)


def test_a_list_that_is_not_ordered_is_complete_only_at_its_end() -> None:
    """It is not divided, and its parts complete no second."""
    account = Account(list(range(WINDOW.start, WINDOW.end)), 5)
    listing = account.listing(Stretch(WINDOW, ordered=False))
    for _ in range(12):
        _carry_on(listing)
    assert listing.stretch.halved() is None
    assert listing.stretch.complete() is None
    while not listing.stretch.ended:
        _carry_on(listing)
    assert listing.stretch.complete() == WINDOW
