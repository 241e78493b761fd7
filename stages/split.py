"""Stage `split`: which recordings train, validate and test."""

from collections import Counter
from pathlib import Path

from drum_crnn.data.catalog import Catalog
from drum_crnn.data.splits import SPLITS
from drum_crnn.foundation.console import say
from drum_crnn.foundation.params import PARAMS_FILE
from drum_crnn.foundation.stage import stage_app
from drum_crnn.preparation.splitting import SplitParams, make_splits


def main(catalog_csv: Path, splits_csv: Path, params_file: Path = PARAMS_FILE) -> None:
    """Put every recording in CATALOG_CSV in a split."""
    splits = make_splits(Catalog.read(catalog_csv), SplitParams.load(params_file))
    splits.write(splits_csv)
    counts = Counter(row.split for row in splits.rows)
    say(", ".join(f"{split} {counts[split]}" for split in SPLITS))


app = stage_app(main)

if __name__ == "__main__":
    app()
