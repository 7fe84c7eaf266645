"""What a power cut may leave of a lake, worked out from the log of a run's calls to the disk.

The model is the strict one: of a file only what was synced is sure, of a folder only the entries that were there
when it was synced; everything later may have happened or not, in any combination.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(slots=True, eq=False)
class Inode:
    """A file's bytes: `synced` names what is sure of them, `final` what it was going to hold."""

    synced: str | None = None
    final: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """A change to folders that no sync has made sure yet: entries that come and go."""

    folders: frozenset[str]
    adds: tuple[tuple[str, Inode | None], ...] = ()
    removes: tuple[str, ...] = ()


@dataclass(slots=True)
class Model:
    """The lake's files and folders (None) by path: as processes see them, and as far as they are sure."""

    seen: dict[str, Inode | None] = field(default_factory=dict)
    sure: dict[str, Inode | None] = field(default_factory=dict)
    pending: list[Change] = field(default_factory=list)

    def apply(self, entry: dict[str, Any]) -> None:
        """One line of the log."""
        handler: Callable[..., None] | None = getattr(
            self, f"_{entry.get('call', '').replace('-', '_')}", None
        )
        if handler is not None:
            handler(*entry["paths"], **({"blob": entry["blob"]} if entry["call"] == "fsync" else {}))

    def is_sure(self, path: str, blob: str | None = None) -> bool:
        """Whether the object survives any power cut from now on (with those bytes)."""
        inode = self.sure.get(path)
        parents = [str(parent) for parent in Path(path).parents if str(parent) in self.seen]
        whole = inode is not None and inode.synced is not None and blob in (None, inode.synced)
        return whole and all(parent in self.sure for parent in parents)

    def _create(self, path: str) -> None:
        if path not in self.seen:
            self._change(adds=((path, Inode()),))

    def _mkdir(self, path: str) -> None:
        if path not in self.seen:
            self._change(adds=((path, None),))

    def _link(self, source: str, target: str) -> None:
        self._change(adds=((target, self._inode(source)),))

    def _replace(self, source: str, target: str | None = None) -> None:
        if target is not None:
            self._change(adds=((target, self._inode(source)),), removes=(source,))

    def _unlink(self, path: str) -> None:
        self._change(removes=(path,))

    def _rmdir(self, path: str) -> None:
        self._change(removes=(path,))

    def _fsync(self, path: str, *, blob: str) -> None:
        inode = self._inode(path)
        inode.synced = inode.final = blob

    def _fsync_folder(self, path: str) -> None:
        kept = []
        for change in self.pending:
            if path in change.folders:
                self.settle(change, self.sure)
            else:
                kept.append(change)
        self.pending = kept

    def _inode(self, path: str) -> Inode:
        found = self.seen.get(path)
        if found is None:
            found = self.seen[path] = Inode()
        return found

    def _change(
        self, *, adds: tuple[tuple[str, Inode | None], ...] = (), removes: tuple[str, ...] = ()
    ) -> None:
        folders = frozenset(str(Path(path).parent) for path in (*(path for path, _ in adds), *removes))
        change = Change(folders, adds, removes)
        self.settle(change, self.seen)
        self.pending.append(change)

    @staticmethod
    def settle(change: Change, entries: dict[str, Inode | None]) -> None:
        """Let the change have happened."""
        for path in change.removes:
            entries.pop(path, None)
        entries.update(change.adds)


