"""The output of the benchmarks: the machine, a table, and one line for each figure."""

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_info

from drum_crnn.foundation.console import default_workers

__all__ = ["print_figures", "print_machine", "print_rows"]


def print_machine() -> None:
    """Print what the figures depend on besides the code; a load above zero means that other processes were running."""
    blas = sorted({f"{pool['internal_api']} {pool['num_threads']}" for pool in threadpool_info()})
    print_rows(
        {
            "processor": f"{_processor()}, {default_workers()} cores to use",
            "load": f"{os.getloadavg()[0]:.2f} over the last minute" if hasattr(os, "getloadavg") else "unknown",
            "python": platform.python_version(),
            "numpy": np.__version__,
            "torch": f"{torch.__version__}, {torch.get_num_threads()} threads",
            "thread pools": ", ".join(blas),
        }
    )


def print_rows(rows: Mapping[str, str] | Sequence[tuple[str, str]]) -> None:
    """Print names and texts in two columns, after an empty line."""
    pairs = list(rows.items()) if isinstance(rows, Mapping) else list(rows)
    width = max(len(name) for name, _ in pairs)
    print()
    for name, text in pairs:
        print(f"{name:<{width}}  {text}")


def print_figures(figures: Mapping[str, float]) -> None:
    """Print the results of a benchmark, one line `figure NAME VALUE` each, for people and scripts."""
    print()
    for name, value in figures.items():
        print(f"figure {name} {value:.3f}")


def _processor() -> str:
    """The processor's name; on Linux, only /proc/cpuinfo has it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
