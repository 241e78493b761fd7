"""The styles that the groove generator plays: patterns, tempi, and kinds of fills.

Patterns are strings: one string for each limb, one letter for each step. `LETTERS` tells what each letter strikes.
Positions are in beats, always quarter notes. The patterns are commonplaces of their styles, written for this module.
"""

from dataclasses import dataclass

__all__ = ["LETTERS", "STYLES", "Groove", "Letter", "Style", "Swing"]

# --- Letters: what a step of a pattern strikes ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Letter:
    """A stroke. `sound` is "own" for the sound that the limb plays by itself: its cymbal, the snare, the kick."""

    sound: str
    level: float  # of full strength, 0 to 1, before any shaping
    graces: int = 0


LETTERS: dict[str, Letter] = {
    "g": Letter("own", 0.20),  # ghost
    "-": Letter("own", 0.34),  # soft
    "x": Letter("own", 0.50),
    "X": Letter("own", 0.78),  # accent
    "f": Letter("own", 0.80, graces=1),  # flam
    "d": Letter("own", 0.74, graces=2),  # drag; every third is a ruff of three
    "z": Letter("own", 0.28, graces=2),  # a ghost that bounces
    "s": Letter("side_stick", 0.52),
    "r": Letter("rimshot", 0.88),
    "n": Letter("snare", 0.46),
    "N": Letter("snare", 0.84),
    "h": Letter("high_tom", 0.60),
    "H": Letter("high_tom", 0.84),
    "m": Letter("mid_tom", 0.60),
    "M": Letter("mid_tom", 0.84),
    "l": Letter("low_tom", 0.60),
    "L": Letter("low_tom", 0.86),
    "o": Letter("open", 0.62),
    "b": Letter("bell", 0.66),
    "C": Letter("crash", 0.58),
    "p": Letter("pedal", 0.46),
    "k": Letter("kick", 0.58),
}

# --- Styles -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Groove:
    """One bar: what each limb strikes at each step. With an empty string, a limb rests."""

    right: str
    left: str
    kick: str
    foot: str = ""


@dataclass(frozen=True, slots=True)
class Swing:
    """Within each `unit` (beats) the stroke written at `written` (0 to 1) is played between `low` and `high`."""

    unit: float
    written: float
    low: float
    high: float


_STRAIGHT = Swing(unit=0.5, written=0.5, low=0.5, high=0.5)
_LIGHT = Swing(unit=0.5, written=0.5, low=0.5, high=0.56)
_SWUNG_SIXTEENTHS = Swing(unit=0.5, written=0.5, low=0.53, high=0.64)
_SWUNG_TRIPLETS = Swing(unit=1.0, written=2 / 3, low=0.60, high=0.71)


@dataclass(frozen=True, slots=True)
class Style:
    """One style. `verse` and `chorus` are cymbals on which the right hand keeps time; listed twice, twice as likely."""

    tempo: tuple[int, int]  # bpm, quarter notes
    grooves: tuple[Groove, ...]  # verse and chorus
    bridges: tuple[Groove, ...]
    fills: tuple[str, ...]
    verse: tuple[str, ...] = ("closed",)
    chorus: tuple[str, ...] = ("half", "ride", "crash")
    beats: int = 4  # quarter notes in a bar
    steps: int = 4  # letters a quarter note
    pulse: float = 1.0  # what a foot taps, in quarter notes
    time_signature: str = "4-4"
    swing: Swing = _STRAIGHT
    ghosts: float = 0.07  # chance of one more ghost note at a free step
    flams: float = 0.10  # chance that an accent gets grace notes
    loudness: float = 0.0  # log gain
    laid_back_s: float = 0.0  # lateness of the snare


