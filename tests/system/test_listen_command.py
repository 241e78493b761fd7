"""`drum-crnn listen` as a process at the end of a pipe that goes on."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from builders import RATE, exported, noise
from first_party import ROOT

from drum_crnn.music.lanes import LANES
from drum_crnn.transcribe import Transcriber

COMMAND = [sys.executable, "-m", "drum_crnn.cli", "listen"]
pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("model") / "model.safetensors")


def start(*options: str) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen([*COMMAND, *options], cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe)


@pytest.mark.parametrize(("name", "dtype"), [("s16le", "<i2"), ("f32le", "<f4")])
def test_lines_are_the_onsets_of_the_stream(model: Path, name: str, dtype: str) -> None:
    audio = np.round(noise(3 * RATE) * 32767) / 32768
    samples = (audio * 32768).astype(dtype) if name == "s16le" else audio.astype(dtype)
    stereo = np.stack([samples, samples], axis=1)
    process = start("--model", str(model), "--format", name, "--channels", "2")
    out, err = process.communicate(stereo.tobytes() + b"\1")  # a byte that is no sample
    assert process.returncode == 0, err
    lines = [line.split("\t") for line in out.decode().splitlines()]
    found = Transcriber.load(model).listen([audio.astype(np.float32)], RATE)
    expected = [[f"{time_s:.3f}", lane, str(velocity)] for part in found for time_s, lane, velocity, _ in part.rows()]
    assert len(expected) > 10
    assert lines == expected


def test_onsets_come_while_the_stream_goes_on(model: Path) -> None:
    """Lines are there although standard input has not ended."""
    process = start("--model", str(model))
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write((noise(4 * RATE) * 32767).astype("<i2").tobytes())
    process.stdin.flush()
    first = process.stdout.readline().decode().split("\t")  # waits for it; a command that only ends would hang here
    assert float(first[0]) < 4
    assert first[1] in LANES
    assert process.poll() is None
    process.communicate()
    assert process.returncode == 0


def test_bytes_of_another_format_are_told(model: Path) -> None:
    process = start("--model", str(model), "--format", "f32le")
    _, err = process.communicate(np.full(RATE, np.nan, "<f4").tobytes())
    assert process.returncode == 1
    assert err.decode().startswith("error: standard input: audio has samples that are not finite")
    assert "--format" in err.decode()
    assert "Traceback" not in err.decode()


def test_a_reader_that_leaves_ends_it_quietly(model: Path) -> None:
    process = start("--model", str(model))
    assert process.stdin is not None
    assert process.stdout is not None
    block = (noise(RATE) * 32767).astype("<i2").tobytes()
    process.stdin.write(4 * block)
    process.stdin.flush()
    process.stdout.readline()
    process.stdout.close()
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        try:
            process.stdin.write(block)
            process.stdin.flush()
        except BrokenPipeError:
            break
    err = process.stderr.read() if process.stderr else b""
    assert process.wait(60) != 0
    assert b"Traceback" not in err
