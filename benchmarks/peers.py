"""Environments of the tools that are measured beside ours, so that none of them becomes a dependency."""

from __future__ import annotations

import subprocess
import sys

import click

from benchmarks.measure import ROOT

FOLDER = ROOT / ".venv-peers"
"""Where the environments are made, one for each peer and version."""

VERSIONS = {"stripe": "16.1.0", "dlt": "1.31.0"}
"""What is measured."""


def python_of(peer: str) -> str | None:
    """The interpreter of an environment that has the peer; None, and a line about it, if it cannot be installed."""
    pin = f"{peer}=={VERSIONS[peer]}"
    folder = FOLDER / pin
    python = folder / "bin/python"
    if not (folder / "complete").exists():
        click.echo(f"installing {pin} into {folder.relative_to(ROOT)}", err=True)
        pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
        try:
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
            subprocess.run([*pip, "--only-binary", ":all:", pin, "click"], check=True)
        except subprocess.CalledProcessError:
            click.echo(f"{peer} is left out: it cannot be installed here.", err=True)
            return None
        (folder / "complete").touch()
    return str(python)
