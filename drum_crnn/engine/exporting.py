"""Making model files out of others, without PyTorch: weights with their thresholds, and the mean of two models."""

import json
from dataclasses import replace
from pathlib import Path

from drum_crnn.foundation.errors import DrumCrnnError, damaged_error
from drum_crnn.model.peak_picking import PeakPickingParams
from drum_crnn.model.stored_model import StoredModel, thresholds_of

__all__ = ["average_models", "export_model"]


def export_model(weights: Path, thresholds: Path, target: Path) -> None:
    """Merge the weights and the thresholds into one self-contained model file.

    Raises
    ------
    DrumCrnnError
        If one of the two cannot be read, or its content is not valid.
    """
    model = StoredModel.load(weights)
    try:
        document = json.loads(thresholds.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DrumCrnnError(f"{thresholds}: there is no such file; `dvc repro tune-thresholds` makes it") from None
    except OSError as error:
        raise damaged_error(thresholds, error, "tune-thresholds") from None
    except ValueError as error:
        raise damaged_error(thresholds, f"it is not readable JSON: {error}", "tune-thresholds") from None
    if not isinstance(document, dict):
        raise damaged_error(thresholds, "it holds no thresholds", "tune-thresholds")
    try:
        values = thresholds_of(document.get("thresholds"))
        peak_picking = PeakPickingParams.check(document.get("peak_picking"), source=thresholds.name)
    except (ValueError, DrumCrnnError) as error:
        raise damaged_error(thresholds, error, "tune-thresholds") from None
    replace(model, peak_picking=peak_picking, thresholds=values).save(target)


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
    first, second = StoredModel.load(one), StoredModel.load(other)
    shapes, others = ({name: weight.shape for name, weight in of.weights.items()} for of in (first, second))
    if (first.features, first.params, shapes) != (second.features, second.params, others):
        raise DrumCrnnError(f"{one} and {other} differ in size or features; only models of one kind have a mean")
    mean = {name: (1.0 - share) * weight + share * second.weights[name] for name, weight in first.weights.items()}
    replace(first, weights=mean, peak_picking=None, thresholds=None).save(target)
