"""Kits from Hydrogen drumkits: a folder with `drumkit.xml` and its samples (WAV, FLAC, AIFF), or an archive of one.

Instruments are assigned to notes by their names (`drum_crnn.studio.names`). An instrument's volume and gain count, and
its layers' ranges, gains and pitches. Filter, envelope, pan and randomness are ignored. Hydrogen plays the first layer
whose range holds the velocity, so overlapping ranges are cut to what sounds.

References
----------
The file format as `drumkit.xsd` of Hydrogen 1.2 describes it; older files have no namespace, one bare `<filename>` an
instrument, or a `<licence>`. Hydrogen: https://hydrogen-music.org
"""

import itertools
import tarfile
import tempfile
import xml.etree.ElementTree as ElementTree
import zlib
from dataclasses import dataclass
from pathlib import Path

from drum_crnn.foundation.console import warn
from drum_crnn.foundation.errors import DrumCrnnError, is_refusal, refused_error
from drum_crnn.music.recordings import is_hidden
from drum_crnn.studio.kits import Kit, Layer, Sample, Sound, level_velocities, read_one_shot
from drum_crnn.studio.names import assign_notes, is_percussion

__all__ = ["open_hydrogen"]

_LAST_TAG = b"</drumkit_info>"

# Hydrogen writes this note if the author chose none.
_UNSET_NOTE = 60


@dataclass(frozen=True)
class _Layer:
    filename: str
    low: float
    high: float
    gain: float
    semitones: float


@dataclass(frozen=True)
class _Instrument:
    name: str
    note: int | None
    gain: float
    layers: tuple[_Layer, ...]


def open_hydrogen(place: Path) -> Kit:
    """Open a Hydrogen drumkit as the kit "hydrogen/FOLDER" or "hydrogen/ARCHIVE".

    Parameters
    ----------
    place : Path
        A folder that holds `drumkit.xml`, or an archive of one, whose name ends in `.h2drumkit`.

    Raises
    ------
    DrumCrnnError
        If the file is missing or is no drumkit, all drums lack samples, a sample is unreadable, or no instrument is a
        drum of a lane or percussion.
    """
    if not place.is_file():
        return _open_folder(place, place.resolve().name)
    with tempfile.TemporaryDirectory() as name:
        return _open_folder(_unpacked(place, Path(name)), place.stem)


def _open_folder(folder: Path, name: str) -> Kit:
    file = folder / "drumkit.xml"
    try:
        root = _parsed(file.read_bytes())
    except FileNotFoundError:
        raise DrumCrnnError(f"{folder}: holds no drumkit.xml; give the folder of one Hydrogen drumkit") from None
    except OSError as error:
        raise refused_error(file, error) from None
    except ElementTree.ParseError as error:
        raise DrumCrnnError(f"{file}: is not valid XML ({error}); install the drumkit again") from None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]  # old files have no namespace
    if root.tag != "drumkit_info":
        raise DrumCrnnError(f"{file}: is not a Hydrogen drumkit: its root is <{root.tag}>, not <drumkit_info>")

    try:
        instruments = _instruments(root)
    except ValueError as error:
        raise DrumCrnnError(f"{file}: has text in place of a number ({error}); install the drumkit again") from None
    licence = " ".join((root.findtext("license") or root.findtext("licence") or "").split()) or "not stated"
    notes = assign_notes((instrument.name, instrument.note) for instrument in instruments)
    sounds, percussion = {}, []
    lacking: list[str] = []
    for index, (note, instrument) in enumerate(zip(notes, instruments, strict=True)):
        if note is None and not is_percussion(instrument.name):
            continue  # such as a second kick, a roll or an unknown name
        missing = [layer.filename for layer in instrument.layers if not _place(folder, layer.filename).is_file()]
        if missing:
            if note is not None:
                lacking.append(f"{file}: lacks {', '.join(missing)}")
            continue
        layers = _layers(folder, instrument, licence)
        if layers and note is not None:
            sounds[note] = Sound(note, level_velocities(layers))
        elif layers:
            percussion.append(Sound(index, level_velocities(layers)))
    if lacking and not sounds and not percussion:
        raise DrumCrnnError(f"{lacking[0]}; install the kit again")
    for what in lacking:
        warn(f"{what}; the kit plays without this drum")
    if not sounds and not percussion:
        raise DrumCrnnError(
            f"{file}: no instrument is a drum of the eight lanes or percussion; it has: {_some_names(instruments)}"
        )
    return Kit(f"hydrogen/{name}", dict(sorted(sounds.items())), tuple(percussion))


