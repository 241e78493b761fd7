"""Multi-track MIDI songs: drums as a performance, the rest as its band."""

from pathlib import Path

import mido
import numpy as np
import pytest
from first_party import ROOT
from fluidsynth import needs_fluidsynth
from miniature import write_params

from drum_crnn.band.players import Part, Tone
from drum_crnn.data.corpus import Corpus
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.audio import load_audio
from drum_crnn.music.midi import read_midi
from drum_crnn.studio.rendering import RenderParams, load_variations, render_corpus
from drum_crnn.studio.songs import cut_parts, faster_parts, read_songs

BEAT = 480


def write_song(path: Path, *, drums: bool = True, program: int = 33, pitch: int = 45) -> Path:
    """Sixteen bars of 3/4 at 100 bpm: a tone in each bar, a kick on each beat."""
    song = mido.MidiFile(ticks_per_beat=BEAT)
    first, second = mido.MidiTrack(), mido.MidiTrack()
    first.append(mido.MetaMessage("set_tempo", tempo=600_000))
    first.append(mido.MetaMessage("time_signature", numerator=3, denominator=4))
    first.append(mido.Message("program_change", channel=2, program=program))
    for _ in range(16):
        first.append(mido.Message("note_on", channel=2, note=pitch, velocity=100))
        first.append(mido.Message("note_off", channel=2, note=pitch, time=2 * BEAT))
        first.append(mido.Message("note_on", channel=2, note=pitch, velocity=0, time=BEAT))
    for _ in range(48 if drums else 0):
        second.append(mido.Message("note_on", channel=9, note=36, velocity=90))
        second.append(mido.Message("note_off", channel=9, note=36, time=BEAT))
    song.tracks.extend([first, second])
    path.parent.mkdir(parents=True, exist_ok=True)
    song.save(str(path))
    return path


def test_a_song_is_a_performance_with_parts(tmp_path: Path) -> None:
    write_song(tmp_path / "folder" / "one.mid")
    write_song(tmp_path / "without_drums.mid", drums=False)
    write_song(tmp_path / "taiko.mid", program=116)
    [song] = read_songs(tmp_path)
    assert (song.id, song.split, song.bpm, song.time_signature) == ("songs/folder/one", "train", 100.0, "3-4")
    assert [note.time_s for note in song.notes] == pytest.approx([0.6 * beat for beat in range(48)])
    assert {note.note for note in song.notes} == {36}
    [part] = song.parts
    assert part.program == 33
    assert np.allclose(part.tones, [(1.8 * bar, 1.2, 45, 100) for bar in range(16)])


def test_a_folder_without_songs_is_told(tmp_path: Path) -> None:
    with pytest.raises(DrumCrnnError, match=r"no \.mid or \.midi file.*render\.songs"):
        read_songs(tmp_path)
    write_song(tmp_path / "one.mid", drums=False)
    with pytest.raises(DrumCrnnError, match=r"no file has notes on channel 10 and on others; see render\.songs"):
        read_songs(tmp_path)
    (tmp_path / "broken.mid").write_bytes(b"MThd")
    with pytest.raises(DrumCrnnError, match=r"broken\.mid: not a readable MIDI file"):
        read_songs(tmp_path)


def test_parts_are_cut_and_played_faster_as_notes_are() -> None:
    part = Part("written_0", 0, (Tone(0.0, 1.0, 60, 90), Tone(1.0, 4.0, 62, 90), Tone(5.0, 1.0, 64, 90)))
    [cut] = cut_parts([part], 2.0, 5.5, lead_s=0.5)
    assert cut.tones == (Tone(0.5, 3.0, 62, 90), Tone(3.5, 0.5, 64, 90))
    [faster] = faster_parts([part], 2.0)
    assert faster.tones == (Tone(0.0, 0.5, 60, 90), Tone(0.5, 2.0, 62, 90), Tone(2.5, 0.5, 64, 90))


@needs_fluidsynth
def test_the_band_of_a_song_plays_what_is_written(tmp_path: Path) -> None:
    """The written tone is the strongest one that is heard, and the labels are the drums."""
    write_song(tmp_path / "songs" / "one.mid", program=73, pitch=81)  # a flute: 880 Hz
    variation = load_variations(ROOT / "variations.yaml")["songs"]
    assert variation.band is not None
    always = {"enabled": True, "probability": 1.0}
    changes = {"written": {**always, "range": [0.0, 0.0]}, "level": {**always, "range": [12.0, 12.0]}}
    off = {"enabled": False, "probability": 0.0, "range": [0.0, 0.0]}
    band = variation.band.model_dump() | changes | {"eq": off, "duck": off}
    only_band = type(variation).check(
        {"playing": None, "kit": None, "production": None, "band": band}, source="variations.yaml"
    )
    session = {"name": "s", "splits": ["train"], "kits": "heard", "takes": 1, "segment_s": None, "variation": "own"}
    folder = str(tmp_path / "songs")  # as performances, they have no split, and are not recorded
    params = write_params(
        tmp_path / "params.yaml", render={"performances": folder, "songs": folder, "sessions": [session]}
    )
    loaded = RenderParams.load(params)
    render_corpus(tmp_path / "rendered", tmp_path / "kits.csv", loaded, {"own": only_band}, n_workers=1)
    [recording] = Corpus.open(tmp_path / "rendered").recordings
    audio = load_audio(tmp_path / "rendered" / recording.audio_path, sample_rate=44_100)
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(audio.size)))
    spectrum[: round(300 * audio.size / 44_100)] = 0.0
    assert spectrum.argmax() * 44_100 / audio.size == pytest.approx(880.0, rel=0.02)
    assert {note.note for note in read_midi(tmp_path / "rendered" / recording.midi_path)} == {36}
