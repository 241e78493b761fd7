"""Model files: safetensors with the weights, and a JSON text with everything needed to use them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from drum_crnn.foundation.atomic import replace_file
from drum_crnn.foundation.errors import DrumCrnnError, damaged_error
from drum_crnn.model.crnn import DrumCrnn, ModelParams
from drum_crnn.model.peak_picking import PeakPickingParams
from drum_crnn.music.lanes import LANES
from drum_crnn.music.log_mel import FeatureParams

__all__ = ["ModelFile", "average_models", "export_model"]

_METADATA_KEY = "drum_crnn"  # a single key: safetensors writes several keys in an order that changes between runs
_CHECKSUM_KEY = "sha256"  # of everything else; files of the first releases have none
_FORMAT = 1


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
        about[_CHECKSUM_KEY] = _checksum(about, weights)
        content = save(weights, {_METADATA_KEY: json.dumps(about, sort_keys=True)})
        with replace_file(path) as temporary:
            # safetensors' own writer does not report a full disk as an OSError.
            temporary.write_bytes(content)

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
            raise _unreadable_error(path, error) from None
        checksum = about.pop(_CHECKSUM_KEY, None) if isinstance(about, dict) else None
        if checksum is not None and checksum != _checksum(about, weights):
            raise _unreadable_error(path, "it does not match its checksum")
        if not isinstance(about, dict) or about.get("format") != _FORMAT or about.get("lanes") != list(LANES):
            raise DrumCrnnError(f"{path}: was written by another version of drum_crnn; export it again with this one")
        features = FeatureParams.check(about.get("features"), source=str(path))
        model = DrumCrnn(ModelParams.check(about.get("model"), source=str(path)), n_mels=features.n_mels)
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise DrumCrnnError(f"{path}: its weights do not fit its description ({error})") from None
        model.eval()
        peaks = about.get("peak_picking")
        try:
            thresholds = None if about.get("thresholds") is None else _thresholds(about["thresholds"])
        except ValueError as error:
            raise _unreadable_error(path, error) from None
        return cls(
            model if device is None else model.to(device),
            features,
            None if peaks is None else PeakPickingParams.check(peaks, source=str(path)),
            thresholds,
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
        values = _thresholds(document.get("thresholds"))
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


def _checksum(about: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _unreadable_error(path: Path, why: object) -> DrumCrnnError:
    return DrumCrnnError(
        f"{path}: is not a readable model file ({why}); download it again, or delete it and run `dvc repro`. If it is "
        "still damaged then, run `drum-crnn verify --remove` first"
    )


def _thresholds(of_lane: Any) -> tuple[float, ...]:
    """The thresholds in the order of the lanes, from JSON by lane; ValueError if one is missing or out of range."""
    try:
        values = tuple(float(of_lane[lane]) for lane in LANES)
    except KeyError as error:
        raise ValueError(f"it holds no threshold of lane {error}") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"it holds no threshold for each lane: {error}") from None
    if not all(0 < value <= 1 for value in values):
        raise ValueError("a threshold should be above 0 and at most 1")
    return values
