"""Keys, scales and chords of an accompaniment."""

from dataclasses import dataclass
from typing import Self

import numpy as np

__all__ = ["HEARD", "HELD_OUT", "Chord", "Harmony", "draw_harmony"]

# Semitones above the root.
_TONES: dict[str, tuple[int, ...]] = {
    "major": (0, 4, 7),
    "minor": (0, 3, 7),
    "power": (0, 7),
    "sus2": (0, 2, 7),
    "sus4": (0, 5, 7),
    "7": (0, 4, 7, 10),
    "maj7": (0, 4, 7, 11),
    "min7": (0, 3, 7, 10),
    "9": (0, 4, 7, 10, 14),
    "min9": (0, 3, 7, 10, 14),
}
_SCALES: dict[str, tuple[int, ...]] = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "pentatonic": (0, 3, 5, 7, 10),
}

# A progression: its scale, and chords as (semitones above the key, kind). All chords of one last equally long.
_Progression = tuple[str, tuple[tuple[int, str], ...]]

HEARD: tuple[_Progression, ...] = (
    ("major", ((0, "major"), (7, "major"), (9, "minor"), (5, "major"))),
    ("major", ((0, "major"), (9, "minor"), (5, "major"), (7, "major"))),
    ("major", ((9, "minor"), (5, "major"), (0, "major"), (7, "major"))),
    ("major", ((0, "major"), (5, "major"), (7, "major"), (5, "major"))),
    ("major", ((0, "maj7"), (9, "min7"), (2, "min7"), (7, "7"))),
    ("major", ((2, "min7"), (7, "7"), (0, "maj7"), (0, "maj7"))),
    ("major", ((0, "major"), (4, "minor"), (5, "major"), (5, "minor"))),
    ("minor", ((0, "minor"), (8, "major"), (3, "major"), (10, "major"))),
    ("minor", ((0, "minor"), (5, "minor"), (7, "minor"), (0, "minor"))),
    ("minor", ((0, "minor"), (10, "major"), (8, "major"), (7, "major"))),
    ("minor", ((0, "power"), (0, "power"), (3, "power"), (10, "power"))),
    ("minor", ((0, "power"), (1, "power"), (0, "power"), (10, "power"))),
    ("minor", ((0, "min7"),)),
    ("dorian", ((0, "min7"), (5, "7"))),
    ("dorian", ((0, "min9"), (5, "9"), (0, "min9"), (3, "maj7"))),
    ("mixolydian", ((0, "major"), (10, "major"), (5, "major"), (0, "major"))),
    ("mixolydian", ((0, "7"), (0, "7"), (5, "7"), (0, "7"), (7, "7"), (5, "7"), (0, "7"), (7, "7"))),
    ("mixolydian", ((0, "9"),)),
    ("pentatonic", ((0, "power"), (5, "power"), (3, "power"), (0, "power"))),
    ("pentatonic", ((0, "power"),)),
)
# For tests: not one of these, nor a rotation of one, is among those heard.
HELD_OUT: tuple[_Progression, ...] = (
    ("major", ((0, "major"), (2, "minor"), (5, "major"), (0, "major"))),
    ("major", ((5, "maj7"), (7, "7"), (4, "min7"), (9, "min7"))),
    ("major", ((0, "sus2"), (7, "sus4"), (2, "minor"), (5, "major"))),
    ("minor", ((0, "minor"), (3, "major"), (5, "minor"), (8, "major"))),
    ("minor", ((0, "power"), (8, "power"), (5, "power"), (10, "power"))),
    ("dorian", ((0, "min7"), (2, "min7"), (3, "maj7"), (5, "7"))),
    ("mixolydian", ((0, "7"), (3, "7"), (5, "7"), (10, "7"))),
    ("pentatonic", ((0, "power"), (10, "power"), (0, "power"), (6, "power"))),
)


@dataclass(frozen=True, slots=True)
class Chord:
    """A chord: the pitch class of its root (0 is C), and its tones in semitones above the root."""

    root: int
    tones: tuple[int, ...]

    def near(self, pitch: int) -> int:
        """The chord's root in the octave that begins at `pitch`."""
        return pitch + (self.root - pitch) % 12

    def voicing(self, lowest: int, n: int) -> list[int]:
        """The `n` lowest chord tones from `lowest` upwards, as MIDI notes, increasing."""
        classes = {(self.root + tone) % 12 for tone in self.tones}
        return [pitch for pitch in range(lowest, lowest + 12 * n) if pitch % 12 in classes][:n]


@dataclass(frozen=True, slots=True)
class Harmony:
    """A progression in a key.

    Attributes
    ----------
    scale : tuple of int
        Pitch classes, from the key's root upwards.
    chords : tuple of Chord
    bars_per_chord : float
        0.5, 1 or 2; the progression is repeated.
    """

    scale: tuple[int, ...]
    chords: tuple[Chord, ...]
    bars_per_chord: float

    @classmethod
    def of(cls, key: int, progression: _Progression, bars_per_chord: float) -> Self:
        """A progression in the key whose root is the pitch class `key`."""
        scale, chords = progression
        return cls(
            tuple((key + step) % 12 for step in _SCALES[scale]),
            tuple(Chord((key + step) % 12, _TONES[kind]) for step, kind in chords),
            bars_per_chord,
        )

    def chord_at(self, bar: float) -> Chord:
        """The chord at a place in bars from the beginning of a section."""
        return self.chords[int(bar / self.bars_per_chord + 1e-6) % len(self.chords)]


def draw_harmony(rng: np.random.Generator, key: int, *, held_out: bool) -> Harmony:
    """A random progression in a key, of those heard in training or of those held out for tests."""
    progressions = HELD_OUT if held_out else HEARD
    return Harmony.of(key, progressions[int(rng.integers(len(progressions)))], float(rng.choice([0.5, 1.0, 1.0, 2.0])))
