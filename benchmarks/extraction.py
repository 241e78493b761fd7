"""How fast features are extracted: `python -m benchmarks.extraction`.

Figures
-------
extract_realtime_per_core
    Seconds of audio that one worker extracts per second, from the WAV files to the shards on disk. The median of the
    rounds.
extract_of_limit
    That speed over the speed of the unavoidable work: decoding, and the same FFTs. The two alternate in one process, so
    that other load slows both. The median of the rounds' ratios.
"""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import scipy.fft
import soundfile
from numpy.lib.stride_tricks import sliding_window_view
from threadpoolctl import threadpool_limits

from benchmarks.material import render_material
from benchmarks.report import print_figures, print_machine, print_rows
from drum_crnn.data.catalog import Catalog
from drum_crnn.data.corpus import Corpus, CorpusParams
from drum_crnn.music.log_mel import FeatureParams
from drum_crnn.music.timing import n_frames_of
from drum_crnn.preparation.cataloguing import build_catalog
from drum_crnn.preparation.extraction import extract_corpus

ROUNDS = 7
_GROUP = 64  # frames in an FFT call: the fastest of 1, 8, 32, 64, 128 and all


def main() -> None:
    """Extract the same corpus several times, and do the unavoidable work as often."""
    print_machine()
    with tempfile.TemporaryDirectory() as folder:
        rows, figures = extraction_speed(Path(folder), rounds=ROUNDS)
    print_rows(rows)
    print_figures(figures)


def extraction_speed(folder: Path, *, rounds: int) -> tuple[list[tuple[str, str]], dict[str, float]]:
    """Rows for the table, and the figures; the corpus is made in `folder`."""
    params = FeatureParams.load()
    rows: list[tuple[str, str]] = []
    speeds: list[float] = []
    limits: list[float] = []
    with threadpool_limits(limits=1):
        root, target = folder / "corpus", folder / "features"
        audio_s = render_material(root, n_performances=170, seconds=(14.0, 26.0)).audio_s
        catalog = build_catalog(Corpus.open(root), root, CorpusParams.load())
        # Not counted: reads the files into memory, and imports modules.
        extract_corpus(root, catalog, target / "round-0", params, n_workers=1)
        for number in range(1, rounds + 1):
            started = time.perf_counter()
            _decode_and_transform(root, catalog, params)
            limits.append(audio_s / (time.perf_counter() - started))
            started = time.perf_counter()
            extract_corpus(root, catalog, target / f"round-{number}", params, n_workers=1)
            speeds.append(audio_s / (time.perf_counter() - started))
            ratio = speeds[-1] / limits[-1]
            rows.append((f"round {number}", f"{speeds[-1]:.0f}× real time, limit {limits[-1]:.0f}×: {ratio:.2f} of it"))
    ratios = [speed / limit for speed, limit in zip(speeds, limits, strict=True)]
    figures = {"extract_realtime_per_core": statistics.median(speeds), "extract_of_limit": statistics.median(ratios)}
    return [("corpus", f"{len(catalog)} recordings, {audio_s:.0f} s"), *rows], figures


def _decode_and_transform(root: Path, catalog: Catalog, params: FeatureParams) -> None:
    """The unavoidable work: decode each recording, and compute the spectra of its frames in float32."""
    edge = np.zeros(params.n_fft // 2, np.float32)
    for entry in catalog:
        audio = soundfile.read(root / entry.audio_path, dtype="int16")[0].astype(np.float32)
        frames = sliding_window_view(np.concatenate([edge, audio, edge]), params.n_fft)[:: params.hop_length]
        n_frames = n_frames_of(entry.n_samples, params.hop_length)
        for first in range(0, n_frames, _GROUP):
            scipy.fft.rfft(frames[first : min(first + _GROUP, n_frames)])


if __name__ == "__main__":
    main()
