"""How fast recordings are transcribed: `python -m benchmarks.transcription [MODEL] [--against PEER]`.

Uses MODEL if it is given, otherwise the released model. PEER is another transcriber, which runs in turns with ours:
`adtof`, if that is installed, or a command line such as `'peer {audio} --midi {out}'`. No GPU is used. Times are of
whole processes: starting, reading the model, decoding, computing, writing MIDI. Files are in the page cache.

Figures
-------
help_s
    Seconds of `drum-crnn --help`. The median of the rounds, as in the others.
four_minutes_s
    Seconds of `drum-crnn transcribe` for a stereo WAV of four minutes.
batch_realtime
    Seconds of audio a second, for ten such files in one call.
peak_memory_mb
    Largest resident memory of the process that transcribes four minutes.
three_hours_peak_mb
    The same for three hours, mono.
transcribe_realtime
    Seconds of audio a second in a process that has already started, from the WAV file to the onsets.
against_PEER
    With --against: the time of PEER's whole process for the four minutes over that of ours, both with as many threads.
torch_over_onnx
    The time that PyTorch takes for the same in the same process, on one thread, over that of ONNX Runtime on all cores.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from threadpoolctl import threadpool_limits

from benchmarks.against import compare, figure_name
from benchmarks.material import render_material
from benchmarks.measuring import cost_of
from benchmarks.report import print_figures, print_machine, print_rows
from drum_crnn.engine.graph import INPUT, recurrent_graph
from drum_crnn.engine.session import CpuEngine, open_session
from drum_crnn.foundation.console import default_workers
from drum_crnn.model.activations import Activations
from drum_crnn.model.inference import TorchEngine
from drum_crnn.model.model_file import ModelFile
from drum_crnn.model.stored_model import StoredModel
from drum_crnn.music.audio import read_blocks
from drum_crnn.music.log_mel import LogMel
from drum_crnn.tempo.choice import read_choice
from drum_crnn.transcribe import Transcriber, released_model

ROUNDS = 3
SONG_S, LONG_S = 240, 3 * 3600
RATE = 44_100
CLI = (sys.executable, "-m", "drum_crnn.cli")


def main() -> None:
    """Transcribe recordings of the length of songs, alone, in a batch, and one of three hours."""
    parser = argparse.ArgumentParser(description="Measure how fast recordings are transcribed.")
    parser.add_argument("model", nargs="?", type=Path, help="an exported model; default: the released one")
    parser.add_argument("--against", metavar="PEER", help="adtof, or a command line with {audio} and {out}")
    arguments = parser.parse_args()
    model = released_model() if arguments.model is None else arguments.model.resolve()
    figures: dict[str, float] = {}
    rows: list[tuple[str, str]] = [("model", str(model))]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print_machine()
        song = _song(folder)

        def command(*recordings: Path) -> list[str]:
            options = ["--out", str(folder / "out"), "--force", "--model", str(model)]
            return ["transcribe", *map(str, recordings), *options]

        figures["help_s"], _ = _measured(rows, "help", ["--help"])
        figures["four_minutes_s"], figures["peak_memory_mb"] = _measured(rows, "four minutes", command(song))
        if arguments.against is not None:
            figures[figure_name(arguments.against)], turns = compare(
                arguments.against,
                [*CLI, *command(song)],
                audio=song,
                out=folder / "peer.mid",
                n_threads=default_workers(),
                rounds=ROUNDS,
            )
            rows += turns
        _measured(rows, "one second", command(_cut(folder, song)))
        batch = [song.with_name(f"song {number}.wav") for number in range(10)]
        for copy in batch:
            copy.hardlink_to(song)
        wall_s, _ = _measured(rows, "ten times four minutes", command(*batch))
        figures["batch_realtime"] = len(batch) * SONG_S / wall_s
        _, figures["three_hours_peak_mb"] = _measured(rows, "three hours", command(_long(folder, song)), rounds=1)
        figures |= _inside(rows, model, song)
        rows += _parts(model, song)
    print_rows(rows)
    print_figures(figures)


def _song(folder: Path) -> Path:
    """Rendered drums, stereo, 16 bits: four minutes."""
    render_material(folder / "corpus", n_performances=1, seconds=(SONG_S, SONG_S))
    audio, rate = soundfile.read(min((folder / "corpus").rglob("*.wav")), dtype="float32")
    mono = np.resize(audio, SONG_S * rate)
    soundfile.write(folder / "song.wav", np.stack([mono, mono], axis=1), rate, subtype="PCM_16")
    return folder / "song.wav"


def _cut(folder: Path, song: Path) -> Path:
    audio, rate = soundfile.read(song, stop=RATE, dtype="int16")
    soundfile.write(folder / "second.wav", audio, rate)
    return folder / "second.wav"


def _long(folder: Path, song: Path) -> Path:
    audio, rate = soundfile.read(song, dtype="int16", always_2d=True)
    with soundfile.SoundFile(folder / "long.wav", "w", rate, 1, subtype="PCM_16") as file:  # a gigabyte
        for _ in range(LONG_S // SONG_S):
            file.write(audio[:, 0])
    return folder / "long.wav"


def _measured(
    rows: list[tuple[str, str]], what: str, arguments: list[str], *, rounds: int = ROUNDS
) -> tuple[float, float]:
    """Median seconds, and the largest resident memory in MB, of `drum-crnn` with these arguments."""
    command = [*CLI, *arguments]
    walls, peaks = [], []
    for number in range(1, rounds + 1):
        cost = cost_of(*command)
        walls.append(cost.wall_s)
        peaks.append(cost.peak_mb)
        rows.append((f"{what}, round {number}", str(cost)))
    return statistics.median(walls), max(peaks)


def _inside(rows: list[tuple[str, str]], model: Path, song: Path) -> dict[str, float]:
    """The same in a process that has started, by ONNX Runtime and by PyTorch in turns."""
    ours = Transcriber.load(model)
    engine = TorchEngine(ModelFile.load(model))
    theirs = Transcriber.load(model, engine=engine)
    times: dict[str, list[float]] = {"ONNX Runtime": [], "PyTorch": []}
    for number in range(ROUNDS + 1):
        for name, transcriber in zip(times, (ours, theirs), strict=True):
            seconds = _seconds(lambda transcriber=transcriber: transcriber.transcribe_file(song))  # type: ignore[misc]  # mypy cannot infer it
            if number:  # the first starts threads and imports modules
                times[name].append(seconds)
    rows += [(name, ", ".join(f"{seconds:.2f}" for seconds in found) + " s") for name, found in times.items()]
    medians = [statistics.median(found) for found in times.values()]
    return {"transcribe_realtime": SONG_S / medians[0], "torch_over_onnx": medians[1] / medians[0]}


def _parts(model: Path, song: Path) -> list[tuple[str, str]]:
    """Where the time of four minutes goes, on one thread, in a process that has started."""
    stored = StoredModel.load(model)
    log_mel, engine = LogMel(stored.features), CpuEngine(stored, n_threads=1)
    exact = CpuEngine(stored, n_threads=1, precision="float32")
    transcriber = Transcriber.load(model, engine=engine)
    blocks = list(read_blocks(song, sample_rate=stored.features.sample_rate))
    onsets = transcriber.transcribe_file(song).onsets
    with threadpool_limits(1, user_api="blas"):
        activations = Activations.concatenate(engine.activations(blocks))
        recurrence = open_session(recurrent_graph(stored))
        windows = np.zeros((4, stored.params.window_frames, stored.params.projection), np.float32)
        kept_frames = len(windows) * (stored.params.window_frames - 2 * stored.params.margin_frames)
        seconds = {
            "decoding": _cpu_seconds(lambda: list(read_blocks(song, sample_rate=stored.features.sample_rate))),
            "log-mel": _cpu_seconds(lambda: list(log_mel.stream(blocks))),
            "log-mel and network": _cpu_seconds(lambda: list(engine.activations(blocks))),
            "GRU": _cpu_seconds(
                lambda: [recurrence.run(None, {INPUT: windows}) for _ in range(0, len(activations.onset), kept_frames)]
            ),
            "log-mel and network in float32": _cpu_seconds(lambda: list(exact.activations(blocks))),
            "peaks": _cpu_seconds(lambda: transcriber.onsets(activations, SONG_S)),
            "tempo and bars": _cpu_seconds(lambda: read_choice("auto")(onsets)),
        }
    return [(f"one thread: {name}", f"{value:.2f} s of CPU") for name, value in seconds.items()]


def _cpu_seconds(call: Callable[[], object]) -> float:
    """The least of a few runs: other work on the machine only adds."""
    found = []
    for _ in range(ROUNDS):
        started = time.process_time()
        call()
        found.append(time.process_time() - started)
    return min(found)


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
