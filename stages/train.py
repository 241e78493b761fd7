"""Stage `train`: features, labels, splits → the weights that are best in the validation split."""

from pathlib import Path

from drum_crnn.foundation.params import PARAMS_FILE
from drum_crnn.foundation.stage import stage_app
from drum_crnn.training.loop import train
from drum_crnn.training.run import TrainingInputs, TrainingOutputs, TrainingParams


def main(
    features_dir: Path,
    labels_file: Path,
    splits_csv: Path,
    model_file: Path,
    metrics_dir: Path,
    params_file: Path = PARAMS_FILE,
    logs_dir: Path = Path("logs"),
    resume_dir: Path = Path(".resume"),
) -> None:
    """Train MODEL_FILE; METRICS_DIR gets dvclive's curves. Interrupted and started again, it goes on."""
    train(
        TrainingInputs(features_dir, labels_file, splits_csv),
        TrainingOutputs(model_file, metrics_dir, logs_dir, resume_dir),
        TrainingParams.load(params_file),
    )


app = stage_app(main)

if __name__ == "__main__":
    app()
