"""The tests' side of `child.py`: start jobs, wait for them, look at what came of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.e2e.harness import CHECKOUT
from tests.reliability.child import Job


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job ended: `killed`, or the exit code the command line would have given, and its result or error."""

    killed: bool
    exit: int
    result: Any
    error: str
    message: str
    seconds: float
    points: Mapping[str, int]
    events: tuple[str, ...]

    def ok(self) -> Any:
        """The result of a job that must have succeeded."""
        assert not self.killed, "the process was killed"
        assert self.exit == 0, f"exit {self.exit}: {self.error}: {self.message}"
        return self.result


class Started:
    """A process at work."""

    def __init__(self, pool: Processes, pid: int, answer: Path) -> None:
        self.pid = pid
        self._pool = pool
        self._answer = answer

    def signal(self, number: int) -> None:
        """Send the process a signal."""
        os.kill(self.pid, number)

    def is_stopped(self) -> bool:
        """Whether SIGSTOP holds the process."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def wait(self, timeout: float = 240.0) -> Ended:
        """How it ended. That it takes so long, on whatever machine, is a failure of its own and not a kill."""
        answer = self._pool.exchange({"wait": self.pid, "timeout": timeout})
        assert not answer["late"], f"the process has not ended within {timeout:.0f} s"
        status = answer["status"]
        text = self._answer.read_text() if status == 0 else ""
        self._answer.unlink(missing_ok=True)
        found = json.loads(text) if text else {}
        return Ended(
            killed=status != 0,
            exit=found.get("exit", -1),
            result=found.get("result"),
            error=found.get("error", ""),
            message=found.get("message", ""),
            seconds=found.get("seconds", 0.0),
            points=found.get("points", {}),
            events=tuple(found.get("events", ())),
        )


class Processes:
    """A warmed-up process that forks one child per job."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process = process
        self._folder = folder

    def start(self, job: Job) -> Started:
        """Begin the job in a process of its own."""
        handle, answer = tempfile.mkstemp(dir=self._folder, suffix=".json")
        os.close(handle)
        if job.uid is not None:
            os.chmod(answer, 0o666)  # noqa: S103, PTH101 - another user writes it
        return Started(self, self.exchange({"job": {**asdict(job), "answer": answer}})["pid"], Path(answer))

    def run(self, job: Job) -> Ended:
        """Do the job to its end."""
        return self.start(job).wait()

    def exchange(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Send a command and read its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


@contextmanager
def processes_in(folder: Path) -> Iterator[Processes]:
    """The warmed-up process, which ends with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.reliability.child"],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Processes(process, folder)
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.wait(30)
        process.stdout.close()
