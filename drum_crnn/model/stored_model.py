"""What a model file holds, read and written without PyTorch: a safetensors file of weights, and a JSON text."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from drum_crnn.foundation.atomic import replace_file
from drum_crnn.foundation.errors import DrumCrnnError, refused_error
from drum_crnn.model.model_params import ModelParams
from drum_crnn.model.peak_picking import PeakPickingParams
from drum_crnn.music.lanes import LANES
from drum_crnn.music.log_mel import FeatureParams

__all__ = ["StoredModel", "thresholds_of", "unreadable_error"]

_METADATA_KEY = "drum_crnn"  # a single key: safetensors writes several keys in an order that changes between runs
_CHECKSUM_KEY = "sha256"  # of everything else; files of the first releases have none
_FORMAT = 1


@dataclass(frozen=True, eq=False)
class StoredModel:
    """Weights and settings of a model. Only an exported model has `thresholds` and `peak_picking`.

    Attributes
    ----------
    weights : mapping of str to array
        By the names of `drum_crnn.model.crnn.DrumCrnn`'s parameters.
    thresholds : tuple of float or None
        One per lane, in the order of `lanes.LANES`.
    """

    weights: Mapping[str, NDArray[Any]]
    params: ModelParams
    features: FeatureParams
    peak_picking: PeakPickingParams | None = None
    thresholds: tuple[float, ...] | None = None

    @property
    def n_parameters(self) -> int:
        """Number of weights."""
        return sum(weight.size for weight in self.weights.values())

    def about(self) -> dict[str, Any]:
        """Everything but the weights, ready for JSON."""
        about: dict[str, Any] = {
            "format": _FORMAT,
            "lanes": LANES,
            "features": self.features.model_dump(),
            "model": self.params.model_dump(),
        }
        if self.peak_picking is not None:
            about["peak_picking"] = self.peak_picking.model_dump()
        if self.thresholds is not None:
            about["thresholds"] = dict(zip(LANES, self.thresholds, strict=True))
        return about

    def save(self, path: Path) -> None:
        """Write a safetensors file; the same content gives the same bytes."""
        about = self.about()
        weights = {name: np.ascontiguousarray(weight) for name, weight in self.weights.items()}
        about[_CHECKSUM_KEY] = _checksum(about, weights)
        content = save(weights, {_METADATA_KEY: json.dumps(about, sort_keys=True)})
        with replace_file(path) as temporary:
            # safetensors' own writer does not report a full disk as an OSError.
            temporary.write_bytes(content)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a model file.

        Raises
        ------
        DrumCrnnError
            If the file is missing, damaged, or not a model of this project.
        """
        try:
            path.open("rb").close()  # safetensors says of a file that may not be read that there is none
        except FileNotFoundError:
            raise DrumCrnnError(f"{path}: there is no such model; `make repro` trains one") from None
        except OSError as error:
            raise refused_error(path, error) from None
        try:
            with safe_open(path, framework="np") as file:
                about = json.loads((file.metadata() or {})[_METADATA_KEY])
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
        except KeyError:
            raise DrumCrnnError(f"{path}: is a safetensors file, but not a model of drum_crnn") from None
        except (SafetensorError, OSError, ValueError, TypeError, RecursionError) as error:
            raise unreadable_error(path, error) from None
        checksum = about.pop(_CHECKSUM_KEY, None) if isinstance(about, dict) else None
        if checksum is not None and checksum != _checksum(about, weights):
            raise unreadable_error(path, "it does not match its checksum")
        if not isinstance(about, dict) or about.get("format") != _FORMAT or about.get("lanes") != list(LANES):
            raise DrumCrnnError(f"{path}: was written by another version of drum_crnn; export it again with this one")
        peaks = about.get("peak_picking")
        try:
            thresholds = None if about.get("thresholds") is None else thresholds_of(about["thresholds"])
        except ValueError as error:
            raise unreadable_error(path, error) from None
        return cls(
            weights,
            ModelParams.check(about.get("model"), source=str(path)),
            FeatureParams.check(about.get("features"), source=str(path)),
            None if peaks is None else PeakPickingParams.check(peaks, source=str(path)),
            thresholds,
        )


def unreadable_error(path: Path, why: object) -> DrumCrnnError:
    """The error of a model file that is damaged."""
    return DrumCrnnError(
        f"{path}: is not a readable model file ({why}); download it again, or delete it and run `dvc repro`. If it is "
        "still damaged then, run `drum-crnn verify --remove` first"
    )


def thresholds_of(of_lane: Any) -> tuple[float, ...]:
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


def _checksum(about: Mapping[str, Any], weights: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, weight in sorted(weights.items()):
        # "torch.": checksums were first computed by PyTorch, whose names of types these are.
        digest.update(f"{name} torch.{weight.dtype} {weight.shape}".encode())
        digest.update(weight.tobytes())
    return digest.hexdigest()
