"""JSON: everything that is known of a transcription, for programs.

The keys of version 1 keep their names and meanings. New keys may be added.
"""

import json

from drum_crnn.formats.song import Song
from drum_crnn.music.lanes import LANES
from drum_crnn.music.tempo_map import TempoMap
from drum_crnn.music.transcription import Transcription

__all__ = ["VERSION", "json_text"]

VERSION = 1


def json_text(transcription: Transcription, *, song: Song, tempo_map: TempoMap | None = None) -> str:
    """A document with the recording, the tempo map if there is one, and a line for each onset.

    Numbers are as in the arrays, to the last bit.
    """
    tempos = [] if tempo_map is None else tempo_map.tempos
    signatures = [] if tempo_map is None else tempo_map.signatures
    head = {
        "format": "drum_crnn transcription",
        "version": VERSION,
        "recording": song.recording,
        "duration_s": float(transcription.duration_s),
        "model": song.model or None,
        "lanes": list(LANES),
        "tempos": [{"time_s": tempo.time_s, "bpm": tempo.bpm} for tempo in tempos],
        "time_signatures": [
            {"time_s": one.time_s, "numerator": one.numerator, "denominator": one.denominator} for one in signatures
        ],
    }
    onsets = [
        json.dumps({"time_s": time_s, "lane": lane, "velocity": velocity, "confidence": confidence})
        for time_s, lane, velocity, confidence in transcription.rows()
    ]
    # One onset a line, so that people and diffs can read it too.
    opening = json.dumps(head, ensure_ascii=False, indent=1).removesuffix("\n}")
    return f'{opening},\n "onsets": [' + ",".join(f"\n  {onset}" for onset in onsets) + "\n ]\n}\n"
