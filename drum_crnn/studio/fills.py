"""Fills of many kinds, as letters: one for each slot, "." for a rest, "U" for floor tom and snare together."""

from collections.abc import Callable

import numpy as np

from drum_crnn.studio.strokes import Limb, Stroke, stroke_of
from drum_crnn.studio.styles import Style

__all__ = [
    "FILLS",
    "fill",
]


def _snare_roll(n: int, rng: np.random.Generator) -> str:
    """A roll on the snare, with an accent every 3, 4 or 8 strokes."""
    every = int(rng.choice((3, 4, 8)))
    return "".join("N" if i % every == 0 else "n" for i in range(n))


def _cascade(n: int, rng: np.random.Generator) -> str:
    """Down the kit, an equal share on each drum."""
    drums = str(rng.choice(("nhml", "hml", "hhml", "hmml", "hmm")))
    letters = [drums[i * len(drums) // n] for i in range(n)]
    return "".join(d.upper() if i == 0 or letters[i - 1] != d else d for i, d in enumerate(letters))


def _triplets(n: int, rng: np.random.Generator) -> str:
    """Groups of three: all on one drum, or one stroke on a drum and two on the snare."""
    drums = str(rng.choice(("nhml", "hmln", "nlhm", "lmhn")))
    groups = ((d.upper() + d + d) if rng.random() < 0.6 else (d.upper() + "nn") for d in drums * n)
    return "".join(group for group, _ in zip(groups, range(n), strict=False))[:n]


def _linear(n: int, rng: np.random.Generator) -> str:
    """One limb at a time, kicks between the hands."""
    cells = ("Nk", "hlk", "Nnkk", "Hhkk", "HkMk", "Nnk", "mmLk", "okn")
    return "".join(str(rng.choice(cells)) for _ in range(n))[:n]


def _buildup(n: int, rng: np.random.Generator) -> str:
    """Both hands on floor tom and snare: on every other slot, and mostly on every slot of the second half."""
    dense_from = n // 2 if rng.random() < 0.6 else n
    return "".join("U" if i % 2 == 0 or i >= dense_from else "." for i in range(n))


def _stabs(n: int, rng: np.random.Generator) -> str:
    """Crashes with the kick on every third slot, and some snares between them."""
    return "".join("C" if i % 3 == 0 else ("N" if rng.random() < 0.35 else ".") for i in range(n))


def _flams(n: int, rng: np.random.Generator) -> str:
    """Flams in eighths, answered by the toms."""
    return "".join("f." if rng.random() < 0.55 else str(rng.choice(("hh", "hm", "mm", "ml"))) for _ in range(n))[:n]


def _melody(n: int, rng: np.random.Generator) -> str:
    """A random walk over snare and toms, with rests."""
    kit, letters = "nhhmml", ""
    at = int(rng.integers(len(kit)))
    for slot in range(n):
        at = int(np.clip(at + rng.integers(-2, 3), 0, len(kit) - 1))
        letters += "." if slot and rng.random() < 0.15 else (kit[at].upper() if rng.random() < 0.35 else kit[at])
    return letters


def _barks(n: int, rng: np.random.Generator) -> str:
    """Open hi-hat in alternation with snare and kick."""
    return "".join(str(rng.choice(("o.", "Nk", "oN", "nn", "k.", ".N", "hl"))) for _ in range(n))[:n]


FILLS: dict[str, Callable[[int, np.random.Generator], str]] = {
    "snare_roll": _snare_roll,
    "cascade": _cascade,
    "triplets": _triplets,
    "linear": _linear,
    "buildup": _buildup,
    "stabs": _stabs,
    "flams": _flams,
    "melody": _melody,
    "barks": _barks,
}
_FASTEST_SLOT_S = 0.072  # single strokes of alternating hands


def fill(
    style: Style, *, start: float, length: float, bpm: float, gain: float, rng: np.random.Generator
) -> list[Stroke]:
    """Fill the `length` beats from `start` with one of the style's kinds; most fills grow louder."""
    kind = str(rng.choice(style.fills))
    rates = (3, 6) if kind == "triplets" or style.steps == 3 else (2, 4, 4, 8)
    rate = int(rng.choice(rates))
    while rate > min(rates) and 60.0 / bpm / rate < _FASTEST_SLOT_S:
        rate = max(r for r in rates if r < rate)
    letters = FILLS[kind](max(1, round(length * rate)), rng)
    growth = rng.uniform(-0.1, 0.5)
    strokes = []
    hand = 0
    for slot, letter in enumerate(letters):
        if letter == ".":
            continue
        beat = start + slot / rate
        rise = gain + growth * (slot / len(letters) - 0.6)
        if letter == "k":
            strokes.append(stroke_of("k", beat, "kick", own="kick", gain=rise))
        elif letter == "U":
            strokes.append(stroke_of("l", beat, "right", own="snare", gain=rise))
            strokes.append(stroke_of("n", beat, "left", own="snare", gain=rise))
        else:
            limb: Limb = "left" if hand % 2 else "right"
            hand += 1
            strokes.append(stroke_of(letter, beat, limb, own="snare", gain=rise))
            if letter == "C":
                strokes.append(stroke_of("X", beat, "kick", own="kick", gain=rise))
    if not {"k", "C"} & set(letters) and rng.random() < 0.5:  # a foot keeps the pulse
        for i in range(int(length / style.pulse)):
            strokes.append(stroke_of("x", start + i * style.pulse, "kick", own="kick", gain=gain))
    elif "o" not in letters and rng.random() < 0.6:
        for i in range(int(length / style.pulse)):
            strokes.append(stroke_of("p", start + i * style.pulse, "foot", own="pedal", gain=gain))
    return strokes
