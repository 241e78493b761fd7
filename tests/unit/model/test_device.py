"""A GPU that CUDA cannot use is told, and the CPU is never used in silence instead."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.model import device
from drum_crnn.model.device import choose_device, device_name, is_idle, unusable_gpus, visible_gpus
from drum_crnn.training.distributed import n_processes_for

OLD = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024\n"
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build  (dvs-builder)\n"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A machine without a GPU, on which nothing hides GPUs."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(device, "_GPU_FILE", tmp_path / "nvidia0")
    monkeypatch.setattr(device, "_DRIVER_FILE", tmp_path / "version")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    set_gpus(monkeypatch, 0, usable=False)
    return monkeypatch


def set_gpus(machine: pytest.MonkeyPatch, n: int, *, usable: bool) -> None:
    machine.setattr(torch.cuda, "device_count", lambda: n)
    machine.setattr(torch.cuda, "is_available", lambda: usable)


def test_without_a_gpu_the_cpu_is_used(machine: pytest.MonkeyPatch) -> None:
    assert (visible_gpus(), n_processes_for("auto"), choose_device("auto").type) == (0, 1, "cpu")
    with pytest.raises(DrumCrnnError, match="there is no CUDA device; choose --device cpu or auto"):
        choose_device("cuda")


def test_each_gpu_is_used(machine: pytest.MonkeyPatch) -> None:
    set_gpus(machine, 2, usable=True)
    assert (visible_gpus(), n_processes_for("auto"), choose_device("auto").type) == (2, 2, "cuda")
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["tpu", "", "CUDA"])
def test_other_devices_are_refused(name: str) -> None:
    with pytest.raises(DrumCrnnError, match=f"no device '{name}'; choose auto, cpu or cuda"):
        choose_device(name)


@pytest.mark.parametrize(
    ("text", "version"), [(OLD, "550.54.14"), (OPEN, "570.86.15"), (None, "of an unknown version")]
)
def test_a_driver_that_is_too_old_is_told(machine: pytest.MonkeyPatch, text: str | None, version: str) -> None:
    set_gpus(machine, 2, usable=False)  # the driver lists them, but CUDA cannot start
    if text:
        device._DRIVER_FILE.write_text(text)
    said = (
        f"this machine has an NVIDIA GPU, but CUDA cannot use it: its driver is {version}, and PyTorch with CUDA 13.0 "
        "needs 580 or later. Update the driver, or restart the machine after an update. To use the CPU on purpose, set "
        "CUDA_VISIBLE_DEVICES to nothing, as in `CUDA_VISIBLE_DEVICES= dvc repro`"
    )
    asking: list[Callable[[], object]] = [visible_gpus, *(partial(choose_device, name) for name in ("auto", "cuda"))]
    for ask in (*asking, partial(n_processes_for, "auto")):
        with pytest.raises(DrumCrnnError) as caught:
            ask()
        assert str(caught.value) == said
    assert choose_device("cpu") == torch.device("cpu")


def test_a_driver_that_does_not_answer_is_told(machine: pytest.MonkeyPatch) -> None:
    """After an update, before a restart: the driver lists no device, but the device's file is there."""
    device._GPU_FILE.touch()
    assert "restart the machine after an update" in str(unusable_gpus())


def test_a_build_without_cuda_is_told(machine: pytest.MonkeyPatch) -> None:
    device._GPU_FILE.touch()
    machine.setattr(torch.version, "cuda", None)
    assert "PyTorch was built without CUDA; install another build" in str(unusable_gpus())


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_gpus_can_be_hidden_on_purpose(machine: pytest.MonkeyPatch, hidden: str) -> None:
    set_gpus(machine, 2, usable=False)
    machine.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert (visible_gpus(), choose_device("auto").type) == (0, "cpu")


def test_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_name(torch.device("cpu")) == "CPU"
    properties = type("Properties", (), {"name": "NVIDIA GeForce RTX 3070", "total_memory": 8_590_000_000})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    assert device_name(torch.device("cuda", 1)) == "NVIDIA GeForce RTX 3070, 9 GB"


@pytest.mark.parametrize("is_done", [False, True])
def test_a_gpu_is_idle_when_its_stream_is_done(monkeypatch: pytest.MonkeyPatch, is_done: bool) -> None:
    class Stream:
        def query(self) -> bool:
            return is_done

    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: Stream())
    assert is_idle(torch.device("cuda", 1)) is is_done
    assert is_idle(torch.device("cpu"))
