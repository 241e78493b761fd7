"""From audio files of several kinds to MIDI, and the command for it, with the mistakes that people make."""

import subprocess
import sys
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile
import soxr
import torch
from builders import RATE, clicks, exported, make_store, noise, section, small_features, small_model, untrained
from first_party import ROOT
from PIL import Image
from typer.testing import CliRunner

from drum_crnn.cli import app
from drum_crnn.formats.plot import LEFT, ONSET, WIDTH
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.model.activations import Activations
from drum_crnn.model.inference import activations_of
from drum_crnn.model.model_file import ModelFile
from drum_crnn.model.peak_picking import PeakPickingParams
from drum_crnn.music.audio import read_blocks
from drum_crnn.music.lanes import LANES, OUTPUT_NOTES, TOM_LANES
from drum_crnn.music.midi import DRUM_CHANNEL, read_midi
from drum_crnn.transcribe import Transcriber

DURATION_S = 3.206  # 320.6 frames: resampling cannot change the number of frames
RUNNER = CliRunner()


def material() -> np.ndarray:
    """Bursts of noise, which sound the same after a lossy codec."""
    audio = 0.02 * noise(round(DURATION_S * RATE))
    for start in range(20_000, len(audio) - 8000, 30_000):
        audio[start : start + 8000] += 0.6 * noise(8000, seed=start) * np.exp(-np.arange(8000) / 1500)
    return audio.astype(np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("model") / "drum_crnn.safetensors")


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audio") / "song.wav"
    soundfile.write(path, material(), RATE)
    return path


def activations(transcriber: Transcriber, recording: Path) -> Activations:
    return Activations.concatenate(transcriber.activations(read_blocks(recording, sample_rate=RATE)))


def test_a_file_gets_the_same_activations_as_its_stored_features(model: Path, song: Path, tmp_path: Path) -> None:
    decoded, _ = soundfile.read(song, dtype="float32")
    store = make_store(tmp_path, {"song": decoded}, small_features())
    loaded = ModelFile.load(model)
    stored = activations_of(loaded.model, store.read("song"), floor_db=store.params.floor_db)
    found = activations(Transcriber.load(model, precision="float32"), song)
    np.testing.assert_allclose(found.onset, stored.onset, atol=1e-5)
    np.testing.assert_allclose(found.velocity, stored.velocity, atol=1e-3)
    assert len(found.onset) == store.n_frames("song") == 321


def test_eight_bits_are_the_default_and_no_precision_of_a_gpu(model: Path, song: Path) -> None:
    of = {name: activations(Transcriber.load(model, precision=name), song).onset for name in (None, "int8", "float32")}
    np.testing.assert_array_equal(of[None], of["int8"])
    assert 0 < np.abs(of["int8"] - of["float32"]).max() < 0.01
    with pytest.raises(DrumCrnnError, match="int8 is a precision of the CPU, and cuda computes in float32"):
        Transcriber.load(model, device="cuda", precision="int8")
    outs = []
    for name in ("int8", "float32"):
        arguments = ["transcribe", str(song), "--model", str(model), "--to", "csv", "--precision", name]
        result = RUNNER.invoke(app, [*arguments, "--out", str(song.parent / name)])
        assert result.exit_code == 0, result.output
        outs.append((song.parent / name / "song.csv").read_text())
    assert outs[0] != outs[1]  # confidences are written


@pytest.mark.parametrize(
    ("name", "rate", "n_channels", "subtype"),
    [
        ("x.flac", 48_000, 2, "PCM_24"),
        ("x.wav", 22_050, 1, "FLOAT"),
        ("x.ogg", 44_100, 2, None),
        ("x.mp3", 48_000, 2, None),
    ],
)
def test_any_format_rate_and_channel_count(
    model: Path, song: Path, tmp_path: Path, name: str, rate: int, n_channels: int, subtype: str | None
) -> None:
    audio = soxr.resample(material(), RATE, rate, quality="HQ")
    soundfile.write(tmp_path / name, np.repeat(audio[:, None], n_channels, axis=1), rate, subtype=subtype)
    transcriber = Transcriber.load(model)
    plain, other = (activations(transcriber, path).onset for path in (song, tmp_path / name))
    assert other.shape[1] == len(LANES)
    # An MP3 coder may pad the end by a part of its own frame, 26 ms.
    assert abs(len(other) - len(plain)) <= (3 if name.endswith("mp3") else 0)
    if name.endswith("flac"):
        np.testing.assert_allclose(other, plain, rtol=0.05)


