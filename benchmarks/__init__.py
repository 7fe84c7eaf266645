"""Measurements side by side: `python -m benchmarks.<name>` prints floors, peers and ratios of one run."""
