"""Where the released model is: in the installed package, or in the repository's `models/released`."""

from pathlib import Path

from drum_crnn.errors import DrumCrnnError

__all__ = ["NAME", "released_model"]

NAME = "drum_crnn.safetensors"

_PACKAGE = Path(__file__).parent
# A wheel holds the folder inside the package; a checkout, and what is installed from it in editable mode, beside it.
_PLACES = (_PACKAGE / "released_model", _PACKAGE.parent / "models" / "released")


def released_model() -> Path:
    """The model file that comes with this version.

    Raises
    ------
    DrumCrnnError
        If the installation lacks it.
    """
    for place in _PLACES:
        if (place / NAME).is_file():
            return place / NAME
    raise DrumCrnnError(
        f"the released model is missing from {_PACKAGE}; install drum_crnn again, or name one with --model"
    )
