"""Model files as PyTorch uses them: a model with its weights, and everything needed to use it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

from drum_crnn.foundation.errors import DrumCrnnError, damaged_error
from drum_crnn.model.crnn import DrumCrnn
from drum_crnn.model.peak_picking import PeakPickingParams
from drum_crnn.model.stored_model import StoredModel, thresholds_of
from drum_crnn.music.log_mel import FeatureParams

__all__ = ["ModelFile", "average_models", "export_model"]


@dataclass(frozen=True)
class ModelFile:
    """A model and its settings. Only an exported model has `thresholds` and `peak_picking`.

    Attributes
    ----------
    thresholds : tuple of float or None
        One per lane, in the order of `lanes.LANES`.
    """

    model: DrumCrnn
    features: FeatureParams
    peak_picking: PeakPickingParams | None = None
    thresholds: tuple[float, ...] | None = None

    def save(self, path: Path) -> None:
        """Write a safetensors file; the same content gives the same bytes."""
        weights = {name: tensor.detach().cpu().numpy() for name, tensor in self.model.state_dict().items()}
        StoredModel(weights, self.model.params, self.features, self.peak_picking, self.thresholds).save(path)

    @classmethod
    def load(cls, path: Path, *, device: torch.device | None = None) -> Self:
        """Read a model file, ready for inference.

        Raises
        ------
        DrumCrnnError
            If the file is missing, damaged, or not a model of this project.
        """
        return cls.of(StoredModel.load(path), source=path, device=device)

    @classmethod
    def of(cls, stored: StoredModel, *, source: Path, device: torch.device | None = None) -> Self:
        """Put what the file `source` holds into a model, ready for inference; errors as in `load`."""
        model = DrumCrnn(stored.params, n_mels=stored.features.n_mels)
        try:
            model.load_state_dict({name: torch.from_numpy(weight) for name, weight in stored.weights.items()})
        except RuntimeError as error:
            raise DrumCrnnError(f"{source}: its weights do not fit its description ({error})") from None
        model.eval()
        return cls(
            model if device is None else model.to(device), stored.features, stored.peak_picking, stored.thresholds
        )


def export_model(weights: Path, thresholds: Path, target: Path) -> None:
    """Merge the weights and the thresholds into one self-contained model file.

    Raises
    ------
    DrumCrnnError
        If one of the two cannot be read, or its content is not valid.
    """
    model = ModelFile.load(weights)
    try:
        document = json.loads(thresholds.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DrumCrnnError(f"{thresholds}: there is no such file; `dvc repro tune-thresholds` makes it") from None
    except (OSError, ValueError) as error:
        raise damaged_error(thresholds, f"it is not readable JSON: {error}", "tune-thresholds") from None
    if not isinstance(document, dict):
        raise damaged_error(thresholds, "it holds no thresholds", "tune-thresholds")
    try:
        values = thresholds_of(document.get("thresholds"))
        peak_picking = PeakPickingParams.check(document.get("peak_picking"), source=thresholds.name)
    except (ValueError, DrumCrnnError) as error:
        raise damaged_error(thresholds, error, "tune-thresholds") from None
    ModelFile(model.model, model.features, peak_picking, values).save(target)


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
