"""How a training is watched: a progress bar and a line an epoch for people, dvclive's files for comparing runs."""

import contextlib
import json
import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from dvclive.live import Live
from scmrepo.exceptions import SCMError

from drum_crnn.atomic import write_text
from drum_crnn.console import progress_bar
from drum_crnn.errors import DrumCrnnError
from drum_crnn.lanes import LANES

__all__ = ["TrainingLog"]


class TrainingLog:
    """The log of one rank; only the main one writes and speaks.

    Parameters
    ----------
    directory : Path
        dvclive's folder. Its files are written anew: `replay` fills in what a resumed training did before.
    n_steps, n_done : int
        Steps of the whole training, and those that were done before now.
    """

    def __init__(self, directory: Path, *, n_steps: int, n_done: int, is_main: bool) -> None:
        self._is_main = is_main
        self._started = time.monotonic()
        self._n_excerpts = 0
        self._stack = contextlib.ExitStack()
        if not is_main:
            return
        # With their defaults, dvclive would rewrite dvc.yaml and make an experiment of its own while DVC runs this one.
        try:
            self._live = Live(str(directory), dvcyaml=False, save_dvc_exp=False, report=None)
        except SCMError as error:
            raise DrumCrnnError(
                f"dvclive cannot work with this git repository ({error}); make a first commit"
            ) from None
        self._stack.callback(self._live.end)
        self._progress = self._stack.enter_context(progress_bar())
        self._task = self._progress.add_task("train", total=n_steps, completed=n_done, note="")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def replay(self, history: Iterable[Mapping[str, float]]) -> None:
        """Write the metrics of epochs that an earlier, interrupted run finished."""
        for metrics in history:
            self._write(metrics)

    def step_done(self, *, n_excerpts: int) -> None:
        """Move the progress bar; `n_excerpts` are those of all ranks."""
        self._n_excerpts += n_excerpts
        if self._is_main:
            self._progress.advance(self._task)

    def epoch_done(self, metrics: Mapping[str, float]) -> None:
        """Write and show the metrics of an epoch."""
        self._write(metrics)
        if not self._is_main:
            return
        loss, f1 = metrics["train/loss"], metrics["validation/f1"]
        lanes = " ".join(f"{lane} {metrics[f'validation/f1_{lane}']:.2f}" for lane in LANES).replace("nan", "–")
        self._progress.update(self._task, note=f"loss {loss:.4f} F {f1:.3f}")
        self._progress.console.print(
            f"epoch {self._live.step}: loss {loss:.4f}, validation loss {metrics['validation/loss']:.4f}, "
            f"F {f1:.3f} ({lanes})",
            highlight=False,
            soft_wrap=True,
        )

    def write_speed(self, path: Path, *, excerpt_s: float, n_ranks: int) -> None:
        """Leave the speed of this run, validation included, in a file: equal runs differ in it, so it is no output."""
        if self._is_main:
            wall_s = time.monotonic() - self._started
            audio_s = self._n_excerpts * excerpt_s
            figures = {"ranks": n_ranks, "wall_s": wall_s, "audio_s": audio_s, "realtime": audio_s / wall_s}
            write_text(path, json.dumps(figures, indent=2) + "\n")

    def _write(self, metrics: Mapping[str, float]) -> None:
        if self._is_main:
            for name, value in metrics.items():
                if math.isfinite(value):  # JSON has no NaN, and a lane without onsets has no score
                    self._live.log_metric(name, value)
            self._live.next_step()
