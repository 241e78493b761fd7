"""The notebook runs on a fresh corpus, draws what it promises, and is kept in git without outputs."""

import tempfile
from pathlib import Path

import nbformat
import pytest
from first_party import ROOT
from nbclient import NotebookClient
from traitlets.config import Config
from waiting import AT_MOST_S

NOTEBOOK = ROOT / "notebooks" / "explore_dataset.ipynb"
# Cells that draw one figure each: lanes, tempo and length, velocities, kits, spectrogram.
DRAWING = ("lanes", "tempo", "velocity", "kits", "spectrogram")


@pytest.fixture(scope="module")
def outputs(prepared_data: Path) -> dict[str, list[nbformat.NotebookNode]]:
    """Outputs of each cell, by its id, of a run beside a miniature corpus."""
    folder = prepared_data.parent / "notebooks"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as sockets:
        patch.setenv("MPLBACKEND", "Agg")  # whatever the machine is set to, no window opens
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        # Over files: ports that are free when they are chosen may be taken when they are used.
        kernels = Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}})
        NotebookClient(
            notebook,
            config=kernels,
            timeout=AT_MOST_S,
            startup_timeout=AT_MOST_S,
            resources={"metadata": {"path": folder}},
        ).execute()
    return {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}


def _of_type(outputs: list[nbformat.NotebookNode], mime_type: str) -> list[str]:
    return [output.data[mime_type] for output in outputs if mime_type in output.get("data", {})]


def test_draws_one_figure_in_each_cell_that_promises_one(outputs: dict[str, list[nbformat.NotebookNode]]) -> None:
    figures = {name: len(_of_type(cell, "image/png")) for name, cell in outputs.items()}
    assert {name: n for name, n in figures.items() if n} == dict.fromkeys(DRAWING, 1)


def test_counts_the_recordings_of_every_side(
    outputs: dict[str, list[nbformat.NotebookNode]], prepared_data: Path
) -> None:
    splits = [line.split(",")[-1] for line in (prepared_data / "splits.csv").read_text(encoding="utf-8").splitlines()]
    printed = "".join(output.text for output in outputs["read"] if output.output_type == "stream")
    table = {line.split()[0]: int(line.split()[1]) for line in printed.splitlines()[1:]}
    assert table == {split: splits.count(split) for split in set(splits[1:])}


def test_plays_no_audio(outputs: dict[str, list[nbformat.NotebookNode]]) -> None:
    everything = [output for cell in outputs.values() for output in cell]
    assert not any("<audio" in text for text in _of_type(everything, "text/html"))


def test_is_committed_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.id for cell in code if cell.outputs or cell.execution_count is not None] == []
    assert set(DRAWING) <= {cell.id for cell in code}
