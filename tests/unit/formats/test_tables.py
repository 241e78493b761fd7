"""CSV, JSON and JAMS, read by the standard library, a JSON schema, and the package `jams` where it is installed."""

import csv
import io
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transcriptions import any_tempo_map, any_transcription, rock_beat, transcription

from drum_crnn.formats.csv_file import csv_text
from drum_crnn.formats.jams_file import jams_text
from drum_crnn.formats.json_file import json_text
from drum_crnn.formats.song import Song
from drum_crnn.music.lanes import LANES
from drum_crnn.music.tempo_map import Signature, Tempo, TempoMap
from drum_crnn.music.transcription import Transcription

SONG = Song.of(Path("The Band - A Song.wav"), model="released")

# What the specification of JAMS asks of a document and of the three namespaces, in words of our own.
NUMBER = {"type": "number", "minimum": 0}
OBSERVATION = {
    "type": "object",
    "required": ["time", "duration", "value", "confidence"],
    "properties": {"time": NUMBER, "duration": NUMBER},
}
BEAT = {
    "type": "object",
    "required": ["position", "measure", "num_beats", "beat_units"],
    "properties": {
        "position": {"type": "number", "minimum": 1},
        "measure": {"type": "integer", "minimum": 0},
        "num_beats": {"type": "integer", "minimum": 1},
        "beat_units": {"enum": [1, 2, 4, 8, 16, 32, 64, 128, 256]},
    },
}
JAMS = {
    "type": "object",
    "required": ["annotations", "file_metadata"],
    "properties": {
        "file_metadata": {
            "type": "object",
            "properties": {
                "duration": NUMBER,
                "title": {"type": "string"},
                "artist": {"type": "string"},
                "jams_version": {"type": "string", "pattern": "^[0-9].[0-9].[0-9]$"},
            },
            "required": ["duration"],
        },
        "annotations": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["annotation_metadata", "data", "namespace"],
                "properties": {
                    "namespace": {"enum": ["onset", "tempo", "beat_position"]},
                    "data": {"type": "array", "items": OBSERVATION},
                    "annotation_metadata": {"type": "object"},
                },
            },
        },
    },
}


def check_rows(rows: list[tuple[float, str, int, float]], made: Transcription, *, time_s: float, share: float) -> None:
    assert [row[1:3] for row in rows] == [
        (LANES[lane], velocity) for lane, velocity in zip(made.lane, made.velocity.tolist(), strict=True)
    ]
    np.testing.assert_allclose([row[0] for row in rows], made.time_s, atol=time_s, rtol=0)
    np.testing.assert_allclose([row[3] for row in rows], made.confidence, atol=share, rtol=0)


@settings(max_examples=25)
@given(any_transcription())
def test_csv_comes_back(made: Transcription) -> None:
    text = csv_text(made)
    assert text.splitlines()[0] == "time_s,lane,velocity,confidence"
    rows = [
        (float(row["time_s"]), row["lane"], int(row["velocity"]), float(row["confidence"]))
        for row in csv.DictReader(io.StringIO(text))
    ]
    check_rows(rows, made, time_s=5e-7, share=5.1e-5)


@settings(max_examples=25)
@given(any_transcription(), st.none() | any_tempo_map())
def test_json_comes_back_to_the_last_bit(made: Transcription, tempo_map: TempoMap | None) -> None:
    document = json.loads(json_text(made, song=SONG, tempo_map=tempo_map))
    rows = [(one["time_s"], one["lane"], one["velocity"], one["confidence"]) for one in document["onsets"]]
    check_rows(rows, made, time_s=0, share=0)
    assert document["duration_s"] == made.duration_s
    if tempo_map is None:
        assert (document["tempos"], document["time_signatures"]) == ([], [])
    else:
        tempos = tuple(Tempo(**tempo) for tempo in document["tempos"])
        assert TempoMap(tempos, tuple(Signature(**one) for one in document["time_signatures"])) == tempo_map


def test_json_says_what_it_is() -> None:
    document = json.loads(json_text(rock_beat(1), song=SONG))
    assert document["format"] == "drum_crnn transcription"
    assert document["version"] == 1
    assert (document["recording"], document["model"]) == ("The Band - A Song.wav", "released")
    assert document["lanes"] == list(LANES)


@settings(max_examples=10)
@given(any_transcription(), st.none() | any_tempo_map())
def test_jams_obeys_its_schema_and_comes_back(made: Transcription, tempo_map: TempoMap | None) -> None:
    document = json.loads(jams_text(made, song=SONG, tempo_map=tempo_map))
    jsonschema.validate(document, JAMS)
    onsets = [one for one in document["annotations"] if one["namespace"] == "onset"]
    assert [one["sandbox"]["lane"] for one in onsets] == list(LANES)
    for lane, annotation in enumerate(onsets):
        mine = made.of_lane(lane)
        assert [one["time"] for one in annotation["data"]] == mine.time_s.tolist()
        assert [one["value"]["velocity"] for one in annotation["data"]] == mine.velocity.tolist()
        assert [one["confidence"] for one in annotation["data"]] == mine.confidence.tolist()
    others = {one["namespace"]: one["data"] for one in document["annotations"] if one["namespace"] != "onset"}
    assert set(others) == (set() if tempo_map is None else {"tempo", "beat_position"})
    for beat in others.get("beat_position", [])[:20]:
        jsonschema.validate(beat["value"], BEAT)
    assert all(0 <= tempo["confidence"] <= 1 for tempo in others.get("tempo", []))  # there null is not allowed


def test_jams_counts_tempos_and_beats() -> None:
    tempo_map = TempoMap((Tempo(0.0, 120.0), Tempo(2.0, 60.0)), (Signature(0.0, 4, 4), Signature(2.0, 6, 8)))
    document = json.loads(jams_text(transcription([], duration_s=5.2), song=SONG, tempo_map=tempo_map))
    data = {one["namespace"]: one["data"] for one in document["annotations"]}
    assert [(one["time"], one["duration"], one["value"]) for one in data["tempo"]] == [
        (0.0, 2.0, 120.0),
        (2.0, pytest.approx(3.2), 60.0),
    ]
    beats = [(one["time"], one["value"]["measure"], one["value"]["position"]) for one in data["beat_position"]]
    quarters = [(0.5 * n, 0, n + 1) for n in range(4)]
    eighths = [(2.0 + 0.5 * n, 1 + n // 6, n % 6 + 1) for n in range(7)]
    assert beats == [(pytest.approx(time_s), *rest) for time_s, *rest in quarters + eighths]


def test_the_package_jams_reads_it(tmp_path: Path) -> None:
    jams = pytest.importorskip("jams")
    made = rock_beat(2)
    path = tmp_path / "song.jams"
    path.write_text(jams_text(made, song=SONG, tempo_map=TempoMap.constant(120)), encoding="utf-8")
    read = jams.load(str(path), validate=True, strict=True)
    found = {one.sandbox.lane: [observation.time for observation in one] for one in read.search(namespace="onset")}
    assert found == {name: made.of_lane(lane).time_s.tolist() for lane, name in enumerate(LANES)}
    assert read.file_metadata.duration == made.duration_s
    assert len(read.search(namespace="beat_position")[0].data) == 10


@pytest.mark.parametrize("name", ["caf\udce9.wav", "ドラム.wav", 'quo"te.wav', "two\nlines.wav"])
def test_any_file_name_is_valid_json_in_utf8(name: str) -> None:
    song = Song.of(Path(name))
    for text in (json_text(rock_beat(1), song=song), jams_text(rock_beat(1), song=song)):
        json.loads(text.encode("utf-8"))
    assert "\n" not in song.title
