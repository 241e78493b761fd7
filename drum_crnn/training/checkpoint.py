"""Checkpoints: everything that an interrupted training needs to resume to the same result."""

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import torch

from drum_crnn.foundation.atomic import replace_file
from drum_crnn.foundation.errors import DrumCrnnError, memory_ran_out, out_of_memory_error

__all__ = ["fingerprint_of", "load_checkpoint", "save_checkpoint"]


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values, completely or not at all.

    Raises
    ------
    DrumCrnnError
        If the disk is full; the previous checkpoint is untouched then.
    """
    # Into memory first: torch's own writer reports a full disk as a RuntimeError without the reason.
    content = io.BytesIO()
    torch.save(state, content)
    with replace_file(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def load_checkpoint(content: bytes, path: Path) -> dict[str, Any]:
    """Read the state in the bytes of a checkpoint, onto the CPU; errors name `path`.

    Raises
    ------
    DrumCrnnError
        If the bytes are damaged, or there is too little memory.
    """
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        if memory_ran_out(error):  # deleting the checkpoint would lose the training
            raise out_of_memory_error(path) from None
        raise DrumCrnnError(f"{path}: is damaged; delete {path.parent} to train from the beginning") from None
    return state


def fingerprint_of(*parts: str | Path) -> str:
    """Checksum of texts and of file contents, in 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part.read_bytes()
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()[:16]
