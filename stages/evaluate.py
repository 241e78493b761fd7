"""Stage `evaluate`: the exported model's scores in the test split."""

from pathlib import Path
from typing import Annotated

import typer

from drum_crnn.foundation.params import PARAMS_FILE
from drum_crnn.foundation.stage import stage_app
from drum_crnn.scoring.evaluation import EvaluateParams, EvaluationInputs, EvaluationOutputs, evaluate


def main(
    *,
    model: Annotated[Path, typer.Option(help="The exported model: weights and thresholds.")],
    features: Annotated[Path, typer.Option(help="Folder of feature shards.")],
    labels: Annotated[Path, typer.Option(help="Labels of the recordings (HDF5).")],
    splits: Annotated[Path, typer.Option(help="Split of each recording (CSV).")],
    catalog: Annotated[Path, typer.Option(help="Kit, style and condition of each recording (CSV).")],
    scores: Annotated[Path, typer.Option(help="File to write: a few scores (JSON).")],
    tables: Annotated[Path, typer.Option(help="Folder to write: tables (CSV) and a picture.")],
    params_file: Path = PARAMS_FILE,
) -> None:
    """Score a model in the test split."""
    evaluate(
        EvaluationInputs(model=model, features=features, labels=labels, splits=splits, catalog=catalog),
        EvaluationOutputs(scores=scores, tables=tables),
        EvaluateParams.load(params_file),
    )


app = stage_app(main)

if __name__ == "__main__":
    app()
