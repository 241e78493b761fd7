"""JAMS: the JSON Annotated Music Specification of music information retrieval.

Each lane is an annotation of namespace `onset`, whose values hold the velocity. If there is a tempo map, its tempos and
beats are annotations of `tempo` and `beat_position`.

References
----------
Humphrey et al., "JAMS: A JSON Annotated Music Specification for Reproducible MIR Research", ISMIR 2014.
"""

import json
import math
from typing import Any

from drum_crnn.formats.bars import bars_until
from drum_crnn.formats.song import Song
from drum_crnn.music.lanes import LANES
from drum_crnn.music.tempo_map import TempoMap
from drum_crnn.music.transcription import Transcription

__all__ = ["jams_text"]

_JAMS_VERSION = "0.3.4"


def jams_text(transcription: Transcription, *, song: Song, tempo_map: TempoMap | None = None) -> str:
    """A JAMS document with one annotation for each lane, whether it has onsets or not."""
    duration_s = float(transcription.duration_s)
    annotations = [
        _annotation(
            "onset",
            [
                {"time": time_s, "duration": 0.0, "value": {"velocity": velocity}, "confidence": confidence}
                for time_s, velocity, confidence in zip(
                    of_lane.time_s.tolist(), of_lane.velocity.tolist(), of_lane.confidence.tolist(), strict=True
                )
            ],
            duration_s=duration_s,
            model=song.model,
            sandbox={"lane": LANES[lane]},
        )
        for lane, of_lane in ((lane, transcription.of_lane(lane)) for lane in range(len(LANES)))
    ]
    if tempo_map is not None:
        for namespace, data in (
            ("tempo", _tempos(tempo_map, duration_s)),
            ("beat_position", _beats(tempo_map, duration_s)),
        ):
            annotations.append(_annotation(namespace, data, duration_s=duration_s, model=song.model, sandbox={}))
    metadata = {"title": song.title, "artist": song.artist, "release": "", "duration": duration_s}
    document = {
        "annotations": annotations,
        "file_metadata": {**metadata, "identifiers": {"file": song.recording}, "jams_version": _JAMS_VERSION},
        "sandbox": {},
    }
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def _annotation(
    namespace: str, data: list[dict[str, Any]], *, duration_s: float, model: str, sandbox: dict[str, str]
) -> dict[str, Any]:
    return {
        "namespace": namespace,
        "data": data,
        "annotation_metadata": {
            "annotation_tools": f"drum_crnn {model}".strip(),
            "annotation_rules": "",
            "annotator": {},
            "corpus": "",
            "curator": {"name": "", "email": ""},
            "data_source": "program",
            "validation": "",
            "version": "",
        },
        "sandbox": sandbox,
        "time": 0.0,
        "duration": duration_s,
    }


def _tempos(tempo_map: TempoMap, duration_s: float) -> list[dict[str, Any]]:
    """Each tempo from its start to the next; the first one from the start of the recording."""
    starts = [0.0, *(tempo.time_s for tempo in tempo_map.tempos[1:])]
    ends = [*starts[1:], math.inf]
    return [
        # The namespace wants a number as confidence; we know none.
        {"time": start, "duration": min(end, duration_s) - start, "value": tempo.bpm, "confidence": 1.0}
        for start, end, tempo in zip(starts, ends, tempo_map.tempos, strict=True)
        if start <= duration_s
    ]


def _beats(tempo_map: TempoMap, duration_s: float) -> list[dict[str, Any]]:
    """Each beat of each bar, as its time signature counts them."""
    values = []
    places = []
    for measure, bar in enumerate(bars_until(tempo_map, duration_s)):
        beat = 4.0 / bar.denominator
        for position in range(math.ceil(bar.length / beat - 1e-6)):
            places.append(bar.start + position * beat)
            count = {"position": position + 1, "measure": measure}
            values.append({**count, "num_beats": bar.numerator, "beat_units": bar.denominator})
    return [
        {"time": time_s, "duration": 0.0, "value": value, "confidence": None}
        for time_s, value in zip(tempo_map.seconds_of(places).tolist(), values, strict=True)
        if time_s <= duration_s
    ]
