"""Stage `extract`: recordings → log-mel frames."""

from pathlib import Path
from typing import Annotated

import typer

from drum_crnn.data.catalog import Catalog
from drum_crnn.foundation.console import default_workers, say
from drum_crnn.foundation.params import PARAMS_FILE
from drum_crnn.foundation.stage import stage_app
from drum_crnn.music.log_mel import FeatureParams
from drum_crnn.preparation.extraction import extract_corpus


def main(
    corpus_dir: Annotated[Path, typer.Argument(help="The folder of the corpus.")],
    catalog_csv: Annotated[Path, typer.Argument(help="The catalog of the corpus.")],
    features_dir: Annotated[Path, typer.Argument(help="The folder of shards to bring up to date.")],
    params_file: Annotated[Path, typer.Option(help="The file with the section `features`.")] = PARAMS_FILE,
    workers: Annotated[int, typer.Option(help="The number of processes; it does not change the result.")] = (
        default_workers()
    ),
    scheduler: Annotated[
        str | None,
        typer.Option(
            envvar="DRUM_CRNN_SCHEDULER",
            help="A Dask scheduler, such as tcp://host:8786, whose workers do the work. It does not change the result.",
        ),
    ] = None,
) -> None:
    """Extract the features of all recordings in the catalog; unchanged recordings are not computed again."""
    report = extract_corpus(
        corpus_dir,
        Catalog.read(catalog_csv),
        features_dir,
        FeatureParams.load(params_file),
        n_workers=workers,
        scheduler=scheduler,
    )
    speed = report.audio_s / max(report.wall_s, 1e-9)
    say(f"{report.n_computed} recordings computed at {speed:.0f}× real time, {report.n_kept} unchanged")


app = stage_app(main)

if __name__ == "__main__":
    app()
