"""Renders on the GPUs of a Ray cluster: of this machine alone, or of many."""
