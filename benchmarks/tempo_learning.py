"""Learn the grooves by which tempo is estimated: `python -m benchmarks.tempo_learning GROOVE_FOLDER [FILE]`.

Uses the train split of the Groove MIDI data set (Gillick et al. 2019, CC BY 4.0), and none of its other splits. Writes
FILE, by default that of the package: rates of onsets in a bar, and weights; no performance can be read from them.

1. The grooves: a mixture of Poisson processes over groups of four bars of 4/4, by expectation maximisation.
2. The same grooves as a transcription may get them wrong: soft for loud, and toms for snares.
3. The weights that choose among tempi: a conditional logit model. Its features come from grooves that were learned
   without the drummer in question, so that it does not trust them more than it may.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.tempo import TOLERANCE, Played, degraded, read_groove
from drum_crnn.foundation.atomic import replace_file
from drum_crnn.music.lanes import LANES
from drum_crnn.music.onsets import Onsets
from drum_crnn.tempo import grooves as package
from drum_crnn.tempo.estimation import candidates_of
from drum_crnn.tempo.grooves import BEATS, N_CHANNELS, SLOTS, SLOTS_PER_BEAT, Grooves, channels_of

FloatArray = NDArray[np.float64]

N_GROOVES = 12
_BARS = 4  # that share one groove
_ITERATIONS = 30
_PRIOR_GROUPS = 8.0  # of the mean groove, in each
_RIDGE = 3.0
_N_FOLDS = 4
_N_FEATURES = 22
_SOFT_FOR_LOUD = 0.15  # share of the onsets whose velocity falls on the other side
_MISTAKEN = 0.1  # of a groove with snares taken for toms, relative to the same without
_SNARES_AS_TOMS = 0.7
_SNARE, _HIGH_TOM, _MID_TOM = (LANES.index(lane) for lane in ("snare", "high_tom", "mid_tom"))


def groups_of_bars(performance: Played) -> FloatArray:
    """Onsets in each slot, shape (n_groups, N_CHANNELS, SLOTS), summed over groups of bars."""
    onsets = performance.onsets
    beat_s = 60.0 / performance.bpm
    # Players are early or late against the click; beats should lie where they play.
    phases = [(onsets.velocity * np.exp(2j * np.pi * onsets.time_s * n / beat_s)).sum() for n in (3, 4)]
    n_parts, phase = max(zip((3, 4), phases, strict=True), key=lambda pair: abs(pair[1]))
    beat = onsets.time_s / beat_s - float(np.angle(phase)) / (2 * np.pi * n_parts)
    n_groups = int(onsets.time_s[-1] / beat_s / BEATS / _BARS)
    group = np.maximum(np.floor((beat + 0.125) / BEATS / _BARS).astype(np.int64), 0)
    bars = np.zeros((max(n_groups, int(group.max()) + 1), N_CHANNELS, SLOTS))
    channel = channels_of(onsets.lane, onsets.velocity)
    slot = np.floor(beat * SLOTS_PER_BEAT).astype(np.int64)
    rest = beat * SLOTS_PER_BEAT - slot
    np.add.at(bars, (group, channel, slot % SLOTS), 1.0 - rest)
    np.add.at(bars, (group, channel, (slot + 1) % SLOTS), rest)
    return bars[:n_groups]


def learn_grooves(performances: Sequence[Played], *, seed: int = 0) -> Grooves:
    """A mixture, by expectation maximisation from random memberships."""
    bars = np.concatenate([groups_of_bars(one) for one in performances if one.time_signature == "4/4"])
    mean = _smooth(bars.mean(axis=0)) + 1e-4 * _BARS
    flat = bars.reshape(len(bars), -1)
    members = np.random.default_rng(seed).dirichlet(np.full(N_GROOVES, 0.1), size=len(bars))
    for _ in range(_ITERATIONS):
        sizes = members.sum(axis=0)
        sums = _smooth((members.T @ flat).reshape(N_GROOVES, N_CHANNELS, SLOTS))
        rates = (sums + _PRIOR_GROUPS * mean) / (sizes + _PRIOR_GROUPS)[:, None, None]
        rates = np.maximum(rates, 2e-4 * _BARS)
        shares = (sizes + 1.0) / (sizes + 1.0).sum()
        fits = flat @ np.log(rates).reshape(N_GROOVES, -1).T - rates.sum(axis=(1, 2)) + np.log(shares)
        members = np.exp(fits - fits.max(axis=1, keepdims=True))
        members /= members.sum(axis=1, keepdims=True)
    return Grooves(rates / _BARS, shares, np.zeros(_N_FEATURES))


def with_mistakes(grooves: Grooves) -> Grooves:
    """Twice as many grooves: with velocities that are not quite right, and of these each with snares taken for toms."""
    rates = grooves.rates.reshape(-1, N_CHANNELS // 2, 2, SLOTS)
    rates = (1.0 - _SOFT_FOR_LOUD) * rates + _SOFT_FOR_LOUD * rates[:, :, ::-1]
    mistaken = rates.copy()
    mistaken[:, _SNARE] *= 1.0 - _SNARES_AS_TOMS
    for tom in (_HIGH_TOM, _MID_TOM):
        mistaken[:, tom] += _SNARES_AS_TOMS / 2 * rates[:, _SNARE]
    both = np.concatenate([rates, mistaken]).reshape(-1, N_CHANNELS, SLOTS)
    shares = np.concatenate([grooves.shares, _MISTAKEN * grooves.shares]) / (1.0 + _MISTAKEN)
    return Grooves(both, shares, grooves.weights)


def _smooth(rates: FloatArray) -> FloatArray:
    """Over neighbouring slots, round the bar."""
    return np.asarray(0.2 * np.roll(rates, 1, axis=-1) + 0.6 * rates + 0.2 * np.roll(rates, -1, axis=-1))


def choices_of(performances: Sequence[Played], grooves: Grooves) -> list[tuple[FloatArray, int]]:
    """Features of the candidates of each performance, clean and degraded, and which of them is right, if any is."""
    choices = []
    for performance in performances:
        for onsets in (performance.onsets, degraded(performance.onsets)):
            relative = Onsets(onsets.time_s - onsets.time_s[0], onsets.lane, onsets.velocity)
            candidates = candidates_of(relative, grooves)
            errors = [abs(candidate.bpm / performance.bpm - 1.0) for candidate in candidates]
            if min(errors) < TOLERANCE:
                features = np.stack([candidate.features for candidate in candidates])
                choices.append((features, int(np.argmin(errors))))
    return choices


def learn_weights(choices: Sequence[tuple[FloatArray, int]]) -> FloatArray:
    """Of a conditional logit model with a ridge on standardised features, by Newton's method."""
    every = np.concatenate([features for features, _ in choices])
    mean, deviation = every.mean(axis=0), every.std(axis=0)
    weights = np.zeros(every.shape[1])
    for _ in range(20):
        gradient, curvature = -_RIDGE * weights, _RIDGE * np.eye(len(weights))
        for features, right in choices:
            scaled = (features - mean) / deviation
            chances = np.exp(scaled @ weights - (scaled @ weights).max())
            chances /= chances.sum()
            expected = chances @ scaled
            gradient = gradient + scaled[right] - expected
            curvature += (scaled.T * chances) @ scaled - np.outer(expected, expected)
        weights = weights + np.linalg.solve(curvature, gradient)
    return np.asarray(weights / deviation)


def main() -> None:
    """Learn both, and write them."""
    parser = argparse.ArgumentParser(description="Learn grooves from the train split of the Groove MIDI data set.")
    parser.add_argument("groove", type=Path, help="the unpacked data set, with info.csv")
    parser.add_argument("file", type=Path, nargs="?", default=Path(package.__file__).with_name("grooves.npz"))
    arguments = parser.parse_args()
    performances = read_groove(arguments.groove, "train")
    drummers = sorted({performance.drummer for performance in performances})
    choices: list[tuple[FloatArray, int]] = []
    for fold in range(_N_FOLDS):
        held_out = set(drummers[fold::_N_FOLDS])
        grooves = with_mistakes(learn_grooves([one for one in performances if one.drummer not in held_out]))
        choices += choices_of([one for one in performances if one.drummer in held_out], grooves)
        print(f"fold {fold + 1} of {_N_FOLDS}: {len(choices)} choices")
    grooves = with_mistakes(learn_grooves(performances))
    with replace_file(arguments.file) as temporary:
        np.savez_compressed(
            temporary,
            rates=grooves.rates.astype(np.float16),
            shares=grooves.shares.astype(np.float32),
            weights=learn_weights(choices).astype(np.float32),
        )


if __name__ == "__main__":
    main()