@dataclass(frozen=True, slots=True)
class Recording:
    """A run's log, the blobs beside it, and the lake (copied to `base`) that it began with."""

    lake: str
    base: Path
    log: Path
    entries: Sequence[dict[str, Any]]

    def start(self) -> Model:
        """Everything that was there before the run is sure."""
        model = Model()
        for path in [self.base, *sorted(self.base.rglob("*"))]:
            name = f"{self.lake}/{path.relative_to(self.base)}".removesuffix("/.")
            model.seen[name] = Inode(f"={path}", f"={path}") if path.is_file() else None
        model.sure = dict(model.seen)
        return model

    def bytes_of(self, blob: str) -> bytes:
        """The bytes that a file had when it was synced."""
        return (
            Path(blob[1:]).read_bytes() if blob.startswith("=") else (self.log / "blobs" / blob).read_bytes()
        )

    def violations(self) -> Iterator[str]:
        """Every place where the run relied on something that a power cut could still have undone."""
        model = self.start()
        for entry in self.entries:
            call, paths = entry.get("call"), entry.get("paths", ())
            if call in {"link", "replace"} and len(paths) == 2:
                source = model.seen.get(paths[0])
                if source is None or source.synced is None:
                    yield f"{entry['op']}: {paths[1]} appears before its bytes are synced"
                else:
                    yield from self._unsure(model, paths[1], self.bytes_of(source.synced))
            if call == "stored" and not model.is_sure(paths[0]) and not paths[0].endswith("lake.duckdb"):
                yield f"{entry['op']}: {paths[0]} was reported as stored and is not sure"
            model.apply(entry)

    def _unsure(self, model: Model, path: str, data: bytes) -> Iterator[str]:
        """What a commit record names and a power cut could still take."""
        for name, digest in _named(path.removeprefix(f"{self.lake}/"), data):
            inode = model.sure.get(f"{self.lake}/{name}")
            held = inode.synced if inode is not None else None
            if not model.is_sure(f"{self.lake}/{name}") or (
                digest and held and held != digest and not held.startswith("=")
            ):
                yield f"{path} names {name}, which is not sure"

    def states(self, count: int, seed: int) -> Iterator[tuple[int, dict[str, bytes | None]]]:
        """Legal states after a power cut: where it was cut, and the bytes of every file (None: a folder)."""
        rng = random.Random(seed)
        cuts = sorted(rng.randrange(len(self.entries)) for _ in range(count))
        model, position = self.start(), 0
        for cut in cuts:
            for entry in self.entries[position:cut]:
                model.apply(entry)
            position = max(position, cut)
            yield cut, self._cut(model, rng)

    def _cut(self, model: Model, rng: random.Random) -> dict[str, bytes | None]:
        entries = dict(model.sure)
        share = rng.choice((0.0, 0.5, 0.5, 1.0))
        for change in model.pending:
            if rng.random() < share:
                model.settle(change, entries)
        made: dict[str, bytes | None] = {}
        for path, inode in sorted(entries.items()):
            parents = [str(parent) for parent in Path(path).parents if str(parent).startswith(self.lake)]
            if all(parent in entries for parent in parents):
                made[path] = None if inode is None else self._surviving(inode, rng)
        return made

    def _surviving(self, inode: Inode, rng: random.Random) -> bytes:
        if inode.synced is not None:
            return self.bytes_of(inode.synced)
        whole = self.bytes_of(inode.final) if inode.final else b"never synced"
        return rng.choice((b"", whole[: len(whole) // 2], bytes(len(whole))))

    def materialise(self, state: dict[str, bytes | None], lake: Path) -> None:
        """Make the state a folder."""
        shutil.rmtree(lake, ignore_errors=True)
        for path, data in state.items():
            target = lake / path.removeprefix(self.lake).lstrip("/")
            if data is None:
                target.mkdir(parents=True, exist_ok=True)
            else:
                target.write_bytes(data)


def _named(key: str, data: bytes) -> Iterator[tuple[str, str]]:
    """(key, sha256 or "") of everything that a commit record relies on."""
    if not key.startswith("_state/") or not key.endswith(".json") or key.startswith("_state/reports/"):
        return
    body = json.loads(data)["body"]
    if key.startswith("_state/manifests/_latest/"):
        yield from ((part["key"], part["sha256"]) for part in body["partitions"].values())
    elif key.startswith("_state/manifests/run_"):
        extract, transform = body["extract"], body["transform"] or {"staged": ()}
        yield from ((part["key"], part["sha256"]) for part in (*extract["parts"], *extract["quarantine"]))
        if body["publish"] is None:
            yield from ((part["staged_key"], part["partition"]["sha256"]) for part in transform["staged"])
    elif key == "_state/lake.json":
        yield from ((f"_state/manifests/run_{run}.json", "") for run in body["pending"])


def record(lake: Path, base: Path, log: Path) -> Recording:
    """The recording of a run over `lake`, of which `base` is a copy made before."""
    entries = [json.loads(line) for line in (log / "log.jsonl").read_text().splitlines()]
    return Recording(str(lake), base, log, [entry for entry in entries if "call" in entry])