@pytest.mark.parametrize("rate", [RATE, 48_000])
@pytest.mark.parametrize("kind", ["mono", "stereo", "int16", "float64"])
def test_samples_in_memory_are_transcribed_as_the_file_that_holds_them(
    model: Path, tmp_path: Path, rate: int, kind: str
) -> None:
    audio = np.round(soxr.resample(material(), RATE, rate) * 32767) / 32768
    audio = np.stack([audio, 0.5 * audio], axis=1) if kind == "stereo" else audio
    soundfile.write(tmp_path / "x.wav", audio, rate, subtype="FLOAT")
    given = (audio * 32768).astype(np.int16) if kind == "int16" else audio.astype("f8" if kind == "float64" else "f4")
    transcriber = Transcriber.load(model)
    found, expected = transcriber.transcribe(given, rate), transcriber.transcribe_file(tmp_path / "x.wav")
    assert len(found) > 8
    assert found.duration_s == pytest.approx(expected.duration_s, abs=1e-3)
    np.testing.assert_array_equal(found.time_s, expected.time_s)
    np.testing.assert_array_equal(found.lane, expected.lane)
    np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-4)


@pytest.mark.parametrize(
    ("audio", "words"),
    [
        (np.zeros((2, 3, 4), np.float32), r"not \(2, 3, 4\)"),
        (np.zeros((5, 0), np.float32), r"not \(5, 0\)"),
        (np.zeros(5, np.int32), "not int32"),
        (np.full(5, np.nan, np.float32), "not finite"),
    ],
)
def test_samples_of_another_kind_are_refused(model: Path, audio: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Transcriber.load(model).transcribe(audio, RATE)


def test_the_steps_are_public(model: Path, song: Path) -> None:
    """Decoding, activations and onsets one by one are what `transcribe_file` does at once."""
    transcriber = Transcriber.load(model)
    steps = transcriber.onsets(activations(transcriber, song), duration_s=DURATION_S)
    whole = transcriber.transcribe_file(song)
    assert [row[1:] for row in steps.rows()] == [row[1:] for row in whole.rows()]
    np.testing.assert_allclose(steps.time_s, whole.time_s, rtol=1e-12)


def test_a_long_recording_has_the_onsets_of_all_its_activations(model: Path) -> None:
    """Onsets are picked part by part, so that memory does not grow; at the seams, none is lost or doubled."""
    transcriber = Transcriber.load(model)
    audio = noise(200 * RATE)
    found = transcriber.transcribe(audio, RATE)
    parts = list(transcriber.activations([audio]))
    assert len(parts) > 5
    whole = transcriber.onsets(Activations.concatenate(parts), duration_s=200.0)
    assert [row[1:] for row in found.rows()] == [row[1:] for row in whole.rows()]
    np.testing.assert_allclose(found.time_s, whole.time_s, rtol=1e-12)


def test_activations_are_kept_if_wanted(model: Path, song: Path) -> None:
    transcriber = Transcriber.load(model)
    plain, kept = transcriber.transcribe_file(song), transcriber.transcribe_file(song, keep_activation=True)
    assert plain.activation is None
    assert kept.activation is not None
    np.testing.assert_array_equal(kept.activation, activations(transcriber, song).onset)
    assert list(kept.rows()) == list(plain.rows())
    # The thresholds are those that onsets were picked with.
    frames = np.rint(kept.time_s * 100).astype(int)
    assert (kept.confidence >= np.array(transcriber.thresholds)[kept.lane] - 1e-6).all()
    are_drums = ~np.isin(kept.lane, TOM_LANES)
    np.testing.assert_array_equal(kept.activation[frames, kept.lane][are_drums], kept.confidence[are_drums])


def test_overridden_threshold_is_the_one_used(model: Path, song: Path) -> None:
    """The onsets of a lane are the peaks above its own threshold, in the file or given."""
    transcriber = Transcriber.load(model)
    activation = activations(transcriber, song).onset
    lane = LANES.index("snare")
    high = float(np.quantile(activation[:, lane], 0.995))
    overridden = Transcriber.load(model, thresholds={"snare": high}).transcribe_file(song)
    plain = transcriber.transcribe_file(song)
    assert 0 < len(overridden.of_lane(lane)) < len(plain.of_lane(lane))
    for frame in np.rint(overridden.of_lane(lane).time_s * 100).astype(int):
        assert activation[frame, lane] >= high
    for other in set(range(8)) - {lane}:
        np.testing.assert_array_equal(overridden.of_lane(other).time_s, plain.of_lane(other).time_s)


def test_a_model_that_follows_the_level_finds_clicks_where_they_are(tmp_path: Path) -> None:
    """Hand-made weights: the onset logit of every lane follows how much louder a frame is than the one before."""
    features = small_features(n_mels=8, n_fft=512)
    params = small_model(conv_channels=[1, 1, 1], projection=1, gru_units=1, dropout=0.0)
    model = untrained(params, n_mels=8)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for block in model.blocks:
            block.norm.scale.fill_(1.0)
            block.conv.weight[:, -1, 1, 1] = 1.0  # the difference, then the output of the previous block
        model.project.weight.fill_(1.0)
        for direction in ("", "_reverse"):
            gru = dict(model.gru.named_parameters())
            gru[f"bias_ih_l0{direction}"][1] = -20.0  # update gate shut: no memory
            gru[f"weight_ih_l0{direction}"][2, 0] = 4.0
        model.head.weight[:8] = 5.0
        model.head.bias[:8] = -6.0
    path = tmp_path / "hand_made.safetensors"
    ModelFile(model, features, section(PeakPickingParams), (0.5,) * 8).save(path)
    times = [0.5, 1.0, 1.27, 2.04]
    soundfile.write(tmp_path / "clicks.wav", clicks(times, 3.0), RATE)
    found = Transcriber.load(path).transcribe_file(tmp_path / "clicks.wav").of_lane(0)
    assert len(found) == len(times)
    np.testing.assert_allclose(found.time_s, times, atol=0.0101)  # half the window, 6 ms, reaches the click early


def test_model_without_thresholds_says_how_to_make_one(tmp_path: Path) -> None:
    ModelFile(untrained(), small_features()).save(tmp_path / "crnn.safetensors")
    with pytest.raises(DrumCrnnError, match=r"crnn\.safetensors: holds no thresholds; `drum-crnn export`"):
        Transcriber.load(tmp_path / "crnn.safetensors")


# --- the command ---


def test_command_writes_midi_and_prints_counts(model: Path, song: Path, tmp_path: Path) -> None:
    midi = tmp_path / "new folder" / "song.mid"
    result = RUNNER.invoke(app, ["transcribe", str(song), str(midi), "--model", str(model), "--bpm", "97"])
    assert result.exit_code == 0, result.output
    found = Transcriber.load(model).transcribe_file(song)
    assert len(found) > 8
    messages = [message for message in mido.MidiFile(midi) if message.type.startswith("note")]
    assert {message.channel for message in messages} == {DRUM_CHANNEL}
    written = read_midi(midi)
    assert sorted(note.note for note in written) == sorted(OUTPUT_NOTES[lane] for lane in found.lane)
    np.testing.assert_allclose([note.time_s for note in written], found.time_s, atol=0.002)
    assert sorted(note.velocity for note in written) == sorted(found.velocity)
    for index, lane in enumerate(LANES):
        [line] = [line for line in result.stdout.splitlines() if f" {lane} " in line]
        assert str(len(found.of_lane(index))) in line.split()
    assert f"{len(found)} onsets written to" in result.stdout


def test_command_draws_and_plays_what_it_found(model: Path, song: Path, tmp_path: Path) -> None:
    """With a real model, whose onsets are few if its thresholds are high."""
    activation = activations(Transcriber.load(model), song).onset
    high = {name: float(np.quantile(activation[:, lane], 0.99)) for lane, name in enumerate(LANES)}
    found = Transcriber.load(model, thresholds=high).transcribe_file(song)
    options = [word for name, value in high.items() for word in ("--threshold", f"{name}={value!r}")]
    plot, sound = tmp_path / "song.png", tmp_path / "drums.wav"
    outputs = [str(tmp_path / "song.mid"), "--plot", str(plot), "--sonify", str(sound), "--model", str(model)]
    result = RUNNER.invoke(app, ["transcribe", str(song), *outputs, *options])
    assert result.exit_code == 0, result.output
    with Image.open(plot) as image:
        is_onset = (np.asarray(image)[60:] == np.array(ONSET)).all(axis=2).any(axis=0)
    # The shortest row has 5 s in `WIDTH` pixels; marks are two pixels wide.
    starts = np.floor(found.time_s * WIDTH / 5 + 1e-6).astype(int)
    assert 0 < len(found) < 100
    assert set(np.flatnonzero(is_onset) - LEFT) == {*starts, *(starts + 1)}
    both, _ = soundfile.read(sound)
    np.testing.assert_allclose(both[:, 0], material(), atol=1e-4)
    first = round(float(found.time_s[0]) * RATE)
    assert not both[:first, 1].any()
    assert both[first : first + RATE // 10, 1].any()


def bad_recording(directory: Path, kind: str) -> Path:
    path = directory / f"{kind}.wav"
    if kind == "text":
        path.write_text("this is not a recording\n" * 20, encoding="utf-8")
    elif kind == "empty":
        path.touch()
    elif kind == "no_samples":
        soundfile.write(path, np.zeros(0), RATE)
    elif kind == "nan":
        soundfile.write(path, np.array([0.0, np.nan] * 1000, np.float32), RATE, subtype="FLOAT")
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "missing.wav: there is no such file"),
        ("text", "text.wav: not a readable recording"),
        ("empty", "empty.wav: is empty"),
        ("no_samples", "no_samples.wav: holds no audio"),
        ("nan", "nan.wav: has samples that are not finite"),
    ],
)
def test_command_names_a_bad_recording_and_leaves_no_file(model: Path, tmp_path: Path, kind: str, words: str) -> None:
    recording, out = bad_recording(tmp_path, kind), tmp_path / "out"
    result = RUNNER.invoke(app, ["transcribe", str(recording), str(out / "x.mid"), "--model", str(model)])
    check_sentence(result.exit_code, result.stderr, words)
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--threshold", "cowbell=0.5"], "there is no lane 'cowbell'; the lanes are kick, snare"),
        (["--threshold", "snare"], "write it as LANE=VALUE"),
        (["--threshold", "snare=loud"], "write it as LANE=VALUE"),
        (["--threshold", "snare=1.5"], "should be above 0 and at most 1"),
        (["--threshold", "snare=nan"], "should be above 0 and at most 1"),
        (["--threshold", "snare=0"], "should be above 0 and at most 1"),
        (["--device", "tpu"], "there is no device 'tpu'"),
        (["--model", "nowhere.safetensors"], "nowhere.safetensors: there is no such model"),
    ],
)
def test_command_explains_a_bad_option_and_leaves_no_file(
    model: Path, song: Path, tmp_path: Path, options: list[str], words: str
) -> None:
    midi = tmp_path / "x.mid"
    result = RUNNER.invoke(app, ["transcribe", str(song), str(midi), "--model", str(model), *options])
    check_sentence(result.exit_code, result.stderr, words)
    assert list(tmp_path.iterdir()) == []