def _unpacked(archive: Path, folder: Path) -> Path:
    """The folder of the kit in an archive, unpacked below `folder`."""
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                path = Path(member.name)
                content = tar.extractfile(member)  # None for what is no file
                if content is None or path.is_absolute() or ".." in path.parts or is_hidden(path):
                    continue
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(content.read())
    except (OSError, EOFError, ValueError, KeyError, tarfile.TarError, zlib.error) as error:
        if isinstance(error, OSError) and is_refusal(error):
            raise refused_error(archive, error) from None
        raise DrumCrnnError(f"{archive}: is no archive of a drumkit, or a damaged one ({error})") from None
    found = sorted(folder.rglob("drumkit.xml"))
    if not found:
        raise DrumCrnnError(f"{archive}: holds no drumkit.xml")
    return found[0].parent


def _parsed(content: bytes) -> ElementTree.Element:
    """The document, without what some kits have behind its end."""
    end = content.find(_LAST_TAG)
    try:
        return ElementTree.fromstring(content)
    except ElementTree.ParseError:
        if end < 0:
            raise
    return ElementTree.fromstring(content[: end + len(_LAST_TAG)])


def _instruments(root: ElementTree.Element) -> list[_Instrument]:
    """The instruments that are not muted and have a sample."""
    found = []
    for element in root.iter("instrument"):
        layers = tuple(_layer(layer) for layer in element.iter("layer"))
        if not layers:
            layers = (_layer(element),)
        # Kits fill unused places with the same silent file.
        layers = tuple(layer for layer in layers if layer.filename and "emptysample" not in layer.filename.lower())
        if not layers or (element.findtext("isMuted") or "").strip() == "true":
            continue
        note = int(_number(element, "midiOutNote", _UNSET_NOTE))
        gain = _number(element, "volume", 1.0)
        if element.find("filename") is None:
            gain *= _number(element, "gain", 1.0)
        name = (element.findtext("name") or "").strip()
        found.append(_Instrument(name, None if note == _UNSET_NOTE else note, gain, layers))
    return found


def _layer(element: ElementTree.Element) -> _Layer:
    return _Layer(
        filename=(element.findtext("filename") or "").strip(),
        low=_number(element, "min", 0.0),
        high=_number(element, "max", 1.0),
        gain=_number(element, "gain", 1.0),
        semitones=_number(element, "pitch", 0.0),
    )


def _number(element: ElementTree.Element, tag: str, default: float) -> float:
    text = (element.findtext(tag) or "").strip()
    # Some versions of Hydrogen wrote numbers as the user's language does.
    return float(text.replace(",", ".")) if text else default


def _layers(folder: Path, instrument: _Instrument, licence: str) -> list[Layer]:
    """The layers that can sound, with disjoint ranges."""
    indices = [_layer_index(instrument.layers, velocity) for velocity in range(1, 128)]
    layers = []
    for index, run in itertools.groupby(enumerate(indices, start=1), key=lambda item: item[1]):
        velocities = [velocity for velocity, _ in run]
        layer = instrument.layers[index]
        sample = _sample(folder, layer, licence)
        gain = instrument.gain * layer.gain
        if sample is not None and gain > 0:
            layers.append(Layer(sample, velocities[0], velocities[-1], gain))
    return layers


def _layer_index(layers: tuple[_Layer, ...], velocity: int) -> int:
    """Index of the first layer whose range holds the velocity, or is nearest to it."""
    level = velocity / 127
    return min(range(len(layers)), key=lambda index: max(layers[index].low - level, level - layers[index].high, 0.0))


def _sample(folder: Path, layer: _Layer, licence: str) -> Sample | None:
    return read_one_shot(
        _place(folder, layer.filename), source=layer.filename, licence=licence, semitones=layer.semitones
    )


def _place(folder: Path, filename: str) -> Path:
    """The file of a sample: of that name, or of one that differs in the case of letters alone."""
    path = folder / filename
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DrumCrnnError(f"{folder / 'drumkit.xml'}: sample '{filename}' lies outside the drumkit's folder")
    if path.exists() or not path.parent.is_dir():
        return path
    found = sorted(other for other in path.parent.iterdir() if other.name.casefold() == path.name.casefold())
    return found[0] if found else path


def _some_names(instruments: list[_Instrument]) -> str:
    names = [instrument.name for instrument in instruments if instrument.name]
    return ", ".join(names[:6]) + (" …" if len(names) > 6 else "") if names else "none with a name"
