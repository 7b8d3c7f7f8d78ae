"""Pixels to disk: layout of a run folder, atomic commit, receipts, lock. Knows nothing of rendering."""
