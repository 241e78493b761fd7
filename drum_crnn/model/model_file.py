"""Model files as PyTorch uses them: a model with its weights, and everything needed to use it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.model.crnn import DrumCrnn
from drum_crnn.model.peak_picking import PeakPickingParams
from drum_crnn.model.stored_model import StoredModel
from drum_crnn.music.log_mel import FeatureParams

__all__ = ["ModelFile"]


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
