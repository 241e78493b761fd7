"""The log of a training: a progress bar and a line per epoch for people, dvclive's files for comparing runs.

Values that equal runs have in common (losses, scores, pictures) go into the folder that DVC versions. Values that
differ between equal runs (speed, waiting, memory, shares) go into the folder of logs, which DVC does not version.
"""

import contextlib
import math
import shutil
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from dvclive.live import Live
from numpy.typing import NDArray
from scmrepo.exceptions import SCMError

from drum_crnn.foundation.console import progress_bar
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.lanes import LANES

__all__ = ["EpochRecord", "TrainingLog"]


@dataclass
class EpochRecord:
    """The logged values of an epoch; `speeds` are the figures that differ between equal runs."""

    metrics: Mapping[str, float]
    speeds: Mapping[str, float] = field(default_factory=dict)
    picture: NDArray[np.uint8] | None = None


class TrainingLog:
    """The log of the main rank. On other ranks, all methods do nothing.

    Parameters
    ----------
    metrics, logs : Path
        Folders for values that equal runs have in common, and for values that differ. Both start empty: after a resume,
        `replay` writes the earlier epochs again.
    n_steps, n_done : int
        Steps of the whole training, and steps that were done before this run.
    """

    def __init__(
        self, metrics: Path, logs: Path, *, n_steps: int, n_done: int, is_main: bool, tensorboard: bool = False
    ) -> None:
        self._is_main = is_main
        self._stack = contextlib.ExitStack()
        self._tensorboard: Any = None
        self._n_epochs = 0
        if not is_main:
            return
        self._live = self._open_live(metrics)
        self._speed_live = self._open_live(logs / "training")
        if tensorboard:
            self._tensorboard = _open_tensorboard(logs / "tensorboard")
            self._stack.callback(self._tensorboard.close)
        self._progress = self._stack.enter_context(progress_bar())
        self._task = self._progress.add_task("train", total=n_steps, completed=n_done, note="")

    def _open_live(self, folder: Path) -> Live:
        # By default, dvclive would rewrite dvc.yaml, and would save its own experiment while DVC runs this one.
        try:
            live = Live(str(folder), dvcyaml=False, save_dvc_exp=False, report=None)
        except SCMError as error:
            raise DrumCrnnError(
                f"dvclive cannot work with this git repository ({error}); make a first commit"
            ) from None
        except sqlite3.Error as error:
            raise DrumCrnnError(f"DVC cannot write its database ({error}); is the disk full?") from None
        self._stack.callback(live.end)
        return live

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def say(self, text: str) -> None:
        """Print a line above the progress bar."""
        if self._is_main:
            self._progress.console.print(text, highlight=False, soft_wrap=True)

    def step_done(self, *, loss: float | None = None) -> None:
        """Advance the progress bar by one step."""
        if self._is_main:
            self._progress.advance(self._task)
            if loss is not None:
                self._progress.update(self._task, note=f"loss {loss:.4f}")

    def epoch_done(self, record: EpochRecord) -> None:
        """Log a finished epoch, and print its results."""
        self.replay(record)
        metrics, speeds = record.metrics, record.speeds
        lanes = " ".join(f"{lane} {metrics[f'validation/f1_{lane}']:.2f}" for lane in LANES).replace("nan", "–")
        self.say(
            f"epoch {self._n_epochs}: loss {metrics['train/loss']:.4f}, validation loss "
            f"{metrics['validation/loss']:.4f}, F {metrics['validation/f1']:.3f} ({lanes}); "
            f"{speeds['frames_per_second']:.0f} frames/s, {speeds['data_wait']:.0%} of the time waiting for data"
        )

    def replay(self, record: EpochRecord) -> None:
        """Log an epoch without printing it, such as one that an interrupted run finished."""
        self._n_epochs += 1
        if not self._is_main:
            return
        for live, values in ((self._live, record.metrics), (self._speed_live, record.speeds)):
            for name, value in values.items():
                if math.isfinite(value):  # JSON has no NaN, and a lane without onsets has no score
                    live.log_metric(name, value)
                    if self._tensorboard is not None:
                        self._tensorboard.add_scalar(name, value, self._n_epochs)
        if record.picture is not None:
            self._live.log_image(f"prediction/{self._n_epochs:03d}.png", record.picture)
            if self._tensorboard is not None:
                self._tensorboard.add_image("prediction", record.picture, self._n_epochs, dataformats="HWC")
        self._live.next_step()
        self._speed_live.next_step()


def _open_tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise DrumCrnnError(
            "train.tensorboard is true, but TensorBoard is not installed; run pip install 'drum-crnn[tensorboard]'"
        ) from None
    shutil.rmtree(folder, ignore_errors=True)  # TensorBoard would show events of a killed run too
    return SummaryWriter(str(folder))
