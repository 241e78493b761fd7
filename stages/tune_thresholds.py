"""Stage `tune-thresholds`: each lane's threshold, from the validation split alone."""

from pathlib import Path

from drum_crnn.foundation.params import PARAMS_FILE
from drum_crnn.foundation.stage import stage_app
from drum_crnn.model.peak_picking import PeakPickingParams
from drum_crnn.scoring.thresholds import ThresholdParams
from drum_crnn.scoring.tuning import tune_thresholds


def main(
    model_file: Path,
    features_dir: Path,
    labels_file: Path,
    splits_csv: Path,
    thresholds_json: Path,
    curves_csv: Path,
    transfer_csv: Path,
    params_file: Path = PARAMS_FILE,
) -> None:
    """Choose the thresholds of MODEL_FILE, from CURVES_CSV; TRANSFER_CSV says how they would travel."""
    tune_thresholds(
        model_file,
        features_dir,
        labels_file,
        splits_csv,
        thresholds_json,
        curves_csv,
        transfer_csv,
        thresholds=ThresholdParams.load(params_file),
        peak_picking=PeakPickingParams.load(params_file),
    )


app = stage_app(main)

if __name__ == "__main__":
    app()
