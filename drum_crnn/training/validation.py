"""Validation: loss and onset F on the validation split, after each epoch."""

import math

import numpy as np

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.model.activations import Activations
from drum_crnn.music.lanes import LANES
from drum_crnn.scoring.counting import TOLERANCE_S
from drum_crnn.scoring.prediction import predict_recordings
from drum_crnn.scoring.sweep import LanePeaks, best_counts, merge_curves, pooled_best_f, sweep_lane
from drum_crnn.training.run import Run, TrainingState, interrupted_error
from drum_crnn.training.targets import Place, frame_targets

__all__ = [
    "validate",
]

_MIN_ACTIVATION = 0.02  # validation ignores lower peaks: no threshold that low is ever best


def validate(run: Run, state: TrainingState) -> dict[str, float]:
    """Metrics of the validation split: loss, and onset F summed and per lane, each lane at its own best threshold.

    Each rank predicts every `size`-th recording. The metrics are computed over the recordings of all ranks.
    """
    peaks_of_lane: list[list[LanePeaks]] = [[] for _ in LANES]
    loss, count = 0.0, 0.0
    mine = run.data.validation[run.world.rank :: run.world.size]
    for recording, activations, peaks in predict_recordings(
        run.learner.kept,
        run.data.store,
        run.data.labels,
        mine,
        min_activation=_MIN_ACTIVATION,
        peak_picking=run.params.peak_picking,
    ):
        if run.stop:
            break
        for of_lane, found in zip(peaks_of_lane, peaks, strict=True):
            of_lane.append(found)
        of_recording = _validation_loss(run, recording, activations)
        loss, count = loss + of_recording[0], count + of_recording[1]
    if any(run.world.gather(bool(run.stop))):
        raise interrupted_error(run, state)
    loss, count = run.world.sum([loss, count])
    of_mine = [sweep_lane(of_lane, tolerance_s=TOLERANCE_S) for of_lane in peaks_of_lane]
    curves = [merge_curves(of_lane) for of_lane in zip(*run.world.gather(of_mine), strict=True)]
    counts = best_counts(curves)
    metrics = {"loss": loss / max(1.0, count), "f1": pooled_best_f(curves)}
    if math.isnan(metrics["f1"]):
        raise DrumCrnnError(
            "no recording of the validation split has an onset, so the best weights cannot be chosen; see section "
            "'split' of params.yaml"
        )
    for name, values in (("f1", counts.f()), ("precision", counts.precision()), ("recall", counts.recall())):
        metrics |= {f"{name}_{lane}": float(value) for lane, value in zip(LANES, values, strict=True)}
    return metrics


def _validation_loss(run: Run, recording: str, activations: Activations) -> tuple[float, float]:
    """Sum and count of the masked cross-entropy of one recording."""
    targets = frame_targets(
        [Place(run.data.labels.onsets(recording), run.data.labels.ignored(recording))],
        n_frames=len(activations.onset),
        frame_rate=run.data.store.params.frame_rate,
        widening=run.params.train.target_widening,
        between_frames=run.params.train.target_between_frames,
    )
    predicted = np.clip(activations.onset.astype(np.float64), 1e-7, 1.0 - 1e-7)
    cross_entropy = -(targets.onset[0] * np.log(predicted) + (1.0 - targets.onset[0]) * np.log1p(-predicted))
    return float((cross_entropy * targets.onset_mask[0]).sum()), float(targets.onset_mask.sum(dtype=np.float64))
