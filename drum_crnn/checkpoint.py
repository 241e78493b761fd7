"""Checkpoints: what an interrupted training needs to go on as if nothing had happened."""

import hashlib
from pathlib import Path
from typing import Any

import torch

from drum_crnn.atomic import replace_file

__all__ = ["fingerprint_of", "load_checkpoint", "save_checkpoint"]


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values, whole or not at all."""
    with replace_file(path) as temporary:
        torch.save(state, temporary)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint onto the CPU; None if there is none."""
    if not path.is_file():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def fingerprint_of(*parts: str | Path) -> str:
    """Checksum of texts and of the contents of files: a short hexadecimal word."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part.read_bytes()
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()[:16]
