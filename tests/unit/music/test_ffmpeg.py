"""What libsndfile cannot open is decoded by ffmpeg, whole or not at all; without ffmpeg, a sentence says what to do."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
from numpy.typing import NDArray

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.audio import load_audio, open_channels, probe, read_blocks

RATE = 44_100

needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None, reason="needs ffmpeg"
)


def material(seconds: float = 3.0) -> NDArray[np.float32]:
    """Two tones that fade in and out, one in each channel."""
    time_s = np.arange(round(seconds * RATE)) / RATE
    fade = 0.4 * np.sin(np.pi * time_s / seconds) ** 2
    return np.stack([fade * np.sin(2 * np.pi * f * time_s) for f in (441, 882)], axis=1).astype(np.float32)


def encoded(path: Path, *options: str, seconds: float = 3.0) -> Path:
    """The material in the format of the path's suffix; `options` are of ffmpeg."""
    soundfile.write(path.with_name("source.wav"), material(seconds), RATE)
    command = ["ffmpeg", "-v", "error", "-y", "-i", str(path.with_name("source.wav")), *options]
    subprocess.run([*command, os.fsencode(f"file:{path}")], check=True, stdin=subprocess.DEVNULL)
    return path


def video(path: Path, *, sound: bool) -> Path:
    soundfile.write(path.with_name("source.wav"), material(), RATE)
    inputs = ["-f", "lavfi", "-i", "color=size=64x64:duration=3", *(["-i", "source.wav"] if sound else [])]
    subprocess.run(["ffmpeg", "-v", "error", "-y", *inputs, str(path)], check=True, cwd=path.parent)
    return path


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "ffmpeg" in child.name()]


def fake_program(folder: Path, name: str, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `name` be a Python script, before all others on PATH."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!{sys.executable}\n{script}", encoding="utf-8")
    (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@needs_ffmpeg
@pytest.mark.parametrize("name", ["a.m4a", "a.aac", "a.wma", "a.mka", "a.webm", "a.mp4", "a.ac3"])
def test_the_sound_comes_back(tmp_path: Path, name: str) -> None:
    path = encoded(tmp_path / name)
    info = probe(path)
    assert (info.n_channels, info.is_pcm) == (2, False)
    assert info.duration_s == pytest.approx(3.0, abs=0.2)
    decoded = load_audio(path, sample_rate=RATE)
    assert decoded.dtype == np.float32
    assert abs(len(decoded) / RATE - 3.0) < 0.1
    mono = material().mean(axis=1)
    # Codecs and their containers add some samples at the beginning, or lose some.
    middle = decoded[RATE : 2 * RATE]
    errors = [np.abs(middle - mono[RATE + lag : 2 * RATE + lag]).mean() for lag in range(-2500, 2500)]
    assert min(errors) < 0.02 * np.abs(mono).max()


@needs_ffmpeg
def test_the_sound_of_a_video(tmp_path: Path) -> None:
    assert len(load_audio(video(tmp_path / "v.mp4", sound=True), sample_rate=RATE)) / RATE == pytest.approx(3, abs=0.1)


@needs_ffmpeg
def test_a_video_without_sound_has_its_own_sentence(tmp_path: Path) -> None:
    path = video(tmp_path / "v.mp4", sound=False)
    for read in (probe, lambda path: load_audio(path, sample_rate=RATE)):
        with pytest.raises(DrumCrnnError, match=r"v\.mp4: holds no sound, only pictures or text; name a file with an"):
            read(path)


@needs_ffmpeg
@pytest.mark.parametrize("name", [b"-i.m4a", b"100% %d %03d.m4a", b"take: 1.m4a", b"caf\xe9.m4a", b'a\'b "c".m4a'])
def test_names_that_ffmpeg_could_take_for_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: bytes
) -> None:
    shutil.copy(encoded(tmp_path / "a.m4a"), os.path.join(os.fsencode(tmp_path), name))  # noqa: PTH118  # bytes
    monkeypatch.chdir(tmp_path)
    path = Path(os.fsdecode(name))
    assert probe(path).sample_rate == RATE
    assert len(load_audio(path, sample_rate=RATE)) > 2 * RATE


