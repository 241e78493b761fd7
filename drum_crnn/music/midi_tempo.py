"""Reading tempo changes and time signatures from MIDI files."""

from itertools import pairwise
from pathlib import Path

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.midi import DEFAULT_TEMPO, parse_midi
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
        As `read_midi`, and if a tempo is above 10,000 bpm or a time signature counts notes shorter than 1/64.
    """
    midi = parse_midi(path)
    changes: dict[int, int] = {0: DEFAULT_TEMPO}
    bars: dict[int, tuple[int, int]] = {0: (4, 4)}
    for track in midi.tracks[:1] if midi.type == 2 else midi.tracks:
        tick = 0
        for message in track:
            tick += message.time
            if message.type == "set_tempo":
                if message.tempo < _SHORTEST_BEAT_US:
                    raise DrumCrnnError(f"{path}: has a tempo above 10,000 bpm; export it again")
                changes[tick] = message.tempo
            elif message.type == "time_signature" and message.numerator > 0:
                if message.denominator > _SHORTEST_NOTE:
                    raise DrumCrnnError(f"{path}: has a time signature of notes shorter than 1/64; export it again")
                bars[tick] = (message.numerator, message.denominator)
    tempos = [Tempo(0.0, 60e6 / changes[0])]
    elapsed = 0  # ticks times tempo: an integer, so that errors do not add up
    for (tick, tempo), (next_tick, next_tempo) in pairwise(sorted(changes.items())):
        elapsed += (next_tick - tick) * tempo
        tempos.append(Tempo(elapsed / (midi.ticks_per_beat * 1_000_000), 60e6 / next_tempo))
    only_tempos = TempoMap(tuple(tempos), (Signature(0.0, 4, 4),))
    starts_s = only_tempos.seconds_of([tick / midi.ticks_per_beat for tick in sorted(bars)]).tolist()
    signatures = [Signature(start_s, *bars[tick]) for start_s, tick in zip(starts_s, sorted(bars), strict=True)]
    return TempoMap(tuple(tempos), tuple(signatures))
