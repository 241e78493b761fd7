"""Stage `models`: weights and thresholds → one self-contained model file."""

from pathlib import Path
from typing import Annotated

import typer

from drum_crnn.engine.exporting import export_model
from drum_crnn.foundation.stage import stage_app


def main(
    weights_file: Annotated[Path, typer.Argument(help="The weights of the trained model.")],
    thresholds_json: Annotated[Path, typer.Argument(help="The thresholds of the lanes.")],
    model_file: Annotated[Path, typer.Argument(help="The model file to write.")],
) -> None:
    """Merge weights and thresholds into one self-contained model file."""
    export_model(weights_file, thresholds_json, model_file)


app = stage_app(main)

if __name__ == "__main__":
    app()