STYLES: dict[str, Style] = {
    "rock": Style(
        tempo=(84, 148),
        grooves=(
            Groove("X.x.X.x.X.x.X.x.", "....X.......X...", "X.......X.x....."),
            Groove("X.x.x.x.X.x.x.x.", "....X..g.g..X..g", "X..x..x...x....."),
            Groove("X...X...X...X...", "....X.......X...", "X.x.......x...x."),
            Groove("x.X.x.X.x.X.x.X.", "....X.......X.g.", "X.....x.X.....x."),
        ),
        bridges=(
            Groove("L...l.l.L...l.l.", "....X...m...X..h", "X.....x.X.....x."),
            Groove("l.h.L.m.m.l.H.m.", "....N.....h.N...", "X.......X.......", "p...p...p...p..."),
            Groove("X...X...X...X...", "........X.......", "X..x......x....."),
        ),
        fills=("cascade", "cascade", "snare_roll", "flams", "triplets", "stabs", "buildup", "melody"),
        chorus=("half", "half", "ride", "crash"),
    ),
    "punk": Style(
        tempo=(150, 200),
        grooves=(
            Groove("X.x.X.x.X.x.X.x.", "....X.......X...", "X.x.....X.x...x."),
            Groove("X...X...X...X...", "..X...X...X...X.", "X...X...X...X..."),
            Groove("X.X.X.X.X.X.X.X.", "....X.......X...", "X.....x.x.x....."),
        ),
        bridges=(
            Groove("L.l.L.m.L.l.H.m.", "....X...m...X.h.", "X...X...X...X..."),
            Groove("C...C...C...C...", "....X.......X...", "X.......X......."),
        ),
        fills=("snare_roll", "cascade", "buildup", "stabs", "melody"),
        verse=("closed", "half"),
        chorus=("half", "crash", "crash", "ride"),
        loudness=0.15,
        ghosts=0.0,
    ),
    "funk": Style(
        tempo=(82, 118),
        grooves=(
            Groove("X.x.X.x.X.x.X.x.", "....X..g.g..X..g", "X..x......x..x.."),
            Groove("XxxxXxxxXxxxXxxx", "....X..g.g.gX...", "X.x....x..x....x"),
            Groove("x.x.x.o.x.x.x.x.", "g.g.X..g.gg.X.g.", "X.....x..x....x."),
            Groove("X.x.x.x.X.xox.x.", ".g.gX.g..g..r..g", "X.x....x..x....."),
        ),
        bridges=(
            Groove("b.x.b.x.b.x.b.x.", "....X..g.g.gX..g", "X..x..x...x..x..", "..p...p...p...p."),
            Groove("X.x.l.x.X.l.x.x.", "....X..h.g..X.m.", "X..x..x...x....."),
        ),
        fills=("linear", "linear", "barks", "cascade", "flams", "snare_roll", "melody"),
        chorus=("half", "ride", "bell", "closed"),
        swing=_LIGHT,
        ghosts=0.14,
    ),
    "hiphop": Style(
        tempo=(66, 100),
        grooves=(
            Groove("x.x.x.x.x.x.x.x.", "....X.......X...", "X..x...x..X....."),
            Groove("x.xxx.x.x.xxx.x.", "....X..g....X...", "X......x.xX....."),
            Groove("x-x-x-x-x-x-x-xo", "....X..g.g..X...", "X.x.......Xx...."),
        ),
        bridges=(
            Groove("x...x...x...x...", "....s.......s..s", "X.....x...X....."),
            Groove("x.x.x.l.x.x.x.m.", "....X.......X..h", "X..x......X....."),
        ),
        fills=("barks", "linear", "snare_roll", "melody", "triplets"),
        chorus=("closed", "half", "ride"),
        swing=_SWUNG_SIXTEENTHS,
        ghosts=0.08,
        loudness=-0.1,
        laid_back_s=0.010,
    ),
    "jazz": Style(
        tempo=(96, 200),
        grooves=(
            Groove("X..X.xX..X.x", ".....g....g.", "-..-..-..-..", "...p.....p.."),
            Groove("x..X.xx..X.x", "..g.....x...", "-.....-....-", "...p.....p.."),
            Groove("x..X.xx..X..", ".....x..-..-", "..x..-.....x", "...p.....p.."),
        ),
        bridges=(
            Groove("o..x.xo..x.x", ".....g..g...", "-..-..-..-.."),
            Groove("x..X.xx..X.x", "..h..-..m.l.", "x....-..x...", "...p.....p.."),
            Groove("l..l.ml..h.l", ".m...h...m..", "x.....x.....", "...p.....p.."),
        ),
        fills=("triplets", "triplets", "melody", "snare_roll", "linear"),
        verse=("ride",),
        chorus=("ride", "ride", "half"),
        steps=3,
        swing=_SWUNG_TRIPLETS,
        ghosts=0.07,
        loudness=-0.25,
    ),
    "shuffle": Style(
        tempo=(76, 138),
        grooves=(
            Groove("X.xX.xX.xX.x", "...X.....X..", "X..x..X..x.."),
            Groove("X.xX.xX.xX.x", ".g.X.g.g.X.g", "X....xX....."),
            Groove("X.xX.xX.xX.x", "......X.....", "X....x..x..x"),
        ),
        bridges=(
            Groove("b..b..b..b..", "...X.g...X.g", "X.....X..x..", "...p.....p.."),
            Groove("L.lL.lL.mL.l", "...X..m..X.h", "X.....X....."),
        ),
        fills=("triplets", "triplets", "cascade", "snare_roll", "flams"),
        chorus=("ride", "half", "bell"),
        steps=3,
        swing=_SWUNG_TRIPLETS,
        ghosts=0.10,
    ),
    "latin": Style(
        tempo=(64, 124),
        grooves=(
            Groove("x.x.x.x.x.x.x.x.", "s..s..s...s..s..", "X..xX..xX..xX..x", "..p...p...p...p."),
            Groove("X.xxX.xxX.xxX.xx", "..s.s..s..s.s...", "X..xX..xX..xX..x"),
            Groove("b.bxb.xbx.b.b.xb", "..s.......s.h.h.", "X..x....X..x....", "..p...p...p...p."),
        ),
        bridges=(
            Groove("l.x.l.xlx.l.x.l.", "..m.h...m.h..m..", "X..xX..xX..xX..x", "..p...p...p...p."),
            Groove("b..bb.b.b..bb.b.", "..s...m.h.s...mh", "X..x..X.X..x..X.", "..p...p...p...p."),
        ),
        fills=("melody", "melody", "linear", "cascade", "triplets", "barks"),
        verse=("closed", "ride"),
        chorus=("ride", "bell"),
        ghosts=0.05,
        loudness=-0.05,
    ),
    "reggae": Style(
        tempo=(64, 92),
        grooves=(
            Groove("x.X.x.X.x.X.x.X.", "........s.......", "........X......."),
            Groove("X.x.X.xxX.x.X.xx", "........r....s..", "X...X...X...X..."),
            Groove("..X...X...X...X.", "....s..s....s...", "X.......X......."),
        ),
        bridges=(
            Groove("x.X.x.X.x.X.x.X.", "..h..h..r..m.l..", "........X......."),
            Groove("..o...o...o...o.", "........X.......", "X...X...X...X..."),
        ),
        fills=("flams", "triplets", "melody", "barks", "cascade"),
        chorus=("half", "ride", "closed"),
        swing=_SWUNG_SIXTEENTHS,
        laid_back_s=0.006,
    ),
    "disco": Style(
        tempo=(108, 132),
        grooves=(
            Groove("x.o.x.o.x.o.x.o.", "....X.......X...", "X...X...X...X..."),
            Groove("xxoxxxoxxxoxxxox", "....X.......X...", "X...X...X...X..."),
            Groove("x.o.x.o.x.o.x.o.", "....X..g....X.g.", "X...X...X...X..x"),
        ),
        bridges=(
            Groove("X.x.X.x.X.x.X.x.", "....X.......X...", "X...X.x.X...X.x.", "..p...p...p...p."),
            Groove("l.l.L.m.l.h.m.l.", "....X.....h.X...", "X...X...X...X..."),
        ),
        fills=("snare_roll", "cascade", "barks", "buildup", "stabs", "melody"),
        chorus=("closed", "ride", "half"),
    ),
    "metal": Style(
        tempo=(112, 196),
        grooves=(
            Groove("X...X...X...X...", "....X.......X...", "X.x.X...x.x.X...", ".k.k.....k.k...."),
            Groove("X.x.X.x.X.x.X.x.", "....X.......X...", "X.x...x.X.x...x.", ".k.....k.k.....k"),
            Groove("X.X.X.X.X.X.X.X.", "....X.......X...", "X..x..x.X.....x."),
            Groove("C...C...C...C...", "........X.......", "X.x.....X.x.....", ".k.k.....k.k...."),
        ),
        bridges=(
            Groove("L.h.m.m.L.h.h.m.", "....N.......N...", "X.x.....X.x.....", ".k.k.....k.k...."),
            Groove("X...X...X...X...", "........X.......", "X.x.x.x.X.x.x.x.", ".k.k.k.k.k.k.k.k"),
            Groove("C...C...C...C...", "........r.......", "X.....x.X.x...x."),
        ),
        fills=("cascade", "cascade", "snare_roll", "triplets", "linear", "stabs", "buildup"),
        verse=("closed", "half", "half"),
        chorus=("crash", "bell", "ride"),
        loudness=0.22,
        ghosts=0.0,
    ),
    "ballad": Style(
        tempo=(76, 156),
        grooves=(
            Groove("X.x.x.X.x.x.", "......X.....", "X.........x."),
            Groove("X.x.x.X.x.xx", "......X..g..", "X...x.....x."),
            Groove("X.x.x.X.x.x.", "......s.....", "X.........x."),
        ),
        bridges=(
            Groove("L.l.h.m.m.l.", "......X.....", "X.....x....."),
            Groove("X.....X.....", "......X...m.", "X...........", "p.....p....."),
        ),
        fills=("cascade", "triplets", "flams", "snare_roll", "melody"),
        chorus=("ride", "half", "crash"),
        beats=3,
        pulse=1.5,
        time_signature="6-8",
    ),
    "waltz": Style(
        tempo=(84, 176),
        grooves=(
            Groove("X...x.x.x.x.", "....-...-...", "X..........."),
            Groove("x...X.x.x...", "....s...s...", "X.....x.....", "....p...p..."),
            Groove("X.x.x.x.x.x.", "....X...-.g.", "X.......x..."),
        ),
        bridges=(
            Groove("l...h.l.m.l.", "....-...h...", "X...........", "....p...p..."),
            Groove("b...b...b...", "....x...x.g.", "X.....x.....", "....p...p..."),
        ),
        fills=("cascade", "melody", "triplets", "snare_roll"),
        verse=("closed", "ride"),
        chorus=("ride", "half"),
        beats=3,
        time_signature="3-4",
        swing=_LIGHT,
        loudness=-0.15,
    ),
    "breakbeat": Style(
        tempo=(92, 178),
        grooves=(
            Groove("x.x.x.x.x.x.x.x.", "....X..g.g..X..g", "X.x.......xx...."),
            Groove("x.x.x.x.x.x.x.x.", "....X..X.g.X..X.", "X.........x....."),
            Groove("x.x...xx.x..x.x.", "....X...g.g...X.", "X..x.x......x..."),
            Groove("X...x.x.X...x.x.", "....X..g.g....X.", "X.x.......x....."),
        ),
        bridges=(
            Groove("x.x.l.x.x.h.x.m.", "....X..g..g.X..l", "X.x....x..x....."),
            Groove("b.x.b.x.b.x.b.x.", "....X..g.g..X...", "X.x.......x....."),
        ),
        fills=("linear", "linear", "barks", "snare_roll", "melody", "stabs"),
        chorus=("ride", "half", "bell"),
        ghosts=0.10,
    ),
    # Exercises have no grooves: `play_exercise` strikes one drum after the other.
    "exercise": Style(tempo=(60, 140), grooves=(), bridges=(), fills=("melody", "cascade")),
}
