"""References to kits, such as "hydrogen:FOLDER", and how to open them."""

import importlib.util
from pathlib import Path

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.studio.hydrogen import open_hydrogen
from drum_crnn.studio.kits import Kit
from drum_crnn.studio.one_shots import open_one_shots
from drum_crnn.studio.soundfont import open_soundfont
from drum_crnn.studio.synthesis import synthesized_kit

__all__ = ["font_path", "open_kits"]


def open_kits(reference: str) -> list[Kit]:
    """Open the kits that a reference names.

    Parameters
    ----------
    reference : str
        "SCHEME:WHERE", or "SCHEME:WHERE#PART" for one preset of a SoundFont, or for those one-shots of a folder whose
        names match PART. WHERE is a path; "@PACKAGE/PATH" is one inside an installed Python package. Schemes:

        - "pretty_midi:TimGM6mb", the SoundFont inside the pretty_midi package;
        - "soundfont:FILE.sf2", all its drum presets (SF3 as well);
        - "hydrogen:FOLDER" or "hydrogen:FILE.h2drumkit", a Hydrogen drumkit: `drumkit.xml` and its samples;
        - "one_shots:FOLDER", audio files named after the drums;
        - "synthesized:NUMBER" or "synthesized:FIRST-LAST", kits that the studio computes: every number is another one.

    Returns
    -------
    list of Kit
        At least one, in the order of the source.

    Raises
    ------
    DrumCrnnError
        If the scheme is unknown, the source is missing, or it holds no sound of any lane.
    """
    scheme, colon, where = reference.partition(":")
    where, _, part = where.partition("#")
    if not colon or not where:
        raise DrumCrnnError(
            f"kit '{reference}': write SCHEME:WHERE, such as 'soundfont:/usr/share/sounds/sf2/font.sf2'"
        )
    if part and scheme in ("hydrogen", "synthesized"):
        raise DrumCrnnError(f"kit '{reference}': a {scheme} kit has no parts; leave out '#{part}'")
    match scheme:
        case "pretty_midi":
            return open_soundfont(_inside_pretty_midi(where), preset=part or None)
        case "soundfont":
            return open_soundfont(_path_of(where, reference), preset=part or None)
        case "hydrogen":
            return [open_hydrogen(_path_of(where, reference))]
        case "one_shots":
            return [open_one_shots(_path_of(where, reference), pattern=part or "*")]
        case "synthesized":
            return [synthesized_kit(number) for number in _numbers(where, reference)]
    raise DrumCrnnError(
        f"kit '{reference}': unknown scheme '{scheme}'; known: pretty_midi, soundfont, hydrogen, one_shots, synthesized"
    )


def font_path(reference: str) -> Path:
    """The file of a SoundFont, by a reference as of `open_kits`, without a part.

    Raises
    ------
    DrumCrnnError
        If the reference names no SoundFont.
    """
    scheme, _, where = reference.partition(":")
    if not where or "#" in where or scheme not in ("pretty_midi", "soundfont"):
        raise DrumCrnnError(f"font '{reference}': write pretty_midi:NAME or soundfont:FILE.sf2")
    return _inside_pretty_midi(where) if scheme == "pretty_midi" else _path_of(where, reference)


def _path_of(where: str, reference: str) -> Path:
    if not where.startswith("@"):
        return Path(where).expanduser()
    package, _, within = where[1:].partition("/")
    return _folder_of_package(package, reference) / within


def _numbers(where: str, reference: str) -> range:
    first, _, last = where.partition("-")
    if not (first.isdecimal() and (last or first).isdecimal() and int(first) <= int(last or first)):
        raise DrumCrnnError(f"kit '{reference}': write a number, or two such as synthesized:1-8")
    return range(int(first), int(last or first) + 1)


def _folder_of_package(package: str, reference: str) -> Path:
    # This does not import the package, which may take a second.
    found = importlib.util.find_spec(package) if package.isidentifier() else None
    if found is None or found.origin is None:
        raise DrumCrnnError(f"kit '{reference}': the Python package {package} is not installed")
    return Path(found.origin).parent


def _inside_pretty_midi(name: str) -> Path:
    path = _folder_of_package("pretty_midi", f"pretty_midi:{name}") / f"{name}.sf2"
    if not path.is_file():
        fonts = ", ".join(sorted(font.stem for font in path.parent.glob("*.sf2"))) or "none"
        raise DrumCrnnError(f"kit 'pretty_midi:{name}': the package holds no such SoundFont; it has: {fonts}")
    return path