def test_command_explains_a_missing_gpu(model: Path, song: Path, tmp_path: Path) -> None:
    result = RUNNER.invoke(
        app, ["transcribe", str(song), str(tmp_path / "x.mid"), "--model", str(model), "--device", "cuda"]
    )
    check_sentence(result.exit_code, result.stderr, "there is no CUDA device; choose --device cpu or auto")


def test_a_bad_recording_leaves_an_older_transcription_as_it_was(model: Path, tmp_path: Path) -> None:
    midi = tmp_path / "x.mid"
    midi.write_bytes(b"precious")
    recording = bad_recording(tmp_path, "text")
    result = RUNNER.invoke(app, ["transcribe", str(recording), str(midi), "--model", str(model)])
    assert result.exit_code == 1
    assert midi.read_bytes() == b"precious"


@pytest.mark.processes
def test_real_process_ends_with_one_sentence(tmp_path: Path) -> None:
    recording = bad_recording(tmp_path, "text")
    model = exported(tmp_path / "model.safetensors")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "drum_crnn.cli",
            "transcribe",
            str(recording),
            str(tmp_path / "x.mid"),
            "--model",
            str(model),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    check_sentence(done.returncode, done.stderr, "text.wav: not a readable recording")
    assert done.stdout == ""
    assert not (tmp_path / "x.mid").exists()


