"""Written strokes: which limb plays which sound on which beat, and how the bars of a style vary."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from drum_crnn.studio.groove_params import GrooveParams
from drum_crnn.studio.styles import LETTERS, Groove, Style

__all__ = [
    "LIMBS",
    "Limb",
    "Stroke",
    "bar_strokes",
    "stroke_of",
    "vary",
    "with_crash",
]

Limb = Literal["right", "left", "kick", "foot"]  # two hands, right foot on the pedal, left foot on the hi-hat
LIMBS: tuple[Limb, ...] = ("right", "left", "kick", "foot")


@dataclass(frozen=True, slots=True)
class Stroke:
    """One intended stroke, before a person plays it."""

    beat: float  # quarter notes from the start of the performance
    limb: Limb
    sound: str
    level: float  # of full strength, 0 to 1
    graces: int = 0
    gain: float = 0.0  # log gain from section, phrase and fill


def stroke_of(letter: str, beat: float, limb: Limb, *, own: str, gain: float = 0.0) -> Stroke:
    """The stroke that a pattern's letter means; `own` is the sound that the limb plays by itself."""
    meaning = LETTERS[letter]
    sound = own if meaning.sound == "own" else meaning.sound
    return Stroke(beat, limb, sound, meaning.level, meaning.graces, gain)


def bar_strokes(groove: Groove, *, start: float, steps: int, surface: str, gain: float) -> list[Stroke]:
    """The strokes of one bar that starts at beat `start`."""
    strokes = []
    cymbal = "crash_ride" if surface == "crash" else surface  # always the same crash
    own: dict[Limb, str] = {"right": cymbal, "left": "snare", "kick": "kick", "foot": "pedal"}
    on_hat = surface in ("closed", "half")
    for limb in LIMBS:
        for step, letter in enumerate(getattr(groove, limb)):
            if letter == "." or (letter == "p" and on_hat and groove.right[step] in "g-xXo"):
                continue  # the pedal is silent under a stick on the hi-hat
            strokes.append(stroke_of(letter, start + step / steps, limb, own=own[limb], gain=gain))
    return strokes


def vary(groove: Groove, style: Style, params: GrooveParams, rng: np.random.Generator) -> Groove:
    """Vary a bar at random: kicks come and go, hats open, ghosts fill gaps, accents get grace notes."""
    right, left, kick = list(groove.right), list(groove.left), list(groove.kick)
    offbeats = [step for step in range(1, len(kick)) if step % style.steps]
    if rng.random() < 0.22:
        step = int(rng.choice(offbeats))
        if kick[step] == "." and left[step] == ".":
            kick[step] = "x"
    if rng.random() < 0.15:
        kick[int(rng.choice(offbeats))] = "."
    if rng.random() < 0.18:
        step = int(rng.choice(offbeats))
        if right[step] in "xX":
            right[step] = "o"
    for step, letter in enumerate(left):
        if letter == "." and rng.random() < style.ghosts * params.ghosts:
            left[step] = "g"
        elif letter == "X" and right[step] != "C" and rng.random() < style.flams * params.flams:
            left[step] = "f" if rng.random() < 0.6 else "d"
        elif letter == "g" and right[step] == "." and rng.random() < style.flams * params.flams:
            left[step] = "z"
    return replace(groove, right="".join(right), left="".join(left), kick="".join(kick))


def with_crash(groove: Groove) -> Groove:
    """The groove with crash and kick on its first step."""
    left = groove.left if groove.left[0] in ".g" else "." + groove.left[1:]
    return replace(groove, right="C" + groove.right[1:], left=left, kick="X" + groove.kick[1:])
