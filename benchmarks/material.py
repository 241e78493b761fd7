"""The data of the benchmarks: generated grooves, rendered on the kits of `params.yaml`."""

from pathlib import Path

from drum_crnn.foundation.console import default_workers
from drum_crnn.studio.rendering import RenderParams, RenderSummary, load_variations, render_corpus

__all__ = ["render_material", "render_params"]


def render_params(*, n_performances: int, seconds: tuple[float, float]) -> RenderParams:
    """Section `render` with performances of this number and length: no single fills, and no unheard kits."""
    params = RenderParams.load()
    update = {"performances": n_performances, "seconds": seconds, "fill_performances": 0.0}
    sessions = tuple(session for session in params.sessions if session.kits == "heard")
    changes = {"grooves": params.grooves.model_copy(update=update), "unheard_kits": (), "sessions": sessions}
    return params.model_copy(update=changes)


def render_material(target: Path, *, n_performances: int, seconds: tuple[float, float]) -> RenderSummary:
    """Render a corpus into `target`, on all cores."""
    params = render_params(n_performances=n_performances, seconds=seconds)
    kits_csv = target.with_suffix(".kits.csv")
    return render_corpus(target, kits_csv, params, load_variations(), n_workers=default_workers())