def check_sentence(exit_code: int, stderr: str, words: str) -> None:
    assert exit_code == 1, stderr
    lines = stderr.strip().splitlines()
    assert len(lines) == 1, stderr
    assert lines[0].startswith("error: ")
    assert words in lines[0]


# -------------------------------------------------------------------------------------------------------------- doubts


def bursts(decibels: float = 0.0) -> np.ndarray:
    """The material without its noise floor, whose loudest sample is near that level."""
    return (material() * 10 ** (decibels / 20)).astype(np.float32)


def test_an_almost_silent_take_is_heard_as_if_it_were_louder(model: Path, tmp_path: Path) -> None:
    transcriber = Transcriber.load(model)
    for name, decibels in (("quiet", -60.0), ("loud", 0.0)):
        soundfile.write(tmp_path / f"{name}.wav", bursts(decibels), RATE, subtype="FLOAT")
    seconds: list[float] = []
    quiet = transcriber.transcribe_file(tmp_path / "quiet.wav", progress=seconds.append)
    level = 10 ** (-12 / 20) / (np.ptp(bursts()) / 2)
    wanted = transcriber.transcribe(bursts() * np.float32(level), RATE)
    assert [doubt[:16] for doubt in quiet.doubts] == ["is almost silent"]
    assert wanted.doubts == transcriber.transcribe_file(tmp_path / "loud.wav").doubts == ()
    assert len(quiet) == len(wanted) > 0
    np.testing.assert_allclose(quiet.time_s, wanted.time_s, atol=0.002)
    np.testing.assert_array_equal(quiet.lane, wanted.lane)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [32_768.0, 1e30])
