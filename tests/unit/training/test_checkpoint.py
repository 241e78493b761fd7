import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from miniature import ROOT

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.training.checkpoint import fingerprint_of, load_checkpoint, save_checkpoint


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "checkpoint.pt"
    save_checkpoint(path, {"weights": torch.arange(3), "epoch": 2, "history": [{"loss": 0.1}]})
    loaded = load_checkpoint(path.read_bytes(), path)
    assert loaded["weights"].tolist() == [0, 1, 2]
    assert (loaded["epoch"], loaded["history"]) == (2, [{"loss": 0.1}])
    assert [path.name for path in path.parent.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_a_damaged_one_is_named_with_the_folder_to_delete(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"weights": torch.zeros(1000)})
    content = path.read_bytes()
    damaged = {"cut": content[: len(content) // 2], "text": b"no checkpoint at all", "empty": b""}[damage]
    with pytest.raises(DrumCrnnError, match=rf"checkpoint\.pt: is damaged; delete {tmp_path} to train from"):
        load_checkpoint(damaged, path)


def test_too_little_memory_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever deletes the checkpoint then loses a training."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 40000000 bytes")

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(DrumCrnnError, match=r"checkpoint\.pt: could not be read: memory ran out") as raised:
        load_checkpoint(b"", tmp_path / "checkpoint.pt")
    assert "delete" not in str(raised.value)


FILL_UP = """
import sys
from pathlib import Path
import torch
from drum_crnn.training.checkpoint import save_checkpoint
from drum_crnn.foundation.errors import DrumCrnnError
try:
    save_checkpoint(Path(sys.argv[1]), {"weights": torch.ones(100_000)})
except DrumCrnnError as error:
    print(error)
"""


@pytest.mark.processes
def test_no_room_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"weights": torch.zeros(1000)})
    before = path.read_bytes()

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    done = subprocess.run(
        [sys.executable, "-c", FILL_UP, path], cwd=ROOT, preexec_fn=limit, capture_output=True, text=True, check=True
    )
    assert "cannot be written" in done.stdout
    assert "the previous content is unchanged" in done.stdout
    assert path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_the_fingerprint_is_of_contents_not_of_names(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("same")
    other.write_text("same")
    assert fingerprint_of("params", one) == fingerprint_of("params", other)
    other.write_text("changed")
    assert fingerprint_of("params", one) != fingerprint_of("params", other)
    assert fingerprint_of("ab", "c") != fingerprint_of("a", "bc")
