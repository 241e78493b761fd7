"""The mean of models: between one that was trained on, and one that came of it."""

from pathlib import Path

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.model.model_file import ModelFile

__all__ = ["average_models"]


def average_models(one: Path, other: Path, target: Path, *, share: float) -> None:
    """Write the weighted mean of two models' weights, without thresholds.

    A model that goes on learning on other material forgets some of what it knew. The mean of both keeps most of the
    old and of the new, if one began as the other (Wortsman et al., "Robust fine-tuning of zero-shot models", 2022).

    Parameters
    ----------
    share : float
        Of `other`, in [0, 1].

    Raises
    ------
    DrumCrnnError
        If a model cannot be read, or the two differ in their size or their features.
    """
    first, second = ModelFile.load(one), ModelFile.load(other)
    if first.features != second.features or first.model.params != second.model.params:
        raise DrumCrnnError(f"{one} and {other} differ in size or features; only models of one kind have a mean")
    weights, others = first.model.state_dict(), second.model.state_dict()
    first.model.load_state_dict({name: (1.0 - share) * weights[name] + share * others[name] for name in weights})
    ModelFile(first.model, first.features).save(target)