def test_samples_of_another_scale_are_heard_at_the_usual_level(model: Path, scale: float) -> None:
    """As floats in units of integers are; the squares of the largest overflow."""
    transcriber = Transcriber.load(model)
    usual = noise(2 * RATE)
    usual *= 10 ** (-12 / 20) / (np.ptp(usual) / 2)
    wanted = transcriber.transcribe(usual, RATE)
    found = transcriber.transcribe((usual * np.float32(scale)).astype(np.float32), RATE)
    assert [doubt[:27] for doubt in found.doubts] == ["has samples far above full "]
    assert len(found) == len(wanted) > 0
    np.testing.assert_allclose(found.time_s, wanted.time_s, atol=0.002)
    np.testing.assert_array_equal(found.lane, wanted.lane)


def test_silence_has_no_onsets_even_at_the_edge_of_a_constant(model: Path) -> None:
    transcriber = Transcriber.load(model, thresholds=dict.fromkeys(LANES, 0.001))
    assert len(transcriber.transcribe(bursts(), RATE))
    for silence in (np.zeros(RATE, np.float32), np.full(RATE, 0.9, np.float32), np.ones(1, np.float32)):
        found = transcriber.transcribe(silence, RATE)
        assert len(found) == 0
        assert found.duration_s == len(silence) / RATE
        assert found.doubts[0].startswith("is silent")


def test_channels_out_of_phase_are_heard_as_one(model: Path) -> None:
    transcriber = Transcriber.load(model)
    found = transcriber.transcribe(np.stack([bursts(), -bursts()], axis=1), RATE)
    wanted = transcriber.transcribe(bursts(), RATE)
    assert len(found) == len(wanted) > 0
    np.testing.assert_allclose(found.time_s, wanted.time_s, atol=1e-3)
    np.testing.assert_array_equal(found.lane, wanted.lane)
    assert found.louder_than(1).doubts == found.doubts != ()
