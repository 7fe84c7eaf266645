"""Which events were ever kept: exact, in 24 bytes per event and a file that is read in one go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from payments_pipeline.webhooks.event import CONTENT_BYTES, ID_BYTES

_ENTRY = ID_BYTES + CONTENT_BYTES


class Seen:
    """Digests of the ids of all events, each with that of its content.

    Those of `packed` (sorted, as `Seen.packed` returns them) are searched where they lie; newer ones are in a
    dictionary.
    """

    def __init__(self, packed: bytes = b"") -> None:
        if len(packed) % _ENTRY:
            raise ValueError("not an index of events")
        self._packed = packed
        self._new: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        return len(self._packed) // _ENTRY + len(self._new)

    def note(self, events: Iterable[tuple[bytes, bytes]]) -> None:
        """Remember events by the digests of id and content; of an event that is known, the first stays."""
        for id_digest, content in events:
            if self.find(id_digest) is None:
                self._new[id_digest] = content

    def find(self, id_digest: bytes) -> bytes | None:
        """The digest of the content under this id; None if there is no such event."""
        known = self._new.get(id_digest)
        if known is not None:
            return known
        at = self._place(id_digest) * _ENTRY
        if self._packed[at : at + ID_BYTES] == id_digest:
            return self._packed[at + ID_BYTES : at + _ENTRY]
        return None

    def packed(self) -> bytes:
        """All entries, sorted, without a gap."""
        return b"".join(self._pieces())

    def _pieces(self) -> Iterator[bytes]:
        old = memoryview(self._packed)
        start = 0
        for id_digest in sorted(self._new):
            end = self._place(id_digest) * _ENTRY
            yield bytes(old[start:end])
            yield id_digest + self._new[id_digest]
            start = end
        yield bytes(old[start:])

    def _place(self, id_digest: bytes) -> int:
        """The number of packed entries before this one."""
        low, high = 0, len(self._packed) // _ENTRY
        while low < high:
            middle = (low + high) // 2
            at = middle * _ENTRY
            if self._packed[at : at + ID_BYTES] < id_digest:
                low = middle + 1
            else:
                high = middle
        return low
