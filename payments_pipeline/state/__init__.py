"""What the lake remembers: its head, its runs' manifests, its coverage and its lease."""
