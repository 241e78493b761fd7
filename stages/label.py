"""Stage `label`: MIDI → onsets per lane, and what to ignore."""

from pathlib import Path

from drum_crnn.data.catalog import Catalog
from drum_crnn.foundation.console import default_workers, say
from drum_crnn.foundation.params import PARAMS_FILE
from drum_crnn.foundation.stage import stage_app
from drum_crnn.preparation.labelling import LabelParams, make_labels


def main(
    corpus_dir: Path,
    catalog_csv: Path,
    labels_file: Path,
    accounting_csv: Path,
    params_file: Path = PARAMS_FILE,
    workers: int = default_workers(),
) -> None:
    """Label the recordings in CATALOG_CSV, and account for every note in ACCOUNTING_CSV."""
    labels = make_labels(corpus_dir, Catalog.read(catalog_csv), LabelParams.load(params_file), workers=workers)
    labels.write(labels_file)
    labels.write_accounting(accounting_csv)
    shares = ", ".join(f"{lane} {share:.1%}" for lane, share in labels.ignored_shares().items())
    say(f"too soft or hidden, and so ignored, of each lane's notes: {shares}")


app = stage_app(main)

if __name__ == "__main__":
    app()
