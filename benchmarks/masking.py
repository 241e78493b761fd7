"""How audible a note must be for the model to find it: `python -m benchmarks.masking`, after `dvc repro`.

Prints the recall of the current model in the validation split, by audibility. It includes the notes that the labels
ignore. `labels.min_audibility_db` belongs where recall falls off: notes that no model finds teach nothing, and tuning
on them lowers the thresholds. The test split is not used.
"""

from pathlib import Path

import numpy as np

from benchmarks.report import print_machine
from drum_crnn.data.audibility import read_audibility
from drum_crnn.data.catalog import Catalog
from drum_crnn.data.corpus import CorpusParams
from drum_crnn.data.feature_store import FeatureStore
from drum_crnn.data.splits import Splits
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.model.activations import onsets_of
from drum_crnn.model.inference import activations_of
from drum_crnn.model.model_file import ModelFile
from drum_crnn.music.lanes import LANE_OF_NOTE, LANES, N_LANES
from drum_crnn.music.midi import read_midi
from drum_crnn.music.onsets import IgnoreWindows
from drum_crnn.preparation.labelling import LabelParams, make_labels
from drum_crnn.scoring.counting import TOLERANCE_S
from drum_crnn.scoring.metrics import match_onsets

EDGES_DB = (-np.inf, -25.0, -20.0, -15.0, -10.0, -5.0, 0.0, 5.0, 10.0, 20.0, np.inf)


def main() -> None:
    """Print the recall of each lane in each range of audibility, and the number of notes."""
    root, model = CorpusParams.load().root, ModelFile.load(Path("models/drum_crnn.safetensors"))
    if model.thresholds is None or model.peak_picking is None:
        raise DrumCrnnError("models/drum_crnn.safetensors holds no thresholds; run `dvc repro models`")
    store = FeatureStore.open(Path("data/features"))
    wanted = set(Splits.read(Path("data/splits.csv")).recordings("validation"))
    catalog = Catalog(tuple(entry for entry in Catalog.read(Path("data/catalog.csv")) if entry.recording in wanted))
    params = LabelParams.load().model_copy(update={"min_audibility_db": None, "min_velocity": 1})
    labels = make_labels(root, catalog, params)
    found = np.zeros((len(EDGES_DB) - 1, N_LANES + 1), np.int64)
    total = np.zeros_like(found)
    for entry in catalog:
        notes = read_midi(root / entry.midi_path)
        audibility_db = read_audibility(root / entry.midi_path, notes)
        if audibility_db is None:
            continue
        estimate = onsets_of(
            activations_of(model.model, store.read(entry.recording), floor_db=store.params.floor_db),
            thresholds=model.thresholds,
            peak_picking=model.peak_picking,
            frame_rate=store.params.frame_rate,
        )
        matches = match_onsets(labels.onsets(entry.recording), estimate, IgnoreWindows.empty(), tolerance_s=TOLERANCE_S)
        of_note = {(note.time_s, LANE_OF_NOTE[note.note]): db for note, db in zip(notes, audibility_db, strict=True)}
        db_of = [of_note[key] for key in zip(matches.reference.time_s, matches.reference.lane, strict=True)]
        bins = np.digitize(db_of, EDGES_DB[1:-1])
        is_found = np.zeros(len(bins), np.int64)
        is_found[matches.pairs[:, 0]] = 1
        for column in (matches.reference.lane, np.full(len(bins), N_LANES)):
            np.add.at(total, (bins, column), 1)
            np.add.at(found, (bins, column), is_found)
    print_machine()
    names = (*LANES, "all")
    print("| audibility (dB) | " + " | ".join(names) + " |")
    print("| --- |" + " ---: |" * len(names))
    for low, high, hits, notes_of in zip(EDGES_DB[:-1], EDGES_DB[1:], found, total, strict=True):
        cells = [f"{hit / n:.2f} ({n:,})" if n else "" for hit, n in zip(hits, notes_of, strict=True)]
        print(f"| {low:g} to {high:g} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
