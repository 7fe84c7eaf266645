"""`python -m payments_pipeline`, and what the installed command calls."""

from __future__ import annotations

from payments_pipeline.loading import loading


def main() -> None:
    """Load the command line, and run it."""
    with loading():
        from payments_pipeline.cli import main as command  # noqa: PLC0415 - loading it takes a while
    command()


if __name__ == "__main__":
    main()
