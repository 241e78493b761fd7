"""Note maps: which MIDI note stands for each lane, in the numbering of the program that will play it.

The lanes are coarser than the instruments of such programs. A lane gets the note of its plainest stroke: the head of a
drum, the closed hi-hat's tip, the edge of a crash, the bow of a ride.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.lanes import LANES, OUTPUT_NOTES

__all__ = ["GENERAL_MIDI", "NOTE_MAPS", "NoteMap", "load_note_map"]


@dataclass(frozen=True, slots=True)
class NoteMap:
    """The MIDI note of each lane, in the order of `LANES`; None leaves a lane out."""

    name: str
    notes: tuple[int | None, ...]


GENERAL_MIDI = NoteMap("gm", OUTPUT_NOTES)

# Heads of a TD-17 and its relatives; 50, 47 and 58 are the rims of its toms. Source: Roland's support article "TD-17:
# Default Factory MIDI Note Map".
_ROLAND_TD = NoteMap("roland-td", (36, 38, 42, 48, 45, 43, 49, 51))

# The layout that EZdrummer and Superior Drummer share: rack toms 48, 47 and 45, floor toms 43 and 41, crash 2 at 49.
# General MIDI's high tom, 50, chokes that crash here. Sources: the cymbals of lotkey/Drum-MIDI-Converter
# (Toontrack/EZDrummer.cpp), and a public table of Superior Drummer 3's notes that agrees with it.
_TOONTRACK_NOTES = (36, 38, 42, 48, 47, 43, 49, 51)

# Addictive Drums 2 numbers its drums otherwise: hi-hat closed 1 tip 49, toms 1 to 4 at 71, 69, 67 and 65, cymbal 1 at
# 77, ride 1 tip 60. Source: XLN Audio's "Addictive Drums 2 Keymap" (2021), as in nekonenene/AD2-Map-for-StudioOne.
_ADDICTIVE_DRUMS = NoteMap("addictive-drums", (36, 38, 49, 71, 69, 67, 77, 60))

# Logic follows General MIDI: Apple's guide, "Drum Kit Designer mappings". No numbering of Studio One's own was found:
# General MIDI is assumed for it.
NOTE_MAPS: dict[str, NoteMap] = {
    note_map.name: note_map
    for note_map in (
        GENERAL_MIDI,
        _ROLAND_TD,
        NoteMap("ezdrummer", _TOONTRACK_NOTES),
        NoteMap("superior", _TOONTRACK_NOTES),
        _ADDICTIVE_DRUMS,
        NoteMap("logic", OUTPUT_NOTES),
        NoteMap("studio-one", OUTPUT_NOTES),
    )
}


def load_note_map(name: str) -> NoteMap:
    """A note map by its name in `NOTE_MAPS`, or from a YAML or JSON file that gives each lane a note.

    Raises
    ------
    DrumCrnnError
        If there is no such map and no such file, or the file lacks a lane or holds something else.
    """
    if name.lower() in NOTE_MAPS:
        return NOTE_MAPS[name.lower()]
    path = Path(name)
    if not path.is_file():
        raise DrumCrnnError(
            f"--notes {name}: there is no such map or file; the maps are {', '.join(NOTE_MAPS)}; "
            "a file gives each lane a note, such as `kick: 36`"
        )
    from drum_crnn.foundation.params import read_yaml  # it reads JSON too; not needed for maps by name

    values = read_yaml(path)
    faults = [f"there is no lane '{lane}'" for lane in values if lane not in LANES]
    faults += [f"the lane {lane} is missing" for lane in LANES if lane not in values]
    faults += [
        f"the note of {lane} is {values[lane]}, not a number from 0 to 127"
        for lane in LANES
        if lane in values and not _is_note(values[lane])
    ]
    if faults:
        raise DrumCrnnError(f"{path}: {'; '.join(faults)}; give each lane a note, or null to leave it out")
    return NoteMap(path.stem, tuple(values[lane] for lane in LANES))


def _is_note(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 127)
