"""The Dockerfile, without Docker: what it copies exists, and what it does gives a working command to another user."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINES = [
    re.sub(r"\s+", " ", line)
    for line in (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ").splitlines()
    if line and not line.startswith("#")
]


def _arguments(instruction: str) -> list[str]:
    return [line.removeprefix(f"{instruction} ") for line in LINES if line.startswith(f"{instruction} ")]


def test_what_is_copied_exists_and_reaches_the_build() -> None:
    """Each source of a COPY is in the checkout, and .dockerignore lets it through."""
    sources = [
        source
        for copied in _arguments("COPY")
        if not copied.startswith("--from")
        for source in copied.split()[:-1]
    ]
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"]
    assert set(sources) == set(allowed)
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_nothing_but_pinned_wheels_is_installed_from_elsewhere() -> None:
    """Packages come by hash from the pins; the project itself is built with what they hold. No registry is named."""
    installs = [line for line in _arguments("RUN") if " pip " in line]
    assert ["--require-hashes --only-binary :all:" in line for line in installs] == [True, False]
    assert "--no-deps --no-build-isolation" in installs[1]
    assert not re.search(r"https?://|--[a-z-]*index", "\n".join(LINES))
    assert re.search(r"^hatchling==", (ROOT / "requirements/run.txt").read_text(), re.MULTILINE)


def test_the_command_is_the_entry_point_of_an_ordinary_user() -> None:
    """The last stage runs as a numbered user other than root, and its entry point is the command."""
    final = LINES[max(number for number, line in enumerate(LINES) if line.startswith("FROM ")) :]
    assert [line for line in final if line.startswith("USER ")] == ["USER 10001"]
    assert json.loads(_arguments("ENTRYPOINT")[-1]) == ["payments-pipeline"]
    assert {line for line in LINES if line.startswith("FROM")} == {"FROM ${BASE} AS build", "FROM ${BASE}"}
    assert fnmatch(_arguments("ARG")[0], "BASE=python:3.*-slim")
