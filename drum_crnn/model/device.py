"""Which device computes: a GPU if CUDA can use one, otherwise the CPU, and never in silence."""

import os
import re
from pathlib import Path

import torch

from drum_crnn.foundation.errors import DrumCrnnError

__all__ = ["choose_device", "device_name", "is_idle", "unusable_gpus", "visible_gpus"]

_DRIVER_FILE = Path("/proc/driver/nvidia/version")
_GPU_FILE = Path("/dev/nvidia0")
# The first driver for Linux that runs programs of a version of CUDA; NVIDIA's release notes of the CUDA toolkit.
_FIRST_DRIVER = {12: 525, 13: 580}


def choose_device(device: str) -> torch.device:
    """Choose a device by its name: "auto", "cpu" or "cuda".

    Raises
    ------
    DrumCrnnError
        If there is no such name, or a GPU is there that CUDA cannot use.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise DrumCrnnError(f"there is no device '{device}'; choose auto, cpu or cuda")
    if device == "cpu" or (device == "auto" and not visible_gpus()):
        return torch.device("cpu")
    if not visible_gpus():
        raise DrumCrnnError("there is no CUDA device; choose --device cpu or auto")
    return torch.device("cuda")


def visible_gpus() -> int:
    """Number of GPUs to use.

    Raises
    ------
    DrumCrnnError
        If there are GPUs that CUDA cannot use: on a CPU, a training would take days instead of hours.
    """
    if problem := unusable_gpus():
        raise DrumCrnnError(problem)
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def is_idle(device: torch.device) -> bool:
    """Whether a device has done all work that it was given. A CPU has; a GPU is asked, and not waited for."""
    return device.type == "cpu" or torch.cuda.current_stream(device).query()


def unusable_gpus() -> str | None:
    """Why CUDA cannot use the GPUs of this machine, in a sentence for people; None if it can, or if there are none."""
    if torch.cuda.is_available() or os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1"):
        return None
    if not (torch.cuda.device_count() or _GPU_FILE.exists()):  # the first asks the driver, not CUDA
        return None
    if torch.version.cuda is None:
        why = "PyTorch was built without CUDA; install another build"
    else:
        first = _FIRST_DRIVER.get(int(torch.version.cuda.split(".")[0]))
        needed = f"{first} or later" if first else "a newer one"
        why = (
            f"CUDA cannot use it: its driver is {_driver() or 'of an unknown version'}, and PyTorch with CUDA "
            f"{torch.version.cuda} needs {needed}. Update the driver, or restart the machine after an update"
        )
    return (
        f"this machine has an NVIDIA GPU, but {why}. To use the CPU on purpose, set CUDA_VISIBLE_DEVICES to nothing, "
        "as in `CUDA_VISIBLE_DEVICES= dvc repro`"
    )


def _driver() -> str | None:
    """The version of the loaded NVIDIA driver."""
    if not _DRIVER_FILE.is_file():
        return None
    found = re.search(r"\s(\d+\.\d+(\.\d+)*)\s", _DRIVER_FILE.read_text(encoding="utf-8"))
    return None if found is None else found[1]


def device_name(device: torch.device) -> str:
    """A device's name for people, such as "NVIDIA GeForce RTX 3090, 25 GB"."""
    if device.type != "cuda":
        return "CPU" if device.type == "cpu" else device.type
    found = torch.cuda.get_device_properties(device)
    return f"{found.name}, {found.total_memory / 1e9:.0f} GB"
