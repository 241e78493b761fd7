"""Stage `extract`: recordings → log-mel frames."""

from pathlib import Path

from drum_crnn.data.catalog import Catalog
from drum_crnn.foundation.console import default_workers, say
from drum_crnn.foundation.params import PARAMS_FILE
from drum_crnn.foundation.stage import stage_app
from drum_crnn.music.log_mel import FeatureParams
from drum_crnn.preparation.extraction import extract_corpus


def main(
    corpus_dir: Path,
    catalog_csv: Path,
    features_dir: Path,
    params_file: Path = PARAMS_FILE,
    workers: int = default_workers(),
) -> None:
    """Extract the features of the recordings in CATALOG_CSV into the shards of FEATURES_DIR."""
    report = extract_corpus(
        corpus_dir, Catalog.read(catalog_csv), features_dir, FeatureParams.load(params_file), n_workers=workers
    )
    speed = report.audio_s / max(report.wall_s, 1e-9)
    say(f"{report.n_computed} recordings computed at {speed:.0f}× real time, {report.n_kept} kept as they were")


app = stage_app(main)

if __name__ == "__main__":
    app()
