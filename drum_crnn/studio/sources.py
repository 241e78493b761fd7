"""Where kits come from: references such as "hydrogen:FOLDER", and opening what they name."""

import importlib.util
from pathlib import Path

from drum_crnn.errors import DrumCrnnError
from drum_crnn.studio.hydrogen import open_hydrogen
from drum_crnn.studio.kits import Kit
from drum_crnn.studio.one_shots import open_one_shots
from drum_crnn.studio.soundfont import open_soundfont

__all__ = ["open_kits"]


def open_kits(reference: str) -> list[Kit]:
    """Open the kits that a reference names.

    Parameters
    ----------
    reference : str
        "SCHEME:WHERE" or "SCHEME:WHERE#PRESET", the latter for one preset of a SoundFont. Schemes:

        - "pretty_midi:TimGM6mb", the SoundFont inside the pretty_midi package;
        - "soundfont:FILE.sf2", all its drum presets (SF3 as well);
        - "hydrogen:FOLDER", a Hydrogen drumkit: `drumkit.xml` and its samples;
        - "one_shots:FOLDER", audio files named after the drums.

    Returns
    -------
    list of Kit
        At least one, in the order of the source.

    Raises
    ------
    DrumCrnnError
        If the scheme is unknown, nothing is there, or what is there holds no sound of any lane.
    """
    scheme, colon, where = reference.partition(":")
    where, _, preset = where.partition("#")
    if not colon or not where:
        raise DrumCrnnError(
            f"kit '{reference}': write SCHEME:WHERE, such as 'soundfont:/usr/share/sounds/sf2/font.sf2'"
        )
    if preset and scheme not in ("pretty_midi", "soundfont"):
        raise DrumCrnnError(f"kit '{reference}': only a SoundFont has presets; leave out '#{preset}'")
    match scheme:
        case "pretty_midi":
            return open_soundfont(_inside_pretty_midi(where), preset=preset or None)
        case "soundfont":
            return open_soundfont(Path(where).expanduser(), preset=preset or None)
        case "hydrogen":
            return [open_hydrogen(Path(where).expanduser())]
        case "one_shots":
            return [open_one_shots(Path(where).expanduser())]
    raise DrumCrnnError(
        f"kit '{reference}': unknown scheme '{scheme}'; known: pretty_midi, soundfont, hydrogen, one_shots"
    )


def _inside_pretty_midi(name: str) -> Path:
    # Found without importing the package, which takes a second and is not needed.
    found = importlib.util.find_spec("pretty_midi")
    if found is None or found.origin is None:
        raise DrumCrnnError(f"kit 'pretty_midi:{name}': the package pretty_midi is not installed")
    path = Path(found.origin).parent / f"{name}.sf2"
    if not path.is_file():
        fonts = ", ".join(sorted(font.stem for font in path.parent.glob("*.sf2"))) or "none"
        raise DrumCrnnError(f"kit 'pretty_midi:{name}': the package holds no such SoundFont; it has: {fonts}")
    return path
