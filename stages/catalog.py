"""Stage `catalog`: what is in the corpus, and what of it is broken."""

from pathlib import Path

from drum_crnn.data.corpus import Corpus, CorpusParams
from drum_crnn.foundation.console import default_workers, say
from drum_crnn.foundation.params import PARAMS_FILE
from drum_crnn.foundation.stage import stage_app
from drum_crnn.preparation.cataloguing import build_catalog


def main(
    corpus_dir: Path,
    watch: Path,
    catalog_csv: Path,
    problems_csv: Path,
    params_file: Path = PARAMS_FILE,
    workers: int = default_workers(),
) -> None:
    """List the sound recordings of CORPUS_DIR in CATALOG_CSV, and the broken ones in PROBLEMS_CSV."""
    catalog = build_catalog(Corpus.open(corpus_dir), watch, CorpusParams.load(params_file), workers=workers)
    catalog.write(catalog_csv)
    catalog.write_problems(problems_csv)
    hours = sum(entry.duration_s for entry in catalog) / 3600
    say(f"{len(catalog)} recordings, {hours:.2f} h; {len(catalog.problems)} problems, listed in {problems_csv}")


app = stage_app(main)

if __name__ == "__main__":
    app()
