"""Stage `train`: features, labels, splits, catalog → the weights that are best in the validation split."""

from pathlib import Path
from typing import Annotated

import typer

from drum_crnn.foundation.params import PARAMS_FILE
from drum_crnn.foundation.stage import stage_app
from drum_crnn.training.loop import train
from drum_crnn.training.run import TrainingInputs, TrainingOutputs, TrainingParams


def main(
    *,
    features: Annotated[Path, typer.Option(help="Folder of feature shards.")],
    labels: Annotated[Path, typer.Option(help="Labels of the recordings (HDF5).")],
    splits: Annotated[Path, typer.Option(help="Split of each recording (CSV).")],
    catalog: Annotated[Path, typer.Option(help="Performance, kit and style of each recording (CSV).")],
    model: Annotated[Path, typer.Option(help="File to write: the best weights of all epochs.")],
    metrics: Annotated[Path, typer.Option(help="Folder to write: dvclive's metrics by epoch.")],
    params_file: Path = PARAMS_FILE,
    logs_dir: Annotated[Path, typer.Option(help="Folder to write: speeds, TensorBoard's logs.")] = Path("logs"),
    resume_dir: Annotated[Path, typer.Option(help="Folder of checkpoints, to resume from.")] = Path(".resume"),
) -> None:
    """Train a model. After an interruption, the same command resumes."""
    train(
        TrainingInputs(features=features, labels=labels, splits=splits, catalog=catalog),
        TrainingOutputs(model=model, metrics=metrics, logs=logs_dir, resume=resume_dir),
        TrainingParams.load(params_file),
    )


app = stage_app(main)

if __name__ == "__main__":
    app()
