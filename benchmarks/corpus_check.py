"""How fast a corpus is checked, and what the check finds: `python -m benchmarks.corpus_check`.

Renders plain drums, varied drums and drums with bands, which need FluidSynth. Each recording is judged as it is, with
its audio later, and with the notes of another performance.

Figures
-------
check_realtime_per_core
    Seconds of plain audio that one process checks per second of a core.
check_false_alarms_percent
    Healthy recordings, of all conditions, that are called misaligned or another performance's.
check_late_found_percent, check_other_found_percent
    Plain recordings that are late by 25 ms, or have the notes of another performance, and are told.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.material import render_params
from benchmarks.report import print_figures, print_machine, print_rows
from drum_crnn.band.synthesizer import has_fluidsynth
from drum_crnn.data.corpus import Corpus
from drum_crnn.foundation.console import default_workers
from drum_crnn.music.audio import load_audio
from drum_crnn.music.midi import Note, read_midi
from drum_crnn.preparation.hearing import FEATURES, Ear, Match, match_notes
from drum_crnn.preparation.inspection import inspect_corpus, judge_match, least_agreement
from drum_crnn.studio.rendering import load_variations, render_corpus

CONDITIONS = (None, "studio", "stress", "songs_loud", "songs_even", "songs_low")
NEEDS_BAND = ("stress", "songs_loud", "songs_even", "songs_low")
LATE_S = (0.025, 0.2, 3.0)
SEED = 77  # not that of the corpora on which the lines were chosen
N_PERFORMANCES = 70

FloatArray = NDArray[np.float64]


def main() -> None:
    """Render a corpus of each condition, and judge its recordings as they are, late, and exchanged."""
    print_machine()
    rows: list[tuple[str, str]] = []
    figures: dict[str, float] = {}
    n_alarms = n_healthy = 0
    with tempfile.TemporaryDirectory() as folder:
        for condition in CONDITIONS:
            if condition in NEEDS_BAND and not has_fluidsynth():
                rows.append((str(condition), "FluidSynth is not installed"))
                continue
            corpus = _render(Path(folder) / (condition or "plain"), condition)
            if condition is None:
                figures["check_realtime_per_core"] = _speed(corpus)
            told = _judge_all(corpus)
            healthy = told.pop("as it is")
            n_alarms += healthy["misaligned"] + healthy["other performance"]
            n_healthy += healthy.total()
            if condition is None:
                late, other = told[f"late by {LATE_S[0]:g} s"], told["another performance"]
                figures["check_late_found_percent"] = 100 * late["misaligned"] / late.total()
                figures["check_other_found_percent"] = 100 * other["other performance"] / other.total()
            rows.append((condition or "plain", f"as it is: {_shares(healthy)}"))
            rows += [("", f"{name}: {_shares(counts)}") for name, counts in told.items()]
    print_rows(rows)
    print_figures(figures | {"check_false_alarms_percent": 100 * n_alarms / n_healthy})


def _render(root: Path, condition: str | None) -> Corpus:
    params = render_params(n_performances=N_PERFORMANCES, seconds=(10.0, 20.0))
    session = params.sessions[0].model_copy(update={"variation": condition, "takes": 1})
    params = params.model_copy(update={"sessions": (session,), "seed": SEED})
    render_corpus(root, root.with_suffix(".kits.csv"), params, load_variations(), n_workers=default_workers())
    return Corpus.open(root)


def _speed(corpus: Corpus) -> float:
    inspect_corpus(corpus)  # not counted: reads the files into memory
    started = time.process_time()
    inspections = inspect_corpus(corpus)
    return sum(one.duration_s for one in inspections) / (time.process_time() - started)


def _judge_all(corpus: Corpus) -> dict[str, Counter[str]]:
    """How often each verdict is given to recordings as they are, late, and with notes of the next performance."""
    notes = [read_midi(corpus.root / one.midi_path) for one in corpus.recordings]
    pairs: dict[str, list[tuple[Match | None, int]]] = {}  # matches, and numbers of notes

    def add(name: str, strength: FloatArray, of: Sequence[Note]) -> None:
        pairs.setdefault(name, []).append((match_notes(strength, of), len(of)))

    for recording, own, other in zip(corpus.recordings, notes, [*notes[1:], notes[0]], strict=True):
        audio = load_audio(corpus.root / recording.audio_path, sample_rate=FEATURES.sample_rate)
        strength = Ear.hear([audio]).strength()
        add("as it is", strength, own)
        for late_s in LATE_S:
            silence = np.zeros(round(late_s * FEATURES.sample_rate), np.float32)
            add(f"late by {late_s:g} s", Ear.hear([silence, audio]).strength(), own)
        add("another performance", strength, other)
    least = least_agreement([match.agreement for match, _ in pairs["as it is"] if match is not None])
    return {
        name: Counter(judge_match(match, n_notes=n_notes, least=least) for match, n_notes in found)
        for name, found in pairs.items()
    }


def _shares(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {100 * count / counts.total():.0f} %" for name, count in counts.most_common())


if __name__ == "__main__":
    main()
