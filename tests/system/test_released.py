"""The released model: it matches its card, comes with every installation, and transcribes kits that are new to it."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import soundfile
from first_party import ROOT
from typer.testing import CliRunner

from drum_crnn import transcribe
from drum_crnn.cli import app
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.model.model_file import ModelFile
from drum_crnn.music.lanes import LANES
from drum_crnn.music.midi import Note, read_midi
from drum_crnn.music.onsets import IgnoreWindows, Onsets
from drum_crnn.scoring.counting import TOLERANCE_S
from drum_crnn.scoring.metrics import count_matches
from drum_crnn.studio.sampler import mix, normalised
from drum_crnn.studio.sources import open_kits
from drum_crnn.transcribe import RELEASED_MODEL as NAME
from drum_crnn.transcribe import Transcriber, released_model

CARD = ROOT / "models" / "released" / "README.md"


def rock_beat(n_bars: int = 4) -> list[Note]:
    """Eighths on a closed hat, kick on one and three, snare on two and four, at 100 beats a minute."""
    notes = []
    for eighth in range(8 * n_bars):
        time_s = 0.5 + 0.3 * eighth
        notes.append(Note(time_s, 42, 85 if eighth % 2 == 0 else 65))
        if eighth % 4 == 0:
            notes.append(Note(time_s, 36, 105))
        if eighth % 4 == 2:
            notes.append(Note(time_s, 38, 110))
    return notes


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The beat on a kit of pretty_midi's SoundFont, which the released model was not trained on."""
    path = tmp_path_factory.mktemp("song") / "song.wav"
    [kit] = open_kits("pretty_midi:TimGM6mb#Standard")
    soundfile.write(path, normalised(mix(rock_beat(), kit).audio, peak_dbfs=-3.0), 44_100)
    return path


def test_it_is_small_and_complete() -> None:
    path = released_model()
    model = ModelFile.load(path)
    assert path.stat().st_size <= 8_000_000
    assert model.model.n_parameters() <= 3_000_000
    assert model.thresholds is not None
    assert len(model.thresholds) == len(LANES)
    assert model.peak_picking is not None


def test_the_card_describes_these_files() -> None:
    files = sorted(CARD.parent.glob("*.safetensors"))
    assert released_model().name in [file.name for file in files]
    for file in files:
        assert hashlib.sha256(file.read_bytes()).hexdigest() in CARD.read_text(encoding="utf-8"), file.name


def test_it_transcribes_a_kit_that_it_was_not_trained_on(song: Path) -> None:
    estimate = Transcriber.load().transcribe_file(song)
    notes = rock_beat()
    lane_of = {36: 0, 38: 1, 42: 2}
    reference = Onsets.in_order(
        [note.time_s for note in notes], [lane_of[note.note] for note in notes], [note.velocity for note in notes]
    )
    counts = count_matches(reference, estimate, IgnoreWindows.empty(), tolerance_s=TOLERANCE_S)
    assert counts.sum_f() > 0.9


def test_transcribe_uses_it_if_there_is_no_other_model(
    song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["transcribe", str(song), "song.mid", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert str(released_model()) in " ".join(done.output.split()) or NAME in done.output
    assert len(read_midi(tmp_path / "song.mid")) > 20


def test_a_trained_model_comes_first(song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "drum_crnn.safetensors").write_bytes(b"no model")
    done = CliRunner().invoke(app, ["transcribe", str(song), "song.mid"])
    assert done.exit_code == 1
    assert "models/drum_crnn.safetensors: is not a readable model file" in " ".join(done.output.split())


def test_a_wheel_holds_it(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    # From a copy: setuptools leaves a folder `build` beside the package.
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False).stdout.split(b"\0")
    names = [name.decode() for name in files if name] or ["pyproject.toml", "README.md", "LICENSE"]
    wanted = [
        name
        for name in names
        if name.split("/")[0] in ("drum_crnn", "models", "pyproject.toml", "README.md", "LICENSE")
    ]
    for name in {*wanted, f"models/released/{NAME}"}:
        target = tmp_path / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    subprocess.run([*build, str(tmp_path / "source")], check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read(f"drum_crnn/released/{NAME}") == released_model().read_bytes()
        assert {"drum_crnn/studio/sampler.py", "drum_crnn/tempo/grooves.npz"} <= set(archive.namelist())


def test_an_installation_without_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcribe, "_PLACES", (tmp_path,))
    with pytest.raises(DrumCrnnError, match="the released model is missing"):
        released_model()
