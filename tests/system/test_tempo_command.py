"""`drum-crnn transcribe --tempo`, by the released model, in processes as people start them."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import mido
import numpy as np
import pretty_midi
import pytest
import soundfile
from chart_reader import Chart
from first_party import ROOT

from drum_crnn.music.midi import Note
from drum_crnn.music.midi_tempo import read_tempo_map
from drum_crnn.music.midi_writing import write_midi
from drum_crnn.music.tempo_map import Signature, Tempo, TempoMap
from drum_crnn.studio.sampler import mix, normalised
from drum_crnn.studio.sources import open_kits

BPM = 97.0
START_S = 0.41
N_BARS = 8


def seconds_of(beat: float) -> float:
    return START_S + beat * 60.0 / BPM


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds `song.wav`: a rock beat whose first bar begins at `START_S`."""
    path = tmp_path_factory.mktemp("tempo")
    notes = [Note(seconds_of(n / 2), 42, 95 if n % 2 == 0 else 75) for n in range(8 * N_BARS)]
    for bar in range(N_BARS):
        notes += [Note(seconds_of(4 * bar + beat), 36, 110) for beat in (0.0, 2.0, 2.5)]
        notes += [Note(seconds_of(4 * bar + beat), 38, 110) for beat in (1.0, 3.0)]
    [kit] = open_kits("pretty_midi:TimGM6mb#Standard")
    soundfile.write(path / "song.wav", normalised(mix(notes, kit).audio, peak_dbfs=-3.0), 44_100)
    write_midi(
        path / "bars.mid",
        [],
        tempo_map=TempoMap((Tempo(0.0, 60.0), Tempo(3.0, 180.0)), (Signature(0.0, 3, 4), Signature(3.0, 7, 8))),
    )
    (path / "no.mid").write_text("this is no MIDI file", encoding="utf-8")
    return path


def run(folder: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "drum_crnn.cli", "transcribe", *arguments, "--device", "cpu", "--force"],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == code, done.stderr
    return done


def onset_times(path: Path) -> list[float]:
    """By mido's own clock."""
    now, found = 0.0, []
    for message in mido.MidiFile(path):
        now += message.time
        if message.type == "note_on" and message.velocity:
            found.append(now)
    return sorted(found)


def check_times(folder: Path, stem: str) -> None:
    """The MIDI file has the onsets of the JSON file within a millisecond."""
    wanted = [onset["time_s"] for onset in json.loads((folder / f"{stem}.json").read_text(encoding="utf-8"))["onsets"]]
    np.testing.assert_allclose(onset_times(folder / f"{stem}.mid"), sorted(wanted), atol=0.001)


def bars_of(folder: Path, stem: str) -> Sequence[float]:
    """The beginnings of bars in a MIDI file, by pretty_midi."""
    downbeats: Sequence[float] = pretty_midi.PrettyMIDI(str(folder / f"{stem}.mid")).get_downbeats()
    return downbeats


def test_by_default_bars_lie_where_they_were_played_in_all_formats(folder: Path) -> None:
    done = run(folder, "song.wav", "--to", "midi,json,jams,tab,chart", "--out", "auto")
    told = done.stdout.splitlines()[-1]
    assert told.startswith(f"{BPM:g} bpm, 4/4; if the bars are ")
    made = folder / "auto"
    check_times(made, "song")
    bars = np.array(bars_of(made, "song"))
    for bar in range(N_BARS):
        assert np.abs(bars - seconds_of(4 * bar)).min() < 0.02
    document = json.loads((made / "song.json").read_text(encoding="utf-8"))
    assert [round(tempo["bpm"], 1) for tempo in document["tempos"]][-1] == BPM
    in_json = TempoMap(
        tuple(Tempo(**tempo) for tempo in document["tempos"]),
        tuple(Signature(**signature) for signature in document["time_signatures"]),
    )
    times = np.linspace(0.0, 20.0, 50)
    in_midi = read_tempo_map(made / "song.mid")
    np.testing.assert_allclose(in_midi.beats_of(times), in_json.beats_of(times), atol=0.003)
    jams = json.loads((made / "song.jams").read_text(encoding="utf-8"))
    [beats] = [one["data"] for one in jams["annotations"] if one["namespace"] == "beat_position"]
    ones = [beat["time"] for beat in beats if beat["value"]["position"] == 1]
    np.testing.assert_allclose(ones, bars[: len(ones)], atol=0.002)
    chart = Chart((made / "song (chart)" / "notes.chart").read_text(encoding="utf-8"))
    np.testing.assert_allclose([bpm for _, bpm in chart.tempos], [one.bpm for one in in_json.tempos], rtol=1e-4)
    firsts = sorted(strokes.time_s for strokes in chart.tracks["ExpertDrums"].values())[:2]
    np.testing.assert_allclose(firsts, [seconds_of(0.0), seconds_of(0.5)], atol=0.02)
    assert f"{BPM:.4g} bpm, 4/4" in (made / "song.tab").read_text(encoding="utf-8")


def test_a_number_fixes_the_level(folder: Path) -> None:
    done = run(folder, "song.wav", "--to", "midi,json", "--out", "half", "--tempo", "48.5")
    assert done.stdout.splitlines()[-1].startswith("48.5 bpm, ")
    assert read_tempo_map(folder / "half" / "song.mid").tempos[-1].bpm == pytest.approx(48.5, rel=0.002)
    check_times(folder / "half", "song")


def test_none_is_a_grid_of_120(folder: Path) -> None:
    done = run(folder, "song.wav", "--to", "midi,json", "--out", "none", "--tempo", "none")
    assert "onsets written to" in done.stdout.splitlines()[-1]
    assert read_tempo_map(folder / "none" / "song.mid") == TempoMap.constant()
    assert json.loads((folder / "none" / "song.json").read_text(encoding="utf-8"))["tempos"] == []
    check_times(folder / "none", "song")


def test_a_midi_file_lends_its_bars(folder: Path) -> None:
    done = run(folder, "song.wav", "--to", "midi,json", "--out", "file", "--tempo", "bars.mid")
    assert done.stdout.splitlines()[-1] == "tempo and bars are those of bars.mid"
    assert read_tempo_map(folder / "file" / "song.mid") == read_tempo_map(folder / "bars.mid")
    check_times(folder / "file", "song")


@pytest.mark.parametrize(
    ("tempo", "message"),
    [
        ("fast", "--tempo fast: write auto, none, beats a minute such as 97, or the path of a MIDI file"),
        ("5", "--tempo 5: a tempo should lie between 20 and 400 beats a minute"),
        ("missing.mid", "missing.mid: there is no such file"),
        ("no.mid", "no.mid: not a readable MIDI file"),
        ("song.wav", "song.wav: not a readable MIDI file"),
    ],
)
def test_what_is_no_tempo_is_told_before_the_work_begins(folder: Path, tempo: str, message: str) -> None:
    done = run(folder, "song.wav", "--out", "bad", "--tempo", tempo, code=1)
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not (folder / "bad").exists()


def test_a_grid_and_a_tempo_contradict_each_other(folder: Path) -> None:
    done = run(folder, "song.wav", "--out", "bad", "--tempo", "97", "--bpm", "97", code=1)
    assert done.stderr == "error: --bpm 97 and --tempo 97 contradict each other; give one of them\n"
