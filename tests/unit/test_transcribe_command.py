"""`drum-crnn transcribe` as people call it: many recordings, many formats, streams, and what must never happen.

A fake takes the place of the model, so that calls take milliseconds. `test_transcribe.py` has the real one.
"""

import csv
import errno
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile
from builders import RATE, exported, noise, small_features
from chart_reader import Chart
from click.testing import Result
from first_party import ROOT
from PIL import Image
from privileges import run_without_privileges, without_privileges
from transcriptions import rock_beat
from typer.testing import CliRunner

import drum_crnn.transcribe
from drum_crnn.cli import app
from drum_crnn.formats.batch import run_batch
from drum_crnn.formats.names import FORMATS
from drum_crnn.formats.note_maps import load_note_map
from drum_crnn.formats.plan import plan
from drum_crnn.formats.plot import ONSET
from drum_crnn.formats.writing import Style
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.audio import load_audio
from drum_crnn.music.lanes import LANE_OF_NOTE, N_LANES
from drum_crnn.music.midi import read_midi
from drum_crnn.music.midi_tempo import read_tempo_map
from drum_crnn.music.onsets import Onsets
from drum_crnn.music.tempo_map import Tempo
from drum_crnn.music.transcription import Transcription
from drum_crnn.tempo.estimation import TempoEstimate, estimate_tempo_map

RUNNER = CliRunner()
BEAT = rock_beat(2)


class FakeTranscriber:
    """Decodes the recording, so that bad ones fail as they do, and hears the same beat in all of them."""

    asked: dict[str, object]
    kept: bool  # whether activations were asked for
    thresholds = (0.5,) * N_LANES
    features = small_features()

    @classmethod
    def load(cls, model: Path, **options: object) -> "FakeTranscriber":
        cls.asked = {"model": model, **options}
        return cls()

    def transcribe_file(
        self, recording: Path, *, progress: Callable[[float], None], keep_activation: bool = False
    ) -> Transcription:
        progress(len(load_audio(recording, sample_rate=RATE)) / RATE)
        FakeTranscriber.kept = keep_activation
        return replace(BEAT, activation=np.zeros((450, N_LANES), np.float32)) if keep_activation else BEAT


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(drum_crnn.transcribe, "Transcriber", FakeTranscriber)
    monkeypatch.chdir(tmp_path)


