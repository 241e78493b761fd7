"""Stage `label`: MIDI → onsets and ignore windows of each lane."""

from pathlib import Path
from typing import Annotated

import typer

from drum_crnn.data.catalog import Catalog
from drum_crnn.foundation.console import default_workers, say
from drum_crnn.foundation.params import PARAMS_FILE
from drum_crnn.foundation.stage import stage_app
from drum_crnn.preparation.labelling import LabelParams, make_labels


def main(
    corpus_dir: Annotated[Path, typer.Argument(help="The folder of the corpus.")],
    catalog_csv: Annotated[Path, typer.Argument(help="The catalog of the corpus.")],
    labels_file: Annotated[Path, typer.Argument(help="The file of labels to write.")],
    accounting_csv: Annotated[Path, typer.Argument(help="The table to write: what became of the notes.")],
    problems: Annotated[
        Path | None,
        typer.Option(help="The table to write: recordings whose own MIDI is early, late or another."),
    ] = None,
    params_file: Annotated[Path, typer.Option(help="The file with the section `labels`.")] = PARAMS_FILE,
    workers: Annotated[int, typer.Option(help="The number of processes; it does not change the result.")] = (
        default_workers()
    ),
    memory: Annotated[
        Path, typer.Option(help="The file that remembers the labels of performances, by what they depend on.")
    ] = Path(".cache/label_memory.npz"),
) -> None:
    """Label all recordings in the catalog, and account for every note."""
    catalog, params = Catalog.read(catalog_csv), LabelParams.load(params_file)
    labels = make_labels(corpus_dir, catalog, params, workers=workers, memory=memory)
    labels.write(labels_file)
    labels.write_accounting(accounting_csv)
    if problems is not None:
        labels.write_problems(problems)
    shares = ", ".join(f"{lane} {share:.1%}" for lane, share in labels.ignored_shares().items())
    say(f"share of each lane's notes that is ignored as inaudible: {shares}")


app = stage_app(main)

if __name__ == "__main__":
    app()
