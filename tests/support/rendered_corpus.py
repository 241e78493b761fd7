"""A corpus that the studio renders, long enough to hear whether notes and audio belong together."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from first_party import ROOT
from miniature import miniature_params
from numpy.typing import NDArray
from yaml_files import write_yaml

from drum_crnn.data.corpus import Corpus, Recording
from drum_crnn.studio.rendering import VARIATIONS_FILE, RenderParams, load_variations, render_corpus

KITS = ("Standard", "Power", "Jazz", "Brush")
RATE = 44_100


def render(root: Path, *, variation: str | None = None, performances: int = 7, takes: int = 2) -> Corpus:
    """Render performances of ten seconds on four kits; `variation` is one of variations.yaml, such as songs."""
    params = miniature_params()
    session = {"name": "main", "splits": "all", "kits": "heard", "takes": takes, "segment_s": None}
    params["render"] |= {"kits": [f"pretty_midi:TimGM6mb#{kit}" for kit in KITS], "sessions": [session]}
    session["variation"] = variation
    params["render"]["grooves"] |= {"performances": performances, "seconds": [9.0, 12.0], "fill_performances": 0.0}
    file = root.with_name(f"{root.name}.yaml")
    write_yaml(file, params)
    render_corpus(
        root, root.with_name(f"{root.name}_kits.csv"), RenderParams.load(file),
        load_variations(ROOT / VARIATIONS_FILE), n_workers=1,
    )  # fmt: skip
    return Corpus.open(root)


def copy_of(corpus: Corpus, root: Path) -> Corpus:
    """A copy of a corpus, to damage."""
    shutil.copytree(corpus.root, root)
    return Corpus.open(root)


def read(corpus: Corpus, recording: Recording) -> NDArray[np.float64]:
    """The samples of a recording."""
    return soundfile.read(corpus.root / recording.audio_path)[0]


def write(corpus: Corpus, recording: Recording, audio: NDArray[Any], *, subtype: str = "PCM_16") -> None:
    """Replace the samples of a recording."""
    soundfile.write(corpus.root / recording.audio_path, audio, RATE, subtype)


def later(audio: NDArray[np.float64], by_s: float) -> NDArray[np.float64]:
    """The same sound later, or earlier without its beginning."""
    n = round(by_s * RATE)
    return np.concatenate([np.zeros(n), audio]) if n >= 0 else audio[-n:]
