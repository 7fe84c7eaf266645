"""Runs every benchmark with its default sizes, or those that are named: `python -m benchmarks [name …]`."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import click

from benchmarks.measure import ROOT


def names() -> list[str]:
    """Every benchmark: the modules beside this one that have a command."""
    found = [each.name for each in pkgutil.iter_modules([str(Path(__file__).parent)]) if not each.ispkg]
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in found if name != "__main__"}
    return [
        name for name, module in modules.items() if isinstance(getattr(module, "main", None), click.Command)
    ]


@click.command()
@click.argument("chosen", nargs=-1, type=click.Choice(names()))
def main(chosen: tuple[str, ...]) -> None:
    """Run the benchmarks, each in a process of its own; the first that fails ends it."""
    for name in chosen or names():
        click.echo(f"== {name}")
        done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], cwd=ROOT, check=False)
        if done.returncode:
            sys.exit(done.returncode)


if __name__ == "__main__":
    main()
