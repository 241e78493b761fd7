"""Stage `tune-thresholds`: each lane's threshold, from the validation split alone."""

from pathlib import Path
from typing import Annotated

import typer

from drum_crnn.foundation.params import PARAMS_FILE
from drum_crnn.foundation.stage import stage_app
from drum_crnn.model.peak_picking import PeakPickingParams
from drum_crnn.scoring.thresholds import ThresholdParams
from drum_crnn.scoring.tuning import TuningInputs, TuningOutputs, tune_thresholds


def main(
    *,
    model: Annotated[Path, typer.Option(help="The trained model.")],
    features: Annotated[Path, typer.Option(help="Folder of feature shards.")],
    labels: Annotated[Path, typer.Option(help="Labels of the recordings (HDF5).")],
    splits: Annotated[Path, typer.Option(help="Split of each recording (CSV).")],
    thresholds: Annotated[Path, typer.Option(help="File to write: the threshold of each lane (JSON).")],
    curves: Annotated[Path, typer.Option(help="File to write: each lane's scores by threshold (CSV).")],
    transfer: Annotated[Path, typer.Option(help="File to write: scores of one kit's thresholds on another (CSV).")],
    params_file: Path = PARAMS_FILE,
) -> None:
    """Choose the threshold of each lane in the validation split."""
    tune_thresholds(
        TuningInputs(model=model, features=features, labels=labels, splits=splits),
        TuningOutputs(thresholds=thresholds, curves=curves, transfer=transfer),
        thresholds=ThresholdParams.load(params_file),
        peak_picking=PeakPickingParams.load(params_file),
    )


app = stage_app(main)

if __name__ == "__main__":
    app()
