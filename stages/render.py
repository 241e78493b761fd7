"""Stage `render`: performances × kits → a corpus."""

from pathlib import Path
from typing import Annotated

import typer

from drum_crnn.foundation.console import default_workers, say
from drum_crnn.foundation.params import PARAMS_FILE
from drum_crnn.foundation.stage import stage_app
from drum_crnn.studio.rendering import VARIATIONS_FILE, RenderParams, load_variations, render_corpus


def main(
    corpus_dir: Annotated[Path, typer.Argument(help="The folder to write the corpus to; it is replaced.")],
    kits_csv: Annotated[Path, typer.Argument(help="The table of kits and samples to write.")],
    params_file: Annotated[Path, typer.Option(help="The file with the section `render`.")] = PARAMS_FILE,
    variations_file: Annotated[Path, typer.Option(help="The file with the variations.")] = VARIATIONS_FILE,
    workers: Annotated[int, typer.Option(help="The number of processes; it does not change the result.")] = (
        default_workers()
    ),
) -> None:
    """Render a corpus of performances on kits, and list every sample of the kits."""
    params, variations = RenderParams.load(params_file), load_variations(variations_file)
    summary = render_corpus(corpus_dir, kits_csv, params, variations, n_workers=workers)
    hours = ", ".join(f"{condition} {audio_s / 3600:.2f} h" for condition, audio_s in summary.audio_s_of.items())
    say(
        f"rendered {summary.n_recordings} recordings of {summary.n_performances} performances on "
        f"{summary.n_kits} kits; {hours}"
    )


app = stage_app(main)

if __name__ == "__main__":
    app()
