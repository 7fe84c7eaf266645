from __future__ import annotations

from pathlib import Path

from tests.e2e.harness import Command, files_of


def test_rebuild_mends_damage(command: Command, copy: Path) -> None:
    """`verify` names a damaged and a missing file, `rebuild` brings both back as they were, `verify` agrees."""
    before = files_of(copy, "silver", "gold")
    damaged, lost = sorted(copy.glob("silver/*/entity=events/*/data.parquet"))[:2]
    damaged.write_bytes(b"PAR1 and nothing else")
    lost.unlink()
    failed = command("verify")
    assert failed.returncode == 4
    assert all(str(path.relative_to(copy)) in failed.stderr for path in (damaged, lost))
    command.ok("rebuild")
    assert files_of(copy, "silver", "gold") == before
    command.ok("verify")
