"""Stage `evaluate`: the exported model's scores in the test split."""

from pathlib import Path

from drum_crnn.foundation.params import PARAMS_FILE
from drum_crnn.foundation.stage import stage_app
from drum_crnn.scoring.evaluation import EvaluateParams, evaluate


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
