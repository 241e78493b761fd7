"""Stage `models`: weights and thresholds in one self-contained model file."""

from pathlib import Path

from drum_crnn.foundation.stage import stage_app
from drum_crnn.model.model_file import export_model


def main(weights_file: Path, thresholds_json: Path, model_file: Path) -> None:
    """Merge WEIGHTS_FILE and THRESHOLDS_JSON into MODEL_FILE."""
    export_model(weights_file, thresholds_json, model_file)


app = stage_app(main)

if __name__ == "__main__":
    app()
