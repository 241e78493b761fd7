"""How fast the studio renders: `python -m benchmarks.rendering`.

Figures
-------
render_realtime_per_core
    Seconds of audio that one process renders per second. This covers all work of the stage: opening the kits,
    generating the grooves, mixing, writing WAV and MIDI. The median of the rounds.
"""

import statistics
import tempfile
import time
from pathlib import Path

from threadpoolctl import threadpool_limits

from benchmarks.material import render_params
from benchmarks.report import print_figures, print_machine, print_rows
from drum_crnn.studio.grooves import generate_performances
from drum_crnn.studio.rendering import load_variations, open_groups, render_corpus

ROUNDS = 5


def main() -> None:
    """Render the same corpus several times."""
    params = render_params(n_performances=70, seconds=(14.0, 26.0))
    variations = load_variations()
    rows: list[tuple[str, str]] = []
    speeds: list[float] = []
    with threadpool_limits(limits=1), tempfile.TemporaryDirectory() as folder:
        print_machine()
        started = time.perf_counter()
        n_kits = sum(len(group.kits) for group in open_groups(params).values())
        rows.append((f"opening {n_kits} kits", f"{time.perf_counter() - started:.2f} s"))
        started = time.perf_counter()
        n_performances = len(generate_performances(params.grooves, seed=params.seed))
        rows.append((f"generating {n_performances} performances", f"{time.perf_counter() - started:.2f} s"))
        for number in range(1, ROUNDS + 1):
            target = Path(folder) / f"round-{number}"
            started = time.perf_counter()
            summary = render_corpus(target, target.with_suffix(".csv"), params, variations, n_workers=1)
            wall_s = time.perf_counter() - started
            speeds.append(summary.audio_s / wall_s)
            rows.append((f"round {number}", f"{summary.audio_s:.0f} s in {wall_s:.2f} s: {speeds[-1]:.0f}× real time"))
    print_rows(rows)
    print_figures({"render_realtime_per_core": statistics.median(speeds)})


if __name__ == "__main__":
    main()
