"""What makes a step of training fast on a CPU: `python -m benchmarks.training_step [EXCERPTS]`.

It trains the model of the preset `studio` in bfloat16 on one thread, with excerpts of 3 s in memory. EXCERPTS is the
number in a batch, 8 by default.

Figures
-------
torch_gru_over_ours
    Time of a step with `torch.nn.GRU` over that with `drum_crnn.model.gru` and the same weights: the median over pairs
    of successive steps.
freed_memory_over_kept
    Time of a step in a process that returns freed memory to the system over that in one that keeps it
    (`drum_crnn.training.memory`): the median over rounds of two processes, one after the other.
step_realtime
    Seconds of excerpts per second with our GRU.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from benchmarks.report import print_figures, print_machine, print_rows
from drum_crnn.foundation.params import PARAMS_FILE, read_yaml
from drum_crnn.model.crnn import DrumCrnn
from drum_crnn.model.model_params import ModelParams
from drum_crnn.music.log_mel import FeatureParams
from drum_crnn.training.memory import keep_freed_memory

PRESET = Path("presets/studio.yaml")
ROUNDS = 4
STEPS = 16
FRAMES = 300


def main() -> None:
    """Compare the variants; with `--only`, print the median time of a step in this process."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("excerpts", nargs="?", type=int, default=8, help="excerpts in a batch (default: 8)")
    parser.add_argument("--only", choices=("kept", "given_back"), help="measure only this treatment of freed memory")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    if arguments.only != "given_back":
        keep_freed_memory()
    ours = step_of(build(), arguments.excerpts)
    if arguments.only:
        print(statistics.median(timed(ours) for _ in range(STEPS)))
        return
    print_machine()
    model = build()
    ours_gru = model.gru
    gru = nn.GRU(ours_gru.input_size, ours_gru.hidden_size, ours_gru.num_layers, batch_first=True, bidirectional=True)
    gru.load_state_dict(ours_gru.state_dict())
    model.gru = gru  # type: ignore[assignment]  # the variant to compare with
    theirs = step_of(model, arguments.excerpts)
    pairs = [(timed(ours), timed(theirs)) for _ in range(ROUNDS * STEPS)]
    processes = [[alone(how, arguments.excerpts) for how in ("kept", "given_back")] for _ in range(ROUNDS)]
    step_s = statistics.median(ours_s for ours_s, _ in pairs)
    rows = [("step, ours", f"{1000 * step_s:.1f} ms")]
    rows += [("step, torch.nn.GRU", f"{1000 * statistics.median(theirs_s for _, theirs_s in pairs):.1f} ms")]
    rows += [("memory kept, given back", f"{1000 * kept:.1f} ms, {1000 * given:.1f} ms") for kept, given in processes]
    print_rows(rows)
    print_figures(
        {
            "torch_gru_over_ours": statistics.median(theirs_s / ours_s for ours_s, theirs_s in pairs),
            "freed_memory_over_kept": statistics.median(given / kept for kept, given in processes),
            "step_realtime": arguments.excerpts * FRAMES / 100 / step_s,
        }
    )


def build() -> DrumCrnn:
    """The model of the preset `studio`."""
    values = read_yaml(PARAMS_FILE)["model"]
    values |= read_yaml(PRESET)["model"]
    torch.manual_seed(0)
    return DrumCrnn(ModelParams.check(values, source=str(PRESET)), n_mels=FeatureParams.load().n_mels)


def step_of(model: DrumCrnn, n_excerpts: int) -> Callable[[], None]:
    """A function that does one step, always on the same batch, after a first step that is not measured."""
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    frames = torch.randn(n_excerpts, FRAMES, model.n_mels) * 20 - 50

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            onset, velocity = model(frames)
        loss = nn.functional.softplus(onset).mean() + velocity.sigmoid().square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    return step


def timed(step: Callable[[], None]) -> float:
    """Seconds of one step."""
    begin = time.perf_counter()
    step()
    return time.perf_counter() - begin


def alone(how: str, n_excerpts: int) -> float:
    """Median time of a step in a separate process."""
    command = [sys.executable, "-m", "benchmarks.training_step", str(n_excerpts), "--only", how]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    main()
