"""Stage `render`: performances × kits → a corpus."""

from pathlib import Path

from drum_crnn.foundation.console import default_workers, say
from drum_crnn.foundation.params import PARAMS_FILE
from drum_crnn.foundation.stage import stage_app
from drum_crnn.studio.rendering import RenderParams, render_corpus


def main(corpus_dir: Path, kits_csv: Path, params_file: Path = PARAMS_FILE, workers: int = default_workers()) -> None:
    """Render a corpus into CORPUS_DIR, and list every sample used in KITS_CSV."""
    summary = render_corpus(corpus_dir, kits_csv, RenderParams.load(params_file), n_workers=workers)
    hours = ", ".join(f"{condition} {audio_s / 3600:.2f} h" for condition, audio_s in summary.audio_s_of.items())
    say(
        f"rendered {summary.n_recordings} recordings of {summary.n_performances} performances on "
        f"{summary.n_kits} kits; {hours}"
    )


app = stage_app(main)

if __name__ == "__main__":
    app()
