"""Whether damaged files end in a result or a sentence: `python -m benchmarks.fuzz [INPUTS]`, by default 12,000.

Random bytes, and good files that are cut off or in which bytes are changed, go to the readers of audio, MIDI and
models. Any exception but DrumCrnnError is printed with the seed of its input. ffmpeg is left out: it would be started
thousands of times.

Figures
-------
inputs, results, sentences, failures
    Numbers of inputs, and of what became of them. There should be no failures.
"""

import os
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import mido
import numpy as np
import soundfile

from benchmarks.report import print_figures, print_machine, print_rows
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.model.stored_model import StoredModel
from drum_crnn.music.audio import read_blocks
from drum_crnn.music.midi import read_midi
from drum_crnn.music.midi_tempo import read_tempo_map
from drum_crnn.transcribe import released_model

INPUTS = 12_000
RATE = 44_100
HEADER = 200  # bytes, in which most changes are made

Reader = Callable[[Path], object]


def main() -> None:
    """Read damaged files, and count what becomes of them."""
    n_inputs = int(sys.argv[1]) if len(sys.argv) > 1 else INPUTS
    os.environ["PATH"] = ""
    counts: Counter[str] = Counter()
    rows: list[tuple[str, str]] = []
    print_machine()
    with tempfile.TemporaryDirectory() as name:
        kinds = seeds(Path(name))
        for kind, (content, readers) in kinds.items():
            of_kind: Counter[str] = Counter()
            for seed in range(n_inputs // len(kinds)):
                of_kind[outcome(Path(name) / f"x.{kind}", damaged(content, seed), readers, seed)] += 1
            counts += of_kind
            rows.append((kind, ", ".join(f"{count} {what}" for what, count in sorted(of_kind.items()))))
    print_rows(rows)
    print_figures({"inputs": counts.total(), **{what: counts[what] for what in ("results", "sentences", "failures")}})


def seeds(folder: Path) -> dict[str, tuple[bytes, Sequence[Reader]]]:
    """For each format, a small good file, and what reads it."""

    def decode(path: Path) -> int:
        return sum(map(len, read_blocks(path, sample_rate=RATE)))

    found: dict[str, tuple[bytes, Sequence[Reader]]] = {}
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (2000, 2))
    for kind in ("wav", "w64", "flac", "ogg", "mp3", "aiff", "caf", "au"):
        soundfile.write(folder / f"good.{kind}", noise, RATE)
        found[kind] = (folder / f"good.{kind}").read_bytes(), [decode]
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=400_000), mido.MetaMessage("time_signature")])
    track += [mido.Message("note_on", channel=9, note=36 + n, time=100) for n in range(20)]
    mido.MidiFile(tracks=[track]).save(folder / "good.mid")
    found["mid"] = (folder / "good.mid").read_bytes(), [read_midi, read_tempo_map]
    found["safetensors"] = released_model().read_bytes(), [StoredModel.load]
    return found


def damaged(content: bytes, seed: int) -> bytes:
    """Random bytes, or a good file that was cut off, or in which bits or bytes were changed."""
    rng = np.random.default_rng(seed)
    if seed % 10 == 0:
        return rng.bytes(int(rng.integers(1, 500)))
    if seed % 10 == 1:
        return content[: int(rng.integers(1, len(content)))]
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 6))):
        end = len(content) if rng.random() < 0.3 else min(len(content), HEADER)
        place = int(rng.integers(end))
        changed[place] = int(rng.integers(256)) if seed % 2 else changed[place] ^ (1 << int(rng.integers(8)))
    return bytes(changed)


def outcome(path: Path, content: bytes, readers: Sequence[Reader], seed: int) -> str:
    """What became of an input: "results", "sentences" or "failures"."""
    path.write_bytes(content)
    became = "results"
    for read in readers:
        try:
            read(path)
        except DrumCrnnError:
            became = "sentences"
        except Exception:  # noqa: BLE001  # all are failures
            print(f"{path.suffix}, seed {seed}: {traceback.format_exc(limit=-2)}")
            return "failures"
    return became


if __name__ == "__main__":
    main()