@needs_ffmpeg
def test_blocks_are_short_and_hold_all_channels(tmp_path: Path) -> None:
    path = encoded(tmp_path / "a.m4a", "-ar", "48000", seconds=25.0)
    with open_channels(path) as (rate, blocks):
        shapes = [block.shape for block in blocks]
    assert rate == 48_000
    assert shapes[:2] == [(480_000, 2), (480_000, 2)]
    assert 230_000 < shapes[2][0] < 250_000
    assert len(shapes) == 3


@needs_ffmpeg
@pytest.mark.parametrize("how", ["closed", "failed"])
def test_ffmpeg_ends_with_its_reader(tmp_path: Path, how: str) -> None:
    path = encoded(tmp_path / "a.m4a", seconds=90.0)
    blocks = read_blocks(path, sample_rate=RATE)
    assert len(next(blocks)) == 10 * RATE
    assert len(children()) == 1
    if how == "closed":
        blocks.close()
    else:
        with pytest.raises(RuntimeError):
            blocks.throw(RuntimeError("the reader fails"))
    assert children() == []


@needs_ffmpeg
def test_mpeg_inside_a_wav_counts_samples_that_a_decoder_leaves_out(tmp_path: Path) -> None:
    path = encoded(tmp_path / "a.wav", "-c:a", "libmp3lame")
    assert 3 * RATE <= len(load_audio(path, sample_rate=RATE)) < probe(path).n_samples
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DrumCrnnError, match="is cut short"):
        load_audio(path, sample_rate=RATE)


@needs_ffmpeg
def test_a_flac_that_came_out_of_a_pipe_does_not_know_its_length(tmp_path: Path) -> None:
    """libsndfile opens it, and fails at its end."""
    source = encoded(tmp_path / "a.flac")
    command = ["ffmpeg", "-v", "error", "-i", str(source), "-f", "flac", "-"]
    (tmp_path / "b.flac").write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
    expected = load_audio(source, sample_rate=RATE)
    np.testing.assert_array_equal(load_audio(tmp_path / "b.flac", sample_rate=RATE), expected)


@needs_ffmpeg
def test_if_ffmpeg_is_killed_in_the_middle_it_is_an_error(tmp_path: Path) -> None:
    path = encoded(tmp_path / "a.m4a", seconds=90.0)
    blocks = read_blocks(path, sample_rate=RATE)
    next(blocks)
    [process] = children()
    process.kill()
    with pytest.raises(DrumCrnnError, match=r"a\.m4a: cannot be decoded to its end \(ffmpeg was ended by signal 9\)"):
        list(blocks)


@needs_ffmpeg
@pytest.mark.parametrize("name", ["a.m4a", "a.mka", "a.webm", "a.wma", "a.ac3"])
def test_a_file_whose_end_is_missing_is_no_short_file(tmp_path: Path, name: str) -> None:
    path = encoded(tmp_path / name, *(["-movflags", "+faststart"] if name == "a.m4a" else []), seconds=20.0)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DrumCrnnError, match=r"cannot be decoded to its end \(ffmpeg: .*\); copy or export it again"):
        load_audio(path, sample_rate=RATE)


@needs_ffmpeg
def test_a_damaged_file_is_no_recording_with_holes(tmp_path: Path) -> None:
    path = encoded(tmp_path / "a.m4a", "-movflags", "+faststart", seconds=20.0)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = bytes(byte ^ 0x5A for byte in content[middle : middle + 400])
    path.write_bytes(content)
    with pytest.raises(DrumCrnnError, match="cannot be decoded to its end"):
        load_audio(path, sample_rate=RATE)


