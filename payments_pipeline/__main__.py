"""`python -m payments_pipeline`: the same as the installed command."""

from __future__ import annotations

from payments_pipeline.cli import main

if __name__ == "__main__":
    main()