def record(path: str | Path, *, rate: int = RATE, n_channels: int = 1) -> bytes:
    """Write half a second of noise; its bytes."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with soundfile.SoundFile(
        os.fsencode(path), "w", rate, n_channels, format={".mp3": "MP3", ".flac": "FLAC"}.get(path.suffix, "WAV")
    ) as file:
        file.write(np.repeat(noise(rate // 2)[:, None], n_channels, axis=1))
    return path.read_bytes()


def call(*arguments: str | Path, stdin: bytes | None = None, code: int = 0) -> Result:
    result = RUNNER.invoke(app, ["transcribe", *map(str, arguments)], input=stdin)
    assert result.exit_code == code, (result.exit_code, result.output, result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def check_sentence(result: Result, words: str) -> None:
    [line] = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert words in line


def files() -> set[str]:
    return {path.as_posix() for path in Path().rglob("*") if path.is_file()}


# ------------------------------------------------------------------------------------------------ where outputs go


def test_today_form_still_works() -> None:
    record("song.wav")
    result = call("song.wav", "song.mid")
    assert f"{len(BEAT)} onsets written to song.mid; model:" in result.stdout
    assert len(read_midi(Path("song.mid"))) == len(BEAT)


def test_one_recording_alone_gets_midi_beside_it() -> None:
    record("songs/song.wav")
    call("songs/song.wav")
    assert files() == {"songs/song.wav", "songs/song.mid"}


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("x.mid", b"MThd"),
        ("x.MIDI", b"MThd"),
        ("x.csv", b"time_s"),
        ("x.json", b"{"),
        ("x.jams", b"{"),
        ("x.txt", b"so"),
    ],
)
def test_suffix_of_the_output_says_the_format(name: str, start: bytes) -> None:
    record("song.wav")
    call("song.wav", name)
    assert Path(name).read_bytes().startswith(start)


def test_all_formats_at_once_in_a_folder() -> None:
    original = record("in/The Band - Song.wav")
    call("in/The Band - Song.wav", "--to", "midi,csv", "--to", "json,jams, tab", "--to", "chart", "--out", "new/out")
    stem = "new/out/The Band - Song"
    suffixes = [suffix for name, suffix in FORMATS.items() if name != "chart"]
    chart = {f"{stem} (chart)/{name}" for name in ("notes.chart", "song.ini", "song.wav")}
    assert files() == {"in/The Band - Song.wav", *(stem + suffix for suffix in suffixes), *chart}
    rows = list(csv.DictReader(io.StringIO(Path(f"{stem}.csv").read_text(encoding="utf-8"))))
    assert [float(row["time_s"]) for row in rows] == BEAT.time_s.tolist()
    assert json.loads(Path(f"{stem}.json").read_text(encoding="utf-8"))["recording"] == "The Band - Song.wav"
    read = Chart(Path(f"{stem} (chart)/notes.chart").read_text(encoding="utf-8"))
    assert read.song["MusicStream"] == '"song.wav"'
    assert read.song["Artist"] == '"The Band"'
    assert Path(f"{stem} (chart)/song.wav").read_bytes() == original


@pytest.mark.parametrize("n_channels", [1, 2, 3])
def test_audio_that_games_do_not_read_becomes_ogg(n_channels: int) -> None:
    record("song.flac", rate=48_000, n_channels=n_channels)
    call("song.flac", "--to", "chart")
    info = soundfile.info("song (chart)/song.ogg")
    assert (info.format, info.subtype) == ("OGG", "VORBIS")
    assert info.duration == pytest.approx(0.5, abs=0.01)
    assert info.channels == (n_channels if n_channels < 3 else 1)
    assert Chart(Path("song (chart)/notes.chart").read_text(encoding="utf-8")).song["MusicStream"] == '"song.ogg"'


def test_a_folder_means_its_recordings_and_keeps_its_shape() -> None:
    for name in ("album/b.wav", "album/cd 2/a.flac", "album/cd 2/a.wav.txt", "album/._b.wav", "album/__MACOSX/c.wav"):
        record(name)
    record("album/.hidden/d.wav")
    result = call("album", "--out", "out")
    assert {name for name in files() if name.startswith("out")} == {"out/b.mid", "out/cd 2/a.mid"}
    assert "2 of 2 recordings transcribed" in result.stdout


def test_a_folder_also_means_what_ffmpeg_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeTranscriber, "transcribe_file", staticmethod(doubtful))
    for name in ("x/a.m4a", "x/B.WMA", "x/y/c.mp4", "x/notes.txt", "x/cover.jpg"):
        record(name)
    call("x", "--out", "out")
    call("x/*.[mM]4[aA]", "--out", "there")
    assert {name for name in files() if name.endswith(".mid")} == {
        "out/a.mid",
        "out/B.mid",
        "out/y/c.mid",
        "there/a.mid",
    }


def test_several_recordings_and_a_pattern() -> None:
    for name in ("a.wav", "b.wav", "x/c.wav", "x/d.wav"):
        record(name)
    call("a.wav", "b.wav", "x/*.wav", "a.wav")
    assert {name for name in files() if name.endswith(".mid")} == {"a.mid", "b.mid", "x/c.mid", "x/d.mid"}


def test_a_file_whose_name_looks_like_a_pattern_is_that_file() -> None:
    record("take [1].wav")
    call("take [1].wav")
    assert "take [1].mid" in files()


# --------------------------------------------------------------------------------------------------------- streams


def test_from_standard_input_to_standard_output() -> None:
    recording = record("song.wav")
    result = call("-", "-", stdin=recording)
    assert result.stdout_bytes.startswith(b"MThd")
    Path("got.mid").write_bytes(result.stdout_bytes)
    assert len(read_midi(Path("got.mid"))) == len(BEAT)
    assert f"{len(BEAT)} onsets written to standard output" in result.stderr


def test_standard_input_alone_goes_to_standard_output() -> None:
    assert call("-", "--to", "csv", stdin=record("song.wav")).stdout.startswith("time_s,lane,velocity,confidence\n")


def test_standard_input_into_files() -> None:
    recording = record("song.flac")
    call("-", "out.json", stdin=recording)
    call("-", "--to", "chart,tab", "--out", "here", stdin=recording)
    assert json.loads(Path("out.json").read_text(encoding="utf-8"))["onsets"]
    assert {name for name in files() if name.startswith("here")} == {
        "here/recording.tab",
        *(f"here/recording (chart)/{name}" for name in ("notes.chart", "song.ini", "song.ogg")),
    }


def test_bad_standard_input_is_named_so() -> None:
    result = call("-", "-", stdin=b"no recording at all", code=1)
    check_sentence(result, "standard input: not a readable recording")
    assert result.stdout_bytes == b""
    check_sentence(call("-", "-", stdin=b"", code=1), "standard input: is empty")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["song.wav", "-", "--to", "chart"], "a chart is a folder"),
        (["song.wav", "-", "--to", "csv,json"], "is one output for 2 formats"),
        (["-", "--to", "csv,json"], "standard output holds one file"),
        (["song.wav", "other.wav", "out.mid"], "out.mid: is one output for 2 recordings"),
        (["song.wav", "out.mid", "--to", "midi,csv"], "out.mid: is one output for 2 formats"),
        (["song.wav", "out.mid", "--out", "folder"], "is an output, and so is --out folder"),
        (["song.wav", "out.json", "--to", "midi"], "out.json: is no name for --to midi; leave --to away"),
        (["song.wav", "--out", "song.mid"], "--out song.mid: is the name of a file, but --out is a folder"),
        (["song.wav", "--to", " ,"], "--to names no format; the formats are midi, csv"),
        (["song.wav", "--to", "mp3"], "--to mp3: there is no such format; the formats are midi, csv"),
        (["song.wav", "out.pdf"], "out.pdf: is neither a recording nor the name of an output"),
        (["song.wav", "--notes", "gmm"], "--notes gmm: there is no such map or file"),
        (["nothing"], "nothing: there is no such file"),
        (["no*.wav"], "no*.wav: no file matches"),
        (["empty"], "empty: is a folder without recordings"),
    ],
)
def test_contradictions_are_one_sentence_and_write_nothing(arguments: list[str], words: str) -> None:
    record("song.wav")
    record("other.wav")
    Path("empty").mkdir()
    before = files()
    check_sentence(call(*arguments, code=1), words)
    assert files() == before


@pytest.mark.skipif(sys.platform == "win32", reason="names of pipes")
def test_a_pipe_with_a_name_is_read_once_and_named_in_errors() -> None:
    """As `<(…)` of a shell."""
    for content in (record("song.wav"), b"no recording at all"):
        Path("pipe").unlink(missing_ok=True)
        os.mkfifo("pipe")
        writer = threading.Thread(target=Path("pipe").write_bytes, args=(content,), daemon=True)
        writer.start()
        result = call("pipe", "out.mid", "--force", code=int(content.startswith(b"no")))
        writer.join(10)
    check_sentence(result, "error: pipe: not a readable recording")
    assert len(read_midi(Path("out.mid"))) == len(BEAT)


# -------------------------------------------------------------------------------------------------- what must never be


@pytest.mark.skipif(sys.platform == "win32", reason="devices")
@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_device_or_a_pipe_is_never_replaced(force: list[str]) -> None:
    """A root who writes to /dev/null with --force would lose it."""
    record("song.wav")
    os.mkfifo("pipe.mid")
    Path("link.csv").symlink_to("/dev/null")
    for output, options in (("pipe.mid", []), ("link.csv", []), ("/dev/null", ["--to", "csv"])):
        check_sentence(call("song.wav", output, *options, *force, code=1), f"{output}: is a device or a pipe, not a")
    assert Path("/dev/null").is_char_device()
    assert Path("pipe.mid").is_fifo()


@pytest.mark.parametrize("force", [[], ["--force"]])
@pytest.mark.parametrize("kind", ["same path", "other spelling", "symlink", "hard link", "midi link", "--to"])
def test_a_recording_is_never_overwritten(kind: str, force: list[str]) -> None:
    original = record("take.wav")
    outputs = {"same path": "take.wav", "other spelling": "./take.wav", "midi link": "take.mid"}
    output = outputs.get(kind, "link.wav")
    if kind in ("symlink", "midi link"):
        Path(output).symlink_to("take.wav")
    elif kind != "same path" and kind != "other spelling":
        Path(output).hardlink_to("take.wav")
    options = ["--to", "midi"] if kind == "--to" else []
    before = files()
    result = call("take.wav", output, *options, *force, code=1)
    check_sentence(result, "is the recording itself" if output.endswith("wav") else "is a recording")
    assert Path("take.wav").read_bytes() == original
    assert files() == before


def test_an_existing_output_stays_without_force() -> None:
    record("song.wav")
    Path("song.mid").write_bytes(b"precious")
    check_sentence(call("song.wav", code=1), "song.mid: exists already; --force overwrites it")
    check_sentence(call("song.wav", "song.mid", code=1), "song.mid: exists already")
    assert Path("song.mid").read_bytes() == b"precious"
    call("song.wav", "--force")
    assert len(read_midi(Path("song.mid"))) == len(BEAT)


def test_if_one_of_several_outputs_exists_none_is_written() -> None:
    record("song.wav")
    Path("song.csv").write_bytes(b"precious")
    check_sentence(call("song.wav", "--to", "midi,csv", code=1), "song.csv: exists already")
    assert files() == {"song.wav", "song.csv"}


def test_force_replaces_a_link_and_not_what_it_leads_to() -> None:
    record("song.wav")
    other = record("other.wav")
    Path("song.mid").symlink_to("other.wav")
    call("song.wav", "song.mid", "--force")
    assert Path("other.wav").read_bytes() == other
    assert not Path("song.mid").is_symlink()


def test_force_keeps_what_else_is_in_a_charts_folder() -> None:
    record("song.wav")
    folder = Path("song (chart)")
    folder.mkdir()
    (folder / "album.png").write_bytes(b"picture")
    (folder / "song.ini").write_text("old", encoding="utf-8")
    check_sentence(call("song.wav", "--to", "chart", code=1), "exists already")
    call("song.wav", "--to", "chart", "--force")
    assert (folder / "album.png").read_bytes() == b"picture"
    assert (folder / "song.ini").read_text(encoding="utf-8").startswith("[song]\nname = song\n")


def test_two_recordings_of_one_name_do_not_overwrite_each_other() -> None:
    record("x/song.wav")
    record("x/song.flac")
    result = call("x", "--out", "out", code=3)
    assert "1 of 2 recordings transcribed" in result.stdout
    check_sentence(result, "x/song.wav: would be written to out/song.mid, as x/song.flac is")


@pytest.mark.skipif(sys.platform == "win32", reason="names are characters there")
def test_a_name_that_is_not_utf_8_goes_through_every_format() -> None:
    """The audio of its chart becomes OGG, since games do not read FLAC."""
    record("x.flac")
    name = os.fsdecode(b"caf\xe9.flac")
    Path("x.flac").rename(name)
    call(name, "--to", ",".join(FORMATS))
    assert soundfile.info(os.fsencode(os.fsdecode(b"caf\xe9 (chart)/song.ogg"))).frames > 0


@pytest.mark.processes
@without_privileges
def test_what_may_not_be_read_or_written_is_told_with_what_to_do_and_keeps_nothing_from_being_done() -> None:
    """Of a folder, too: one that cannot be looked into may hold recordings."""
    for name in ("album/a.wav", "album/b.wav", "album/closed/c.wav", "album/listed/d.wav"):
        record(name)
    Path("full").mkdir()
    for name, mode in (("album/a.wav", 0), ("album/closed", 0), ("album/listed", 0o600), ("full", 0o500)):
        Path(name).chmod(mode)
    command = [sys.executable, "-m", "drum_crnn.cli", "transcribe"]
    try:
        done = run_without_privileges(*command, "album", "--out", "out")
        refused = run_without_privileges(*command, "album/b.wav", "full/new/b.mid")
        listed = Path("album/listed").absolute()
    finally:
        for name in ("album/closed", "album/listed", "full"):
            Path(name).chmod(0o700)
    assert done.returncode == 3, done.stderr
    assert Path("out/b.mid").is_file()
    denied = "cannot be read: Permission denied; give yourself the right: chmod"
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] == [
        f"error: album/a.wav: {denied} u+r album/a.wav",
        f"error: album/closed: {denied} u+rx album/closed",
        f"error: album/listed/d.wav: {denied} u+rx {listed}",
    ]
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1] == (
        f"error: full/new/b.mid: {denied.replace('read', 'written')} u+wx {Path('full').absolute()}, or choose another "
        "place"
    )


def test_links_that_lead_nowhere_are_told() -> None:
    record("album/a.wav")
    Path("album/circle.wav").symlink_to("circle.wav")
    Path("album/lost.wav").symlink_to("missing.wav")
    Path("album/self").symlink_to(".")  # and is not followed for ever
    circle, lost = call("album", code=3).stderr.strip().splitlines()
    assert circle.startswith("error: album/circle.wav: cannot be read: Too many levels of symbolic links; its links")
    assert lost == "error: album/lost.wav: is a link to no file; mend it"


@pytest.mark.skipif(sys.platform == "win32", reason="such names are not allowed there")
def test_a_name_with_line_breaks_and_colours_stays_on_its_line() -> None:
    record("new\nline.wav")
    record("red\x1b[31m.wav")
    Path("bad\n.wav").touch()
    result = call(".", "--out", "out", "--to", "midi,chart", code=3)
    check_sentence(result, "bad\\n.wav: is empty")
    lines = result.stdout.splitlines()
    assert lines[0].startswith("new\\nline.wav: ")
    assert lines[1].startswith("red\\x1b[31m.wav: ")
    assert len(lines) == 3
    assert "name = new line\n" in Path("out/new\nline (chart)/song.ini").read_text(encoding="utf-8")


@pytest.mark.skipif(sys.platform == "win32", reason="paths are shorter there")
def test_a_name_may_be_as_long_as_the_system_allows() -> None:
    name = f"{'é' * 125}.wav"  # 254 bytes
    record(name)
    call(name)
    assert Path(name).with_suffix(".mid").is_file()


def test_what_another_program_writes_meanwhile_is_not_overwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    def hear(self: object, recording: Path, **_: object) -> Transcription:
        Path("song.mid").write_text("of another program", encoding="utf-8")
        return BEAT

    monkeypatch.setattr(FakeTranscriber, "transcribe_file", hear)
    record("song.wav")
    check_sentence(call("song.wav", code=1), "song.mid: was written by another program meanwhile; --force")
    assert Path("song.mid").read_text(encoding="utf-8") == "of another program"
    call("song.wav", "--force")
    assert len(read_midi(Path("song.mid"))) == len(BEAT)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there are no devices")
def test_a_device_is_no_recording() -> None:
    check_sentence(call("/dev/zero", "x.mid", code=1), "/dev/zero: is a device or a folder, not a recording")


def test_a_full_disk_for_the_copy_of_a_stream_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("shutil.copyfileobj", full)
    result = call("-", "x.mid", stdin=record("a.wav"), code=1)
    check_sentence(result, f"{tempfile.gettempdir()}: has no room for a copy of the stream")


@pytest.mark.processes
@pytest.mark.skipif(sys.platform == "win32", reason="its shell closes no streams")
@pytest.mark.parametrize(
    ("closed", "arguments", "words"),
    [("<&-", "- x.csv", "standard input: "), (">&-", "missing.wav -", "missing.wav: ")],
)
def test_streams_that_are_closed(tmp_path: Path, closed: str, arguments: str, words: str) -> None:
    """As of a service that has none."""
    command = f"'{sys.executable}' -m drum_crnn.cli transcribe {arguments} {closed}"
    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {words}")
    assert "Traceback" not in done.stderr


def test_a_folder_in_the_place_of_an_output_is_a_sentence() -> None:
    record("song.wav")
    Path("song.mid").mkdir()
    check_sentence(call("song.wav", "--force", code=1), "song.mid: is a folder, but should be a file")


def test_a_failing_chart_leaves_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> str:
        raise DrumCrnnError("the chart fails")

    monkeypatch.setattr("drum_crnn.formats.writing.song_ini_text", fail)
    record("song.wav")
    check_sentence(call("song.wav", "--to", "chart", code=1), "the chart fails")
    assert files() == {"song.wav"}
    assert not Path("song (chart)").exists()


@pytest.mark.parametrize(
    "arguments", [[""], ["song.wav", ""], ["song.wav", "--out", ""], ["song.wav", "--plot", ""], ["x://y/song.wav"]]
)
def test_an_argument_that_is_empty_or_an_address_is_refused(arguments: list[str]) -> None:
    """An empty one, as of a variable that is not set, would mean the current folder and all that is in it."""
    record("song.wav")
    result = call(*arguments, code=2)
    said = " ".join(result.stderr.replace("│", " ").split())
    assert "is empty; name a file" in said or "is an address; download it" in said
    assert files() == {"song.wav"}


@pytest.mark.skipif(sys.platform == "win32", reason="a current folder cannot be deleted there")
def test_a_current_folder_that_was_deleted_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("gone").mkdir()
    monkeypatch.chdir("gone")
    Path("../gone").rmdir()
    check_sentence(call("song.wav", code=1), "the current folder no longer exists; change to one that does")


def test_letter_case_of_choices_makes_no_difference() -> None:
    record("song.wav")
    call("song.wav", "--notes", "Roland-TD", "--tempo", "None", "--to", "MIDI,")
    assert {note.note for note in read_midi(Path("song.mid"))} <= {*load_note_map("roland-td").notes}
    call("song.wav", "--force", "--bpm", "97", "--tempo", "AUTO")


# ------------------------------------------------------------------------------------------------------------ batches


def test_one_bad_file_is_told_at_the_end_and_the_others_are_done() -> None:
    record("a.wav")
    Path("b.wav").write_text("no recording", encoding="utf-8")
    record("c.wav")
    result = call("a.wav", "b.wav", "c.wav", "missing.wav", code=3)
    assert {name for name in files() if name.endswith(".mid")} == {"a.mid", "c.mid"}
    assert "2 of 4 recordings transcribed" in result.stdout
    bad, missing = result.stderr.strip().splitlines()
    assert bad.startswith("error: b.wav: not a readable recording")
    assert missing == "error: missing.wav: there is no such file"


def test_if_all_fail_the_exit_code_says_so() -> None:
    for name in ("a.wav", "b.wav"):
        Path(name).write_text("no recording", encoding="utf-8")
    assert len(call("a.wav", "b.wav", code=1).stderr.strip().splitlines()) == 2


def test_system_errors_of_one_recording_are_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object, recording: Path, **_: object) -> Transcription:
        if recording.name == "a.wav":
            raise PermissionError(13, "Permission denied", str(recording))
        return BEAT

    monkeypatch.setattr(FakeTranscriber, "transcribe_file", refuse)
    record("a.wav")
    record("b.wav")
    check_sentence(call("a.wav", "b.wav", code=3), "a.wav: cannot be read: Permission denied; ")


# -------------------------------------------------------------------------------------------------------------- doubts


def doubtful(recording: Path, **_: object) -> Transcription:
    doubts = {"b.wav": ("is almost silent; record it louder",), "c.wav": ("is clipped; x", "has nothing; y")}
    return replace(BEAT, doubts=doubts.get(recording.name, ("of a stream; z",) if recording.suffix == "" else ()))


def test_doubts_are_one_line_of_warning_for_each_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeTranscriber, "transcribe_file", staticmethod(doubtful))
    for name in ("a.wav", "b.wav", "c.wav"):
        record(name)
    result = call("a.wav", "b.wav", "c.wav", "--minimum-velocity", "20", "--out", "out")
    assert result.stderr.splitlines() == [
        "warning: b.wav: is almost silent; record it louder",
        "warning: c.wav: is clipped; x. It has nothing; y",
    ]
    assert "3 of 3 recordings transcribed" in result.stdout
    result = call("-", "-", stdin=b"some recording")
    assert result.stderr.splitlines()[0] == "warning: standard input: of a stream; z"
    assert result.stdout_bytes.startswith(b"MThd")


# ------------------------------------------------------------------------------------------------------------- options


def test_options_reach_the_transcriber_and_the_notes() -> None:
    record("song.wav")
    call("song.wav", "--favour", "game", "--threshold", "crash=0.7", "--notes", "addictive-drums", "--bpm", "97.5")
    assert FakeTranscriber.asked["favour"] == "game"
    assert FakeTranscriber.asked["thresholds"] == {"crash": 0.7}
    notes = {note.note for note in read_midi(Path("song.mid"))}
    assert notes == {36, 38, 49, 77}
    track = mido.MidiFile("song.mid").tracks[0]
    assert [round(60e6 / m.tempo, 1) for m in track if m.type == "set_tempo"] == [97.5]


def test_minimum_velocity_leaves_soft_onsets_out() -> None:
    record("song.wav")
    call("song.wav", "--minimum-velocity", "80")
    notes = read_midi(Path("song.mid"))
    assert len(notes) == int((BEAT.velocity >= 80).sum()) < len(BEAT)
    assert min(note.velocity for note in notes) >= 80


def test_notes_from_a_file() -> None:
    record("song.wav")
    Path("mine.yaml").write_text(
        "kick: 1\nsnare: 2\nhihat: null\nhigh_tom: 3\nmid_tom: 4\nlow_tom: 5\ncrash: 6\nride: 7\n", encoding="utf-8"
    )
    call("song.wav", "--notes", "mine.yaml")
    assert {note.note for note in read_midi(Path("song.mid"))} == {1, 2, 6}


@pytest.mark.parametrize("bpm", [4, 60, 97, 1000])
def test_times_stay_within_a_millisecond_at_every_tempo(bpm: int) -> None:
    record("song.wav")
    call("song.wav", "--bpm", str(bpm))
    found = sorted((LANE_OF_NOTE[note.note], note.time_s) for note in read_midi(Path("song.mid")))
    wanted = sorted(zip(BEAT.lane.tolist(), BEAT.time_s.tolist(), strict=True))
    np.testing.assert_allclose([time for _, time in found], [time for _, time in wanted], atol=0.001)


@pytest.mark.parametrize(
    "options", [["--favour", "speed"], ["--minimum-velocity", "0"], ["--minimum-velocity", "x"], ["--bpm", "1"]]
)
def test_options_out_of_range_are_usage_errors(options: list[str]) -> None:
    record("song.wav")
    call("song.wav", *options, code=2)
    assert files() == {"song.wav"}


# --------------------------------------------------------------------------------------------------------------- tempo

TOLD = "120 bpm, 4/4; if the bars are "


def test_the_tempo_is_told_after_each_recording() -> None:
    for name in ("a.wav", "b.wav"):
        record(name)
    assert call("a.wav", "--out", "one").stdout.splitlines()[-1].startswith(TOLD)
    lines = call("a.wav", "b.wav", "--out", "two").stdout.splitlines()
    assert [f"; {TOLD}" in line for line in lines] == [True, True, False]


def test_the_tempo_is_told_beside_standard_output() -> None:
    record("song.wav")
    result = call("song.wav", "-", "--to", "json")
    assert TOLD in result.stderr
    assert json.loads(result.stdout)["tempos"][-1]["bpm"] == pytest.approx(120.0)


@pytest.mark.parametrize(("to", "n_estimates"), [("csv", 0), ("midi", 1), ("csv,midi,json,jams,tab,chart", 1)])
def test_all_formats_share_one_estimate(monkeypatch: pytest.MonkeyPatch, to: str, n_estimates: int) -> None:
    asked: list[Onsets] = []

    def estimate(onsets: Onsets) -> TempoEstimate:
        asked.append(onsets)
        return estimate_tempo_map(onsets)

    monkeypatch.setattr("drum_crnn.tempo.choice.estimate_tempo_map", estimate)
    record("song.wav")
    assert (TOLD in call("song.wav", "--to", to).stdout) == (n_estimates > 0)
    assert len(asked) == n_estimates


def test_a_grid_of_exactly_so_many_beats_a_minute_is_not_estimated() -> None:
    record("song.wav")
    assert "bars" not in call("song.wav", "--bpm", "97").stdout
    assert read_tempo_map(Path("song.mid")).tempos == (Tempo(0.0, pytest.approx(97.0, abs=1e-4)),)


# ------------------------------------------------------------------------------------------------- to see and to hear


def is_plot(path: str) -> bool:
    with Image.open(path) as image:
        return image.format == "PNG" and bool((np.asarray(image)[60:] == np.array(ONSET)).all(axis=2).any())


def test_plot_and_sonify_are_written_beside_the_other_outputs() -> None:
    record("song.wav")
    result = call("song.wav", "--to", "csv", "--plot", "see/song.png", "--sonify", "hear.WAV")
    assert files() == {"song.wav", "song.csv", "see/song.png", "hear.WAV"}
    assert f"{len(BEAT)} onsets written to song.csv, see/song.png, hear.WAV; model:" in " ".join(result.stdout.split())
    assert is_plot("see/song.png")
    both, rate = soundfile.read("hear.WAV")
    assert (both.shape, rate) == ((RATE // 2, 2), RATE)
    assert np.abs(both[:1000, 1]).max() > 0.01  # BEAT begins at 0
    assert FakeTranscriber.kept


def test_what_is_done_holds_no_activations() -> None:
    """Of a thousand recordings, they would fill the memory."""
    record("song.wav")
    jobs = plan([Path("song.wav")], formats=["csv"])
    done, problems = run_batch(
        jobs,
        lambda recording, progress: FakeTranscriber().transcribe_file(
            recording, progress=progress, keep_activation=True
        ),
        style=Style(),
    )
    assert not problems
    assert [one.transcription.activation for one in done] == [None]
    assert list(done[0].transcription.rows()) == list(BEAT.rows())


def test_without_a_plot_no_activations_are_kept() -> None:
    record("song.wav")
    call("song.wav", "--sonify", "hear.wav")
    assert not FakeTranscriber.kept


def test_several_recordings_get_folders_which_keep_their_shape() -> None:
    for name in ("album/b.wav", "album/cd 2/a.flac"):
        record(name)
    Path("v1.2").mkdir()
    result = call("album", "--out", "midi", "--plot", "pictures", "--sonify", "v1.2")
    assert "2 of 2 recordings transcribed" in result.stdout
    assert {name for name in files() if not name.startswith("album")} == {
        *("midi/b.mid", "midi/cd 2/a.mid", "pictures/b.png", "pictures/cd 2/a.png", "v1.2/b.wav", "v1.2/cd 2/a.wav"),
    }


def test_standard_input_can_be_seen_and_heard() -> None:
    result = call("-", "-", "--plot", ".", "--sonify", "x.wav", stdin=record("in/song.flac"))
    assert result.stdout_bytes.startswith(b"MThd")
    assert files() == {"in/song.flac", "recording.png", "x.wav"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.wav", "b.wav", "--plot", "x.png"], "--plot x.png: is one file for 2 recordings; name a folder"),
        (["a.wav", "--plot", "x.jpg"], "--plot x.jpg: is neither a file that ends in .png nor a folder that exists"),
        (["a.wav", "--sonify", "x.mp3"], "name one, such as x.wav"),
        (["a.wav", "--plot", "-"], "--plot -: cannot be standard output"),
        (["a.wav", "x.png", "--to", "midi", "--plot", "x.png"], "x.png: cannot be both midi and plot"),
        (["a.wav", "--plot", "old.png"], "old.png: exists already; --force overwrites it"),
        (["a.wav", "--sonify", "b.wav"], "b.wav: exists already"),
        (["a.wav", "--sonify", "a.wav"], "a.wav: is a recording, which is never overwritten"),
        (["a.wav", "--sonify", ".", "--force"], "a.wav: is a recording, which is never overwritten"),
        (["a.wav", "--sonify", "link.wav", "--force"], "link.wav: is a recording, which is never overwritten"),
        (["a.wav", "--plot", "link.png", "--force"], "link.png: is a recording, which is never overwritten"),
    ],
)
def test_what_cannot_be_seen_or_heard_is_one_sentence_and_writes_nothing(arguments: list[str], words: str) -> None:
    original = record("a.wav")
    record("b.wav")
    Path("old.png").write_bytes(b"precious")
    Path("link.wav").hardlink_to("a.wav")
    Path("link.png").symlink_to("a.wav")
    before = files()
    check_sentence(call(*arguments, code=1), words)
    assert files() == before
    assert Path("a.wav").read_bytes() == original
    assert Path("old.png").read_bytes() == b"precious"


def test_two_recordings_of_one_name_do_not_share_a_picture() -> None:
    record("x/song.wav")
    record("y/song.wav")
    result = call("x/song.wav", "y/song.wav", "--plot", "pictures", code=3)
    check_sentence(result, "y/song.wav: would be written to pictures/song.png, as x/song.wav is; use another --plot")
    assert {name for name in files() if not name.endswith("wav")} == {"x/song.mid", "pictures/song.png"}


def test_force_replaces_pictures_and_sounds() -> None:
    record("song.wav")
    for name in ("see.png", "hear.wav"):
        Path(name).write_bytes(b"old")
    call("song.wav", "--plot", "see.png", "--sonify", "hear.wav", "--force")
    assert is_plot("see.png")
    assert soundfile.info("hear.wav").channels == 2


@pytest.mark.parametrize(("option", "name"), [("--plot", "file/x.png"), ("--sonify", "file/x.wav")])
def test_a_place_that_cannot_be_written_to_is_a_sentence(option: str, name: str) -> None:
    record("song.wav")
    Path("file").touch()
    check_sentence(call("song.wav", option, name, code=1), f"{name}: cannot be written: ")


@pytest.mark.parametrize(("options", "n_estimates"), [(["--plot", "x.png"], 1), (["--sonify", "x.wav"], 0)])
def test_a_plot_has_bars_and_a_sound_needs_none(
    monkeypatch: pytest.MonkeyPatch, options: list[str], n_estimates: int
) -> None:
    asked: list[Onsets] = []

    def estimate(onsets: Onsets) -> TempoEstimate:
        asked.append(onsets)
        return estimate_tempo_map(onsets)

    monkeypatch.setattr("drum_crnn.tempo.choice.estimate_tempo_map", estimate)
    record("song.wav")
    call("song.wav", "--to", "csv", *options)
    assert len(asked) == n_estimates


# --------------------------------------------------------------------------------------------------------- odd names


@pytest.mark.parametrize("out", [["caf.mid"], []])
def test_a_name_that_is_not_utf8(out: list[str]) -> None:
    name = os.fsdecode(b"caf\xe9.wav")
    record(name)
    result = call(name, *out, "--to", "midi")
    [midi] = [os.fsencode(path.name) for path in Path().iterdir() if path.suffix == ".mid"]
    assert midi == (b"caf.mid" if out else b"caf\xe9.mid")
    assert "onsets written to" in result.stdout
    call(name, "--to", "csv,json,jams,tab,chart", "--plot", "see", "--sonify", "hear")
    assert json.loads(Path(os.fsdecode(b"caf\xe9.json")).read_text(encoding="utf-8"))["recording"] == "caf\\xe9.wav"


def test_an_error_about_a_name_that_is_not_utf8() -> None:
    Path(os.fsdecode(b"caf\xe9.wav")).write_text("no recording", encoding="utf-8")
    check_sentence(call(os.fsdecode(b"caf\xe9.wav"), code=1), "caf\\xe9.wav: not a readable recording")


# ------------------------------------------------------------------------------------------------------ real processes


def start(*arguments: str | bytes, **options: object) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)} | options.pop("env", {})  # type: ignore[arg-type, call-overload]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    command = [sys.executable, "-m", "drum_crnn.cli", *arguments]
    return subprocess.run(command, check=False, env=environment, **pipes)  # type: ignore[call-overload, no-any-return]


def run(*arguments: str | bytes, code: int = 0, **options: object) -> subprocess.CompletedProcess[bytes]:
    done = start(*arguments, **options)
    assert done.returncode == code, done.stderr.decode()
    return done


@pytest.mark.processes
@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_a_console_with_few_characters(tmp_path: Path, encoding: str) -> None:
    model = exported(tmp_path / "model.safetensors")
    for name in ("take.wav", "ドラム 2.wav"):
        record(name)
    env = {"PYTHONIOENCODING": encoding}
    done = run("transcribe", "take.wav", "ドラム.mid", "--model", str(model), env=env)
    assert Path("ドラム.mid").is_file()
    assert b"onsets written to" in done.stdout
    assert b"Traceback" not in done.stderr
    Path("ドラム 3.wav").write_text("no recording", encoding="utf-8")
    done = run("transcribe", "ドラム 2.wav", "ドラム 3.wav", "--model", str(model), code=3, env=env)
    assert done.stderr.startswith(b"error: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.processes
def test_a_name_that_is_not_utf8_with_the_real_model(tmp_path: Path) -> None:
    model = exported(tmp_path / "model.safetensors")
    record(os.fsdecode(b"caf\xe9.wav"))
    done = run("transcribe", b"caf\xe9.wav", "-", "--to", "json", "--model", str(model))
    assert json.loads(done.stdout)["recording"] == "caf\\xe9.wav"
    assert all(0 < onset["confidence"] <= 1 for onset in json.loads(done.stdout)["onsets"])


@pytest.mark.processes
@pytest.mark.parametrize(("options", "loaded"), [([], []), (["--plot", "p", "--sonify", "s"], ["PIL", "studio"])])
def test_what_is_not_asked_for_is_not_loaded(tmp_path: Path, options: list[str], loaded: list[str]) -> None:
    model = exported(tmp_path / "model.safetensors")
    record("take.wav")
    code = (
        "import sys\nfrom drum_crnn.cli import app\n"
        f"try:\n    app(['transcribe', 'take.wav', '--model', {str(model)!r}, *{options!r}])\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "loaded = {name.removeprefix('drum_crnn.') for name in sys.modules}\n"
        "print('loaded:', sorted(loaded & {'PIL', 'studio'}))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines()[-1] == f"loaded: {loaded}"


@pytest.mark.processes
@pytest.mark.skipif(sys.platform == "win32", reason="pipes and devices")
@pytest.mark.parametrize("arguments", [["-", "--to", "csv"], ["--force"]], ids=["output", "summary"])
def test_who_reads_the_output_may_stop_reading(tmp_path: Path, arguments: list[str]) -> None:
    """As `… | head -1` does."""
    model = exported(tmp_path / "model.safetensors")
    record("song.wav")
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = start("transcribe", "song.wav", *arguments, "--model", str(model), stdout=writing)
    finally:
        os.close(writing)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


@pytest.mark.processes
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["-", "--to", "csv"], ["--force"]], ids=["output", "summary"])
def test_a_full_disk_behind_standard_output(tmp_path: Path, arguments: list[str]) -> None:
    model = exported(tmp_path / "model.safetensors")
    record("song.wav")
    with Path("/dev/full").open("wb") as full:
        done = start("transcribe", "song.wav", *arguments, "--model", str(model), stdout=full)
    assert done.returncode == 1
    [line] = [line for line in done.stderr.splitlines() if line.startswith(b"error")]
    assert line == b"error: No space left on device; make room, and run the same command again"
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


@pytest.mark.processes
def test_help_waits_for_nothing_heavy() -> None:
    """Newer versions of typer import pydantic themselves."""
    code = (
        "import sys\nfrom drum_crnn.cli import app\n"
        "try:\n    app(['transcribe', '--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'scipy', 'librosa', 'soundfile', 'mido', 'h5py'}\n"
        "print('loaded:', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "loaded: []"
