"""Stage `split`: the catalog → the split of each recording."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from drum_crnn.data.catalog import Catalog
from drum_crnn.data.label_problems import read_label_problems
from drum_crnn.data.splits import SPLITS
from drum_crnn.foundation.console import say
from drum_crnn.foundation.params import PARAMS_FILE
from drum_crnn.foundation.stage import stage_app
from drum_crnn.preparation.splitting import SplitParams, make_splits


def main(
    catalog_csv: Annotated[Path, typer.Argument(help="The catalog of the corpus.")],
    splits_csv: Annotated[Path, typer.Argument(help="The table of splits to write.")],
    label_problems: Annotated[
        Path | None, typer.Option(help="The table of recordings that `label` left out, which are unused.")
    ] = None,
    params_file: Annotated[Path, typer.Option(help="The file with the section `split`.")] = PARAMS_FILE,
) -> None:
    """Assign every recording in the catalog to a split: train, validation, test or unused."""
    problems = [] if label_problems is None else read_label_problems(label_problems)
    left_out = {problem.recording for problem in problems if problem.outcome == "left_out"}
    splits = make_splits(Catalog.read(catalog_csv), SplitParams.load(params_file), left_out=left_out)
    splits.write(splits_csv)
    counts = Counter(row.split for row in splits.rows)
    say(", ".join(f"{split} {counts[split]}" for split in SPLITS))


app = stage_app(main)

if __name__ == "__main__":
    app()
