"""Measurements of speed: each `python -m benchmarks.NAME` prints a table, then one line for each figure."""
