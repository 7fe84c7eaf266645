"""Interrupting a command while DuckDB works."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.e2e.harness import Command, spoken

LONG = "select count(*) from range(1000000) as a, range(1000000) as b"


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_long_question_can_be_interrupted(command: Command, copy: Path, sent: signal.Signals) -> None:
    """While DuckDB works, SIGTERM and Ctrl-C end the command within seconds: its exit code and one line, no traceback."""
    assert copy.is_dir()
    process = command.start("query", LONG)
    try:
        time.sleep(3)
        process.send_signal(sent)
        _, said = process.communicate(timeout=5)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 128 + sent, said
    assert len(spoken(said)) == 1, said
