"""How fast recordings are transcribed: `python -m benchmarks.transcription [MODEL]`.

Uses MODEL if it is given, otherwise `models/drum_crnn.safetensors` if there is one, otherwise the released model.

Figures
-------
transcribe_realtime
    Seconds of audio that are transcribed per second, from the WAV file to the onsets, on all cores and no GPU. The
    median of the rounds.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.material import render_material
from benchmarks.report import print_figures, print_machine, print_rows
from drum_crnn.model.model_file import ModelFile
from drum_crnn.music.audio import read_blocks
from drum_crnn.music.log_mel import FeatureParams, LogMel
from drum_crnn.transcribe import Transcriber, released_model

ROUNDS = 3
MODEL = Path("models/drum_crnn.safetensors")


def main() -> None:
    """Transcribe recordings of the length of songs several times."""
    own = MODEL if MODEL.is_file() else released_model()
    model_file = Path(sys.argv[1]) if len(sys.argv) > 1 else own
    rows: list[tuple[str, str]] = []
    speeds: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        print_machine()
        audio_s = render_material(Path(folder) / "corpus", n_performances=1, seconds=(180.0, 180.0)).audio_s
        recordings = sorted((Path(folder) / "corpus").rglob("*.wav"))
        file = ModelFile.load(model_file)
        rows.append(("model", f"{model_file}, {file.model.n_parameters():,} parameters"))
        rows.append(("corpus", f"{len(recordings)} recordings, {audio_s:.0f} s"))
        transcriber = Transcriber(model_file, device="cpu")
        transcriber(recordings[0])  # not counted: starts threads and imports modules
        for number in range(1, ROUNDS + 1):
            started = time.perf_counter()
            for recording in recordings:
                _features_alone(recording, file.features)
            features_s = time.perf_counter() - started
            started = time.perf_counter()
            n_onsets = sum(len(transcriber(recording)) for recording in recordings)
            wall_s = time.perf_counter() - started
            speeds.append(audio_s / wall_s)
            text = f"{wall_s:.2f} s, of which features {features_s:.2f} s: {speeds[-1]:.0f}× real time"
            rows.append((f"round {number}", f"{text}, {n_onsets} onsets"))
    print_rows(rows)
    print_figures({"transcribe_realtime": statistics.median(speeds)})


def _features_alone(recording: Path, params: FeatureParams) -> None:
    for _ in LogMel(params).stream(read_blocks(recording, sample_rate=params.sample_rate)):
        pass


if __name__ == "__main__":
    main()
