"""Stage `evaluate`: the exported model's scores on the test side."""

from pathlib import Path

from drum_crnn.evaluation import EvaluateParams, evaluate
from drum_crnn.params import PARAMS_FILE
from drum_crnn.stage import stage_app


def main(
    model_file: Path,
    features_dir: Path,
    labels_file: Path,
    splits_csv: Path,
    catalog_csv: Path,
    scores_json: Path,
    tables_dir: Path,
    params_file: Path = PARAMS_FILE,
) -> None:
    """Score MODEL_FILE: few numbers into SCORES_JSON, tables into TABLES_DIR."""
    evaluate(
        model_file,
        features_dir,
        labels_file,
        splits_csv,
        catalog_csv,
        scores_json,
        tables_dir,
        EvaluateParams.load(params_file),
    )


app = stage_app(main)

if __name__ == "__main__":
    app()
