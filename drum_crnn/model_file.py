"""Model files: safetensors with the weights, and one JSON text with all that is needed to use them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from drum_crnn.atomic import replace_file
from drum_crnn.errors import DrumCrnnError
from drum_crnn.features import FeatureParams
from drum_crnn.lanes import LANES
from drum_crnn.model import DrumCrnn, ModelParams
from drum_crnn.peak_picking import PeakPickingParams

__all__ = ["ModelFile", "export_model"]

_METADATA_KEY = "drum_crnn"  # one key alone: safetensors writes several in an order that differs from run to run
_FORMAT = 1


@dataclass(frozen=True)
class ModelFile:
    """A model with what belongs to it; `thresholds` and `peak_picking` are there in an exported model alone.

    Attributes
    ----------
    thresholds : tuple of float or None
        One a lane, in the order of `lanes.LANES`.
    """

    model: DrumCrnn
    features: FeatureParams
    peak_picking: PeakPickingParams | None = None
    thresholds: tuple[float, ...] | None = None

    def save(self, path: Path) -> None:
        """Write a safetensors file; the same content gives the same bytes."""
        about: dict[str, Any] = {
            "format": _FORMAT,
            "lanes": LANES,
            "features": self.features.model_dump(),
            "model": self.model.params.model_dump(),
        }
        if self.peak_picking is not None:
            about["peak_picking"] = self.peak_picking.model_dump()
        if self.thresholds is not None:
            about["thresholds"] = dict(zip(LANES, self.thresholds, strict=True))
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.model.state_dict().items()}
        with replace_file(path) as temporary:
            save_file(weights, temporary, metadata={_METADATA_KEY: json.dumps(about, sort_keys=True)})

    @classmethod
    def load(cls, path: Path, *, device: torch.device | None = None) -> Self:
        """Read a model file, ready for inference.

        Raises
        ------
        DrumCrnnError
            If the file is missing, damaged, or not a model of this project.
        """
        if not path.is_file():
            raise DrumCrnnError(f"{path}: there is no such model; `make repro` trains one")
        try:
            with safe_open(path, framework="pt") as file:
                about = json.loads((file.metadata() or {})[_METADATA_KEY])
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
        except KeyError:
            raise DrumCrnnError(f"{path}: is a safetensors file, but not a model of drum_crnn") from None
        except (SafetensorError, OSError, ValueError) as error:
            raise DrumCrnnError(f"{path}: is not a readable model file ({error}); fetch or export it again") from None
        if not isinstance(about, dict) or about.get("format") != _FORMAT or about.get("lanes") != list(LANES):
            raise DrumCrnnError(f"{path}: was written by another version of drum_crnn; export it again with this one")
        features = FeatureParams.check(about.get("features"), source=str(path))
        model = DrumCrnn(ModelParams.check(about.get("model"), source=str(path)), n_mels=features.n_mels)
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise DrumCrnnError(f"{path}: its weights do not fit its description ({error})") from None
        model.eval()
        peaks, thresholds = about.get("peak_picking"), about.get("thresholds")
        return cls(
            model if device is None else model.to(device),
            features,
            None if peaks is None else PeakPickingParams.check(peaks, source=str(path)),
            None if thresholds is None else _thresholds(thresholds, path),
        )


def export_model(weights: Path, thresholds: Path, target: Path) -> None:
    """Merge the weights and the thresholds into one self-contained model file.

    Raises
    ------
    DrumCrnnError
        If one of the two cannot be read, or does not belong here.
    """
    model = ModelFile.load(weights)
    try:
        document = json.loads(thresholds.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DrumCrnnError(f"{thresholds}: there is no such file; `dvc repro tune-thresholds` makes it") from None
    except (OSError, ValueError) as error:
        raise DrumCrnnError(f"{thresholds}: is not readable JSON ({error}); tune the thresholds again") from None
    if not isinstance(document, dict):
        raise DrumCrnnError(f"{thresholds}: holds no thresholds; tune them again")
    values = _thresholds(document.get("thresholds"), thresholds)
    peak_picking = PeakPickingParams.check(document.get("peak_picking"), source=str(thresholds))
    ModelFile(model.model, model.features, peak_picking, values).save(target)


def _thresholds(of_lane: Any, path: Path) -> tuple[float, ...]:
    """The threshold of each lane, as JSON has them by name."""
    try:
        values = tuple(float(of_lane[lane]) for lane in LANES)
    except KeyError as error:
        raise DrumCrnnError(f"{path}: holds no threshold of lane {error}; tune them again") from None
    except (TypeError, ValueError) as error:
        raise DrumCrnnError(f"{path}: holds no threshold for each lane ({error}); tune them again") from None
    if not all(0 < value <= 1 for value in values):
        raise DrumCrnnError(f"{path}: a threshold should be above 0 and at most 1; tune them again")
    return values