def test_without_ffmpeg_a_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(1000))
    monkeypatch.setenv("PATH", str(tmp_path))
    for read in (probe, lambda path: load_audio(path, sample_rate=RATE)):
        with pytest.raises(DrumCrnnError, match=r"a\.m4a: not a readable recording .*, or install ffmpeg \(apt, brew"):
            read(tmp_path / "a.m4a")


# ------------------------------------------------------------------------------------------------------ a fake ffmpeg

AU = (
    "import sys, struct\nout = sys.stdout.buffer\nout.write(struct.pack('>4s5I', b'.snd', 32, 2**32 - 1, 6, 8000, 1))\n"
)
needs_scripts = pytest.mark.skipif(sys.platform == "win32", reason="scripts are no programs there")


@needs_scripts
@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("import sys\nsys.exit('a.xyz: [x @ 0x1] what is this')", r"not a readable recording \(.*; ffmpeg: .*what is"),
        ("raise SystemExit(3)", "ffmpeg ends with code 3"),
        (AU + "sys.exit('[aac @ 0xab] no bits left')", r"to its end \(ffmpeg: no bits left\)"),
        (AU + "sys.exit(9)", r"to its end \(ffmpeg: exit code 9\)"),
        (AU + "out.write(bytes(8 + 4 * 100))\nsys.stderr.write('x: partial file')", "ffmpeg: x: partial file"),
        (AU + "out.write(bytes(8))", "holds no audio that can be decoded"),
        (AU + "out.write(bytes(8) + struct.pack('>f', float('nan')))", "not finite"),
    ],
)
def test_what_goes_wrong_with_ffmpeg_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    (tmp_path / "a.xyz").write_bytes(b"something" * 100)
    fake_program(tmp_path / "bin", "ffmpeg", script, monkeypatch)
    with pytest.raises(DrumCrnnError, match=message) as caught:
        load_audio(tmp_path / "a.xyz", sample_rate=8000)
    assert "\n" not in str(caught.value)


@needs_scripts
def test_a_comment_in_the_header_is_no_sound_and_many_messages_block_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = AU + "sys.stderr.write('a complaint\\n' * 100_000)\nout.write(b'comment.' + struct.pack('>3f', .5, 1, -1))"
    (tmp_path / "a.xyz").write_bytes(b"something" * 100)
    fake_program(tmp_path / "bin", "ffmpeg", script, monkeypatch)
    assert load_audio(tmp_path / "a.xyz", sample_rate=8000).tolist() == [0.5, 1.0, -1.0]


def running_ffmpegs(folder: Path) -> list[psutil.Process]:
    """Children that run a program in `folder`; a worker of pytest has children of other tests, too."""
    return [
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE and any(str(folder) in word for word in child.cmdline())
    ]


@needs_scripts
def test_an_ffmpeg_that_writes_for_ever_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.xyz").write_bytes(b"something" * 100)
    fake_program(
        tmp_path / "bin", "ffmpeg", AU + "out.write(bytes(8))\nwhile True: out.write(bytes(4096))", monkeypatch
    )
    started = time.monotonic()
    blocks = read_blocks(tmp_path / "a.xyz", sample_rate=8000)
    assert [len(next(blocks)) for _ in range(3)] == [80_000] * 3
    assert len(running_ffmpegs(tmp_path)) == 1
    blocks.close()
    assert time.monotonic() - started < 30
    assert not running_ffmpegs(tmp_path)


@needs_scripts
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("print('no JSON')", "ffprobe fails"),
        ("print('{\"streams\": [{}]}')", "rate or the number of channels is unknown"),
        ("print('{}')", "holds no sound"),
        ("raise SystemExit('file:a: bad')", "ffmpeg: file:a: bad"),
    ],
)
def test_what_goes_wrong_with_ffprobe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, message: str
) -> None:
    (tmp_path / "a.xyz").write_bytes(b"something" * 100)
    fake_program(tmp_path / "bin", "ffprobe", answer, monkeypatch)
    with pytest.raises(DrumCrnnError, match=message):
        probe(tmp_path / "a.xyz")
