"""The choices of `--tempo`: where the bars of a transcription come from, and what to tell about them."""

import math
from collections.abc import Callable
from pathlib import Path

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.midi_tempo import read_tempo_map
from drum_crnn.music.onsets import Onsets
from drum_crnn.music.tempo_map import TempoMap
from drum_crnn.tempo.estimation import HINT_RANGE, TempoEstimate, estimate_tempo_map

__all__ = ["TempoChoice", "read_choice"]

# From the onsets of a recording to its tempo map, or None if no tempo is known, and a line about it, or "".
TempoChoice = Callable[[Onsets], tuple[TempoMap | None, str]]

_NEAR_S = 0.05  # beats of the map and of the playing are closer
_VARIES = 0.02  # relative; tempi that differ by more are told as "about"


def read_choice(text: str) -> TempoChoice:
    """What `--tempo` asks for.

    Parameters
    ----------
    text : str
        `auto` estimates tempo and bars. A number does so near that tempo, in beats a minute. `none` says that no tempo
        is known. Anything else names a MIDI file, whose tempo changes and time signatures hold for every recording.

    Raises
    ------
    DrumCrnnError
        If it is none of these, the number is outside 20 to 400, or the file cannot be read.
    """
    if text.lower() == "none":
        return lambda onsets: (None, "")
    if text.lower() == "auto":
        return _estimated
    try:
        bpm = float(text)
    except ValueError:
        return _of_file(text)
    lowest, highest = HINT_RANGE
    if not lowest <= bpm <= highest:
        raise DrumCrnnError(f"--tempo {text}: a tempo should lie between {lowest:g} and {highest:g} beats a minute")
    return lambda onsets: _near(onsets, bpm)


def _of_file(text: str) -> TempoChoice:
    path = Path(text)
    if not text or (path.suffix.lower() not in (".mid", ".midi") and not path.exists()):
        raise DrumCrnnError(f"--tempo {text}: write auto, none, beats a minute such as 97, or the path of a MIDI file")
    tempo_map = read_tempo_map(path)
    return lambda onsets: (tempo_map, f"tempo and bars are those of {path}")


def _estimated(onsets: Onsets) -> tuple[TempoMap | None, str]:
    estimate = estimate_tempo_map(onsets)
    if not estimate.is_trustworthy:
        return None, f"no tempo found, since {_reason(estimate)}; bars are those of 120 bpm; to set one: --tempo 97"
    return estimate.tempo_map, _told(estimate)


def _near(onsets: Onsets, bpm: float) -> tuple[TempoMap | None, str]:
    estimate = estimate_tempo_map(onsets, bpm_hint=bpm)
    if not estimate.is_trustworthy:
        words = f"{bpm:g} bpm from the start, not following the playing, since {_reason(estimate)}"
        return TempoMap.constant(bpm), words
    return estimate.tempo_map, _told(estimate)


def _reason(estimate: TempoEstimate) -> str:
    if not len(estimate.beats_s):
        return "there are too few onsets"
    return "the onsets follow no regular beat"


def _told(estimate: TempoEstimate) -> str:
    """Such as "132 bpm, 4/4; if the bars are half as long as they should be: --tempo 66"."""
    metre = estimate.metre
    changes = estimate.tempo_map.tempos
    ends_s = [*(tempo.time_s for tempo in changes[1:]), math.inf]
    # Before the first downbeat, there may be a shorter bar of a tempo that nobody plays.
    heard = [tempo for tempo, end_s in zip(changes, ends_s, strict=True) if end_s > estimate.downbeats_s[0] + _NEAR_S]
    tempos = [tempo.bpm / metre.quarters for tempo in heard]
    about = "about " if max(tempos) > (1.0 + _VARIES) * min(tempos) else ""
    bpm = round(tempos[0] if len(tempos) == 1 else estimate.bpm, 1)
    unit = "bpm" if metre.denominator == 4 else "dotted quarters a minute"
    words = f"{about}{bpm:g} {unit}, {metre.numerator}/{metre.denominator}"
    if HINT_RANGE[0] <= estimate.alternative_bpm <= HINT_RANGE[1]:
        is_half = estimate.alternative == "half"
        other = bpm * (0.5 if is_half else 2.0)
        words += f"; if the bars are {'half' if is_half else 'twice'} as long as they should be: --tempo {other:g}"
    return words
