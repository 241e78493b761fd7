"""Play notes on a kit: one-shots summed at sample-exact onsets.

Conventions
-----------
- The attack of a note at `time_s` is at sample `round(time_s * 44100)`.
- Loudness: a layer plays at `gain * (velocity / 127) ** 2`, the concave curve of the SoundFont and General MIDI
  standards (40 dB a decade). Kits are levelled, so the curve holds across ranges of velocity too. Another `Manner` may
  have another curve, and change the samples.
- Choke: an open hi-hat (the sounding note, 26 or 46) rings until the next hi-hat note of any kind, which fades it out
  over `CHOKE_FADE_S`. Everything else rings on, and hits of one drum overlap.
- `mix` does not set the level; `normalised` then brings the peak to a level, by one gain for the whole recording.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from drum_crnn.music.lanes import LANE_OF_NOTE, LANES
from drum_crnn.music.midi import Note
from drum_crnn.studio.kits import SAMPLE_RATE, FloatArray, Kit, Layer, Sample, Sound, substitute
from drum_crnn.studio.masking import HEAD_SAMPLES

__all__ = ["CHOKE_FADE_S", "TAIL_S", "Manner", "Mix", "mix", "normalised"]

# Hands and feet stop a cymbal in about this time.
CHOKE_FADE_S = 0.04
# The recording fades out at the latest this long after the last onset.
TAIL_S = 3.0

_HIHAT = LANES.index("hihat")
_OPEN_HIHATS = frozenset({26, 46})


class Manner:
    """How a kit is played: here, its samples unchanged. Varied kits have a manner of their own."""

    def strike(self, sound: Sound, velocity: int) -> tuple[tuple[Layer, ...], float]:
        """The layers that sound for a hit, and the factor of their loudness."""
        return sound.layers_at(velocity), (velocity / 127) ** 2

    def audio(self, note: int, sample: Sample) -> FloatArray:
        """The audio of a sample when it plays `note`."""
        return sample.audio


@dataclass(frozen=True, eq=False)
class Mix:
    """Notes played on a kit.

    Attributes
    ----------
    audio : float32 array, shape (n_samples,)
        Mono, 44.1 kHz, of any level. Empty if nothing is played and no duration was given.
    played : list of Note
        The notes that sound, in order of time: the labels of the recording. Notes of no lane, of a lane that the kit
        lacks, and after the end are left out.
    onsets : list of int
        First sample of each note played.
    heads : float32 array, shape (n_played, HEAD_SAMPLES)
        The beginning of each hit as it is in the mix, see `masking`.
    """

    audio: FloatArray
    played: list[Note]
    onsets: list[int]
    heads: FloatArray


def mix(notes: Sequence[Note], kit: Kit, *, manner: Manner | None = None, duration_s: float | None = None) -> Mix:
    """Play `notes` on `kit`.

    A note the kit lacks is played by the most similar one of its lane (`kits.substitute`).

    Parameters
    ----------
    notes : sequence of Note
        In any order; times are not negative.
    manner : Manner or None
        None for the plain one.
    duration_s : float or None
        Length of the recording; notes that start later are not played. None: until the last sound has decayed, at
        most `TAIL_S` after the last onset.

    Raises
    ------
    ValueError
        If a note starts before time 0, or has a velocity outside 1–127.
    """
    manner = manner or Manner()
    played: list[Note] = []
    # For each note played: onset sample, sounding note, and layers (audio and gain).
    onsets: list[int] = []
    sounding: list[int] = []
    hits: list[list[tuple[FloatArray, np.float32]]] = []
    n_given = None if duration_s is None else round(duration_s * SAMPLE_RATE)
    for note in sorted(notes):
        if note.time_s < 0 or not 1 <= note.velocity <= 127:
            raise ValueError(f"{note}: expected a time of at least 0 s and a velocity of 1–127")
        plays = substitute(kit, note.note)
        onset = round(note.time_s * SAMPLE_RATE)
        if plays is None or (n_given is not None and onset >= n_given):
            continue
        layers, loudness = manner.strike(kit.sounds[plays], note.velocity)
        played.append(note)
        onsets.append(onset)
        sounding.append(plays)
        hits.append([(manner.audio(plays, layer.sample), np.float32(layer.gain * loudness)) for layer in layers])

    choked_at = _chokes(played, onsets, sounding)
    n_samples = n_given if n_given is not None else _n_samples(onsets, choked_at, hits)
    audio = np.zeros(n_samples, dtype=np.float32)
    heads = np.zeros((len(played), HEAD_SAMPLES), dtype=np.float32)
    n_fade = round(CHOKE_FADE_S * SAMPLE_RATE)
    fade = np.linspace(1.0, 0.0, n_fade, dtype=np.float32)
    for head, onset, choke, hit in zip(heads, onsets, choked_at, hits, strict=True):
        for sample, gain in hit:
            sounds = gain * sample[: n_samples - onset]
            if choke is not None and sounds.size > choke - onset:
                sounds = sounds[: choke - onset + n_fade]
                ending = sounds[choke - onset :]
                ending *= fade[: ending.size]
            audio[onset : onset + sounds.size] += sounds
            head[: sounds.size] += sounds[:HEAD_SAMPLES]
    if played:
        n_end = min(round(0.05 * SAMPLE_RATE), n_samples - onsets[-1])
        end = np.ones(n_samples + HEAD_SAMPLES, dtype=np.float32)
        end[n_samples - n_end : n_samples] = np.linspace(1.0, 0.0, n_end, dtype=np.float32)
        audio *= end[:n_samples]
        for head, onset in zip(heads, onsets, strict=True):
            head *= end[onset : onset + HEAD_SAMPLES]
    return Mix(audio, played, onsets, heads)


def normalised(audio: FloatArray, *, peak_dbfs: float) -> FloatArray:
    """The audio with its peak at `peak_dbfs`; silence stays silent."""
    peak = float(np.abs(audio).max(initial=0.0))
    return audio * np.float32(10 ** (peak_dbfs / 20) / peak) if peak > 0 else audio


def _chokes(played: Sequence[Note], onsets: Sequence[int], sounding: Sequence[int]) -> list[int | None]:
    """Where each note is choked: an open hi-hat at the onset of the next hi-hat note, if that is a later one."""
    choked_at: list[int | None] = [None] * len(played)
    following: int | None = None
    current: int | None = None
    for index in range(len(played) - 1, -1, -1):
        if LANE_OF_NOTE[played[index].note] != _HIHAT:
            continue
        if onsets[index] != current:
            following, current = current, onsets[index]
        if sounding[index] in _OPEN_HIHATS:
            choked_at[index] = following
    return choked_at


def _n_samples(
    onsets: Sequence[int], choked_at: Sequence[int | None], hits: Sequence[Sequence[tuple[FloatArray, np.float32]]]
) -> int:
    if not onsets:
        return 0
    n_fade = round(CHOKE_FADE_S * SAMPLE_RATE)
    ends = []
    for onset, choke, hit in zip(onsets, choked_at, hits, strict=True):
        length = max(sample.size for sample, _ in hit)
        ends.append(onset + length if choke is None else min(onset + length, choke + n_fade))
    return min(max(ends), onsets[-1] + round(TAIL_S * SAMPLE_RATE))
