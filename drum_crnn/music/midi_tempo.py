"""Reading tempo changes and time signatures from MIDI files."""

from itertools import pairwise
from pathlib import Path

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.midi import DEFAULT_TEMPO, scanned_file
from drum_crnn.music.tempo_map import Signature, Tempo, TempoMap

__all__ = ["read_tempo_map"]

_SHORTEST_BEAT_US = 6_000  # 10,000 bpm; no music is faster, and a damaged file would have millions of bars
_SHORTEST_NOTE = 64  # of a time signature's denominator


def read_tempo_map(path: Path) -> TempoMap:
    """Read the tempo changes and time signatures of a MIDI file; of type 2, those of its first track.

    120 bpm and 4/4 hold until the file says otherwise. Of several events at one tick, the last applies.

    Raises
    ------
    DrumCrnnError
        As `read_midi`, and if the file has no beats, a tempo is above 10,000 bpm, or a time signature counts notes
        shorter than 1/64.
    """
    midi = scanned_file(path)
    if midi.in_frames:
        raise DrumCrnnError(f"{path}: counts time in SMPTE frames, so it has no tempo; export it with ticks per beat")
    ticks_per_beat = int(midi.ticks_per_beat)
    changes: dict[int, int] = {0: DEFAULT_TEMPO}
    bars: dict[int, tuple[int, int]] = {0: (4, 4)}
    for track in midi.tracks[:1] if midi.type == 2 else midi.tracks:
        for tick, tempo in track.tempi:
            if tempo < _SHORTEST_BEAT_US:
                raise DrumCrnnError(f"{path}: has a tempo above 10,000 bpm; export it again")
            changes[tick] = tempo
        for tick, numerator, denominator in track.bars:
            if numerator == 0:
                continue
            if denominator > _SHORTEST_NOTE:
                raise DrumCrnnError(f"{path}: has a time signature of notes shorter than 1/64; export it again")
            bars[tick] = (numerator, denominator)
    tempos = [Tempo(0.0, 60e6 / changes[0])]
    elapsed = 0  # ticks times tempo: an integer, so that errors do not add up
    for (tick, tempo), (next_tick, next_tempo) in pairwise(sorted(changes.items())):
        elapsed += (next_tick - tick) * tempo
        tempos.append(Tempo(elapsed / (ticks_per_beat * 1_000_000), 60e6 / next_tempo))
    only_tempos = TempoMap(tuple(tempos), (Signature(0.0, 4, 4),))
    starts_s = only_tempos.seconds_of([tick / ticks_per_beat for tick in sorted(bars)]).tolist()
    signatures = [Signature(start_s, *bars[tick]) for start_s, tick in zip(starts_s, sorted(bars), strict=True)]
    return TempoMap(tuple(tempos), tuple(signatures))
