"""Play notes on a kit: one-shots summed at sample-exact onsets.

Conventions
-----------
- A note at `time_s` starts at sample `round(time_s * 44100)`, where its sample has the attack.
- Loudness: a layer plays at `gain * (velocity / 127) ** 2`, the concave curve of the SoundFont and General MIDI
  standards (40 dB a decade). Kits are levelled, so the curve holds across ranges of velocity too.
- Choke: an open hi-hat (the sounding note, 26 or 46) rings until the next hi-hat note of any kind, which fades it out
  over `CHOKE_FADE_S`. Everything else rings on, and hits of one drum overlap.
- One gain for the whole recording brings its peak to `peak_dbfs`; nothing clips, and nothing is compressed.
"""

from collections.abc import Sequence

import numpy as np

from drum_crnn.lanes import LANE_OF_NOTE, LANES
from drum_crnn.midi import Note
from drum_crnn.studio.kits import SAMPLE_RATE, FloatArray, Kit, substitute

__all__ = ["CHOKE_FADE_S", "TAIL_S", "render"]

# Hands and feet stop a cymbal in about this time.
CHOKE_FADE_S = 0.04
# What rings longer than this after the last onset is faded out.
TAIL_S = 3.0

_HIHAT = LANES.index("hihat")
_OPEN_HIHATS = frozenset({26, 46})


def render(
    notes: Sequence[Note],
    kit: Kit,
    *,
    duration_s: float | None = None,
    peak_dbfs: float = -1.0,
) -> tuple[FloatArray, list[Note]]:
    """Play `notes` on `kit`.

    A note the kit lacks is played by the most similar one of its lane (`kits.substitute`).

    Parameters
    ----------
    notes : sequence of Note
        In any order; times are not negative.
    duration_s : float or None
        Length of the recording; notes that start later are not played. None: until the last sound has decayed, at
        most `TAIL_S` after the last onset.
    peak_dbfs : float
        The recording's peak.

    Returns
    -------
    audio : float32 array, shape (n_samples,)
        Mono, 44.1 kHz. Empty if nothing is played and no duration given.
    played : list of Note
        Those that sound, in order of time, unchanged: the labels of the recording. Notes of no lane, of a lane the
        kit lacks, and after the end are missing.

    Raises
    ------
    ValueError
        If a note starts before time 0, or has a velocity outside 1–127.
    """
    played: list[Note] = []
    # Per note played: onset sample, sounding note, where it is choked (or None).
    onsets: list[int] = []
    sounding: list[int] = []
    n_given = None if duration_s is None else round(duration_s * SAMPLE_RATE)
    for note in sorted(notes):
        if note.time_s < 0 or not 1 <= note.velocity <= 127:
            raise ValueError(f"{note}: expected a time of at least 0 s and a velocity of 1–127")
        plays = substitute(kit, note.note)
        onset = round(note.time_s * SAMPLE_RATE)
        if plays is None or (n_given is not None and onset >= n_given):
            continue
        played.append(note)
        onsets.append(onset)
        sounding.append(plays)

    choked_at = _chokes(played, onsets, sounding)
    n_samples = n_given if n_given is not None else _n_samples(played, onsets, sounding, choked_at, kit)
    audio = np.zeros(n_samples, dtype=np.float32)
    n_fade = round(CHOKE_FADE_S * SAMPLE_RATE)
    fade = np.linspace(1.0, 0.0, n_fade, dtype=np.float32)
    for note, onset, plays, choke in zip(played, onsets, sounding, choked_at, strict=True):
        loudness = np.float32((note.velocity / 127) ** 2)
        for layer in kit.sounds[plays].layers_at(note.velocity):
            hit = layer.sample.audio[: n_samples - onset]
            gain = np.float32(layer.gain) * loudness
            if choke is None or hit.size <= choke - onset:
                audio[onset : onset + hit.size] += gain * hit
                continue
            audio[onset:choke] += gain * hit[: choke - onset]
            ending = hit[choke - onset : choke - onset + n_fade]
            audio[choke : choke + ending.size] += gain * ending * fade[: ending.size]

    if played:
        n_end = min(round(0.05 * SAMPLE_RATE), n_samples - onsets[-1])
        audio[n_samples - n_end :] *= np.linspace(1.0, 0.0, n_end, dtype=np.float32)
        peak = float(np.abs(audio).max())
        if peak > 0:
            audio *= np.float32(10 ** (peak_dbfs / 20) / peak)
    return audio, played


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
    played: Sequence[Note], onsets: Sequence[int], sounding: Sequence[int], choked_at: Sequence[int | None], kit: Kit
) -> int:
    if not played:
        return 0
    n_fade = round(CHOKE_FADE_S * SAMPLE_RATE)
    ends = []
    for note, onset, plays, choke in zip(played, onsets, sounding, choked_at, strict=True):
        length = max(layer.sample.audio.size for layer in kit.sounds[plays].layers_at(note.velocity))
        ends.append(onset + length if choke is None else min(onset + length, choke + n_fade))
    return min(max(ends), onsets[-1] + round(TAIL_S * SAMPLE_RATE))
