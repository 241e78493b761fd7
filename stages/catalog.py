"""Stage `catalog`: a corpus → its usable recordings, and its problems."""

from pathlib import Path
from typing import Annotated

import typer

from drum_crnn.data.corpus import Corpus, CorpusParams
from drum_crnn.foundation.console import default_workers, say
from drum_crnn.foundation.params import PARAMS_FILE
from drum_crnn.foundation.stage import stage_app
from drum_crnn.preparation.cataloguing import build_catalog


def main(
    corpus_dir: Annotated[Path, typer.Argument(help="The folder of the corpus.")],
    watch: Annotated[
        Path, typer.Argument(help="What DVC watches: the same folder, or the fingerprint of a corpus elsewhere.")
    ],
    catalog_csv: Annotated[Path, typer.Argument(help="The table of usable recordings to write.")],
    problems_csv: Annotated[Path, typer.Argument(help="The table of problems to write.")],
    params_file: Annotated[Path, typer.Option(help="The file with the section `corpus`.")] = PARAMS_FILE,
    workers: Annotated[int, typer.Option(help="The number of processes; it does not change the result.")] = (
        default_workers()
    ),
    memory: Annotated[
        Path, typer.Option(help="The file that remembers, by their checksums, which files are in order.")
    ] = Path(".cache/catalog_memory.npz"),
) -> None:
    """Check the recordings of a corpus, and list the usable ones and the problems of the others."""
    params = CorpusParams.load(params_file)
    catalog = build_catalog(Corpus.open(corpus_dir), watch, params, workers=workers, memory=memory)
    catalog.write(catalog_csv)
    catalog.write_problems(problems_csv)
    hours = sum(entry.duration_s for entry in catalog) / 3600
    say(f"{len(catalog)} recordings, {hours:.2f} h; {len(catalog.problems)} problems, listed in {problems_csv}")


app = stage_app(main)

if __name__ == "__main__":
    app()
