"""Speeds, measured: each `python -m benchmarks.NAME` prints a table and closes with one line a figure."""
