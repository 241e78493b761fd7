"""The eight lanes, the notes that map to them, and the notes that map to none.

The tables cover General MIDI percussion and the Roland TD-17 notes of the Groove and E-GMD data sets (22 and 26 are
the edge of its hi-hat pad: a tenth of all notes of Groove).
"""

__all__ = ["LANES", "LANE_OF_NOTE", "N_LANES", "OUTPUT_NOTES", "TOM_LANES", "UNMAPPED_NOTES"]

LANES: tuple[str, ...] = ("kick", "snare", "hihat", "high_tom", "mid_tom", "low_tom", "crash", "ride")
N_LANES = len(LANES)
# Indices of the three toms, from high to low.
TOM_LANES: tuple[int, ...] = tuple(LANES.index(name) for name in ("high_tom", "mid_tom", "low_tom"))

# General MIDI note (channel 10) that stands for each lane in output; each maps back to its own lane.
OUTPUT_NOTES: tuple[int, ...] = (36, 38, 42, 50, 47, 43, 49, 51)

_NOTES_OF_LANE: dict[str, tuple[int, ...]] = {
    "kick": (35, 36),
    "snare": (37, 38, 40),
    "hihat": (22, 26, 42, 44, 46),
    "high_tom": (48, 50),
    "mid_tom": (45, 47),
    "low_tom": (41, 43, 58),
    "crash": (49, 52, 55, 57),
    "ride": (51, 53, 59),
}

# Input note -> lane index.
LANE_OF_NOTE: dict[int, int] = {note: lane for lane, name in enumerate(LANES) for note in _NOTES_OF_LANE[name]}

# Percussion of no lane that is known to occur; any other note is an error.
UNMAPPED_NOTES: dict[int, str] = {39: "hand clap", 54: "tambourine", 56: "cowbell"}
