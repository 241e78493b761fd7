"""Two programs on one recording, in turns: ours, and a peer that its command line names."""

import os
import shlex
import shutil
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measuring import cost_of

__all__ = ["KNOWN", "compare", "figure_name"]

# Peers whose name is enough. ADTOF: Zehren et al., ISMIR 2021; its port to PyTorch is xavriley/ADTOF-pytorch.
KNOWN = {"adtof": "adtof --audio {audio} --out {out} --device cpu"}

Row = tuple[str, str]


def figure_name(command: str) -> str:
    """What the ratio to this peer is called, such as `against_adtof`."""
    return f"against_{Path(shlex.split(KNOWN.get(command, command))[0]).stem}"


def compare(
    command: str, ours: Sequence[str], *, audio: Path, out: Path, n_threads: int, rounds: int
) -> tuple[float, list[Row]]:
    """How many times as long as our command a peer takes, the median over rounds, and a row of text for each process.

    Both run on the same recording, with as many threads as OMP_NUM_THREADS allows. A mistake ends the benchmark with a
    sentence.

    Parameters
    ----------
    command : str
        A name in `KNOWN`, or a command line that holds `{audio}` and `{out}`: the recording, and the file to write.
    ours : sequence of str
        Our command, which reads the same recording.
    """
    try:
        words = shlex.split(KNOWN.get(command, command))
    except ValueError as error:
        sys.exit(f"--against {command}: {error}")
    if not all(any(place in word for word in words) for place in ("{audio}", "{out}")):
        sys.exit(f"--against {command}: should hold {{audio}} and {{out}}, or be one of {', '.join(KNOWN)}")
    if shutil.which(words[0]) is None:
        sys.exit(f"--against {command}: there is no program {words[0]}; install it, or give its path")
    theirs = [word.replace("{audio}", str(audio)).replace("{out}", str(out)) for word in words]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(n_threads))
    environment = {**os.environ, **threads}
    ratios: list[float] = []
    rows: list[Row] = []
    for number in range(1, rounds + 1):
        out.unlink(missing_ok=True)
        our_cost, their_cost = cost_of(*ours, environment=environment), cost_of(*theirs, environment=environment)
        if not out.is_file() or not out.stat().st_size:
            sys.exit(f"--against {command}: ended without an error, but wrote nothing to {{out}}")
        ratios.append(their_cost.wall_s / our_cost.wall_s)
        rows += [(f"in turns, round {number}: ours", str(our_cost)), (f"{'':23} theirs", str(their_cost))]
    return statistics.median(ratios), rows
