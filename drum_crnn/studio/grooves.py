"""Performances that nobody recorded: a drummer made of pattern tables and habits.

A performance is built in four steps, each a function below:

1. a *form*: intro, verses, choruses and bridges of a few bars, in phrases (`_plan_form`);
2. *bars*: a written groove of the style, varied from bar to bar, with fills at the ends of phrases and crashes where a
   section starts (`_play_form`, `_vary`, `_fill`);
3. *playing*: swing, drift and habits of the limbs move every stroke in time, metre and form shape its strength, and
   flams and drags get their grace notes (`_humanise`);
4. *limits of the body*: two hands and two feet, none of them faster than a person's (`keep_playable`).

The patterns stand in `drum_crnn.studio.styles`.
"""

import difflib
import math
from bisect import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from drum_crnn.lanes import LANE_OF_NOTE
from drum_crnn.midi import Note
from drum_crnn.params import StrictModel
from drum_crnn.studio.performances import Performance
from drum_crnn.studio.styles import LETTERS, STYLES, Groove, Style, Swing

__all__ = ["GrooveParams", "Hit", "Limb", "generate_performances", "keep_playable"]

Limb = Literal["right", "left", "kick", "foot"]  # two hands, right foot on the pedal, left foot on the hi-hat
_LIMBS: tuple[Limb, ...] = ("right", "left", "kick", "foot")
_SPLITS = ("train", "validation", "test")

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Amount = Annotated[float, Field(ge=0.0, le=2.0)]
Bpm = Annotated[float, Field(ge=30.0, le=300.0)]


class GrooveParams(StrictModel):
    """What to generate.

    Attributes
    ----------
    performances : int
        How many; the styles take turns.
    seconds : (float, float)
        Shortest and longest performance that is not a fill, s.
    tempo_bpm : (float, float)
        Slowest and fastest, quarter notes a minute; within these bounds each style keeps to its own tempi.
    styles : tuple of str
        Names from `STYLES`.
    fill_performances : float
        Share of performances that are one fill of a bar or two.
    swing, timing, velocity, ghosts, flams : float
        Amounts: 0 switches the idea off (plays the triplets, the grid, the strengths as written), 1 is what people do,
        2 is twice as much. `flams` stands for drags and ruffs too.
    fills : float
        Chance of a fill at the end of a phrase.
    split : (float, float, float)
        Shares of train, validation and test; they sum to 1.
    """

    performances: int = Field(ge=1)
    seconds: tuple[Annotated[float, Field(gt=0.0)], Annotated[float, Field(gt=0.0, le=3600.0)]]
    tempo_bpm: tuple[Bpm, Bpm]
    styles: tuple[str, ...] = Field(min_length=1)
    fill_performances: Share
    swing: Amount
    timing: Amount
    velocity: Amount
    ghosts: Amount
    flams: Amount
    fills: Share
    split: tuple[Share, Share, Share]

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("seconds", "tempo_bpm"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} should be [lowest, highest], found [{low:g}, {high:g}]")
        for style in self.styles:
            if style not in STYLES:
                near = difflib.get_close_matches(style, STYLES, n=1)
                hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(STYLES)}"
                raise ValueError(f"styles: '{style}' is unknown; {hint}")
        if len(set(self.styles)) < len(self.styles):
            raise ValueError("styles names a style twice")
        if not math.isclose(sum(self.split), 1.0, abs_tol=1e-6):
            raise ValueError(f"split should be shares of {', '.join(_SPLITS)} that sum to 1, found {sum(self.split):g}")
        return self


# --- The drummer ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Player:
    """Habits of the one who plays a performance: drawn once, held to its end."""

    bias_s: dict[Limb, float]  # by which a limb is early or late
    drift_s: float  # standard deviation of what all limbs share
    limb_s: float  # ... of what a limb keeps for a few strokes
    jitter_s: float  # ... of each stroke on its own
    swing: float  # where the swung stroke is played within its unit, 0 to 1
    loudness: float  # log gain
    accents: float  # log gain between strong and weak places of the bar
    edge: float  # chance that the stick meets the edge of a closed hi-hat
    rim: float  # chance that a backbeat is a rimshot
    notes: dict[str, int]  # the drum of each kind that this kit has


def _draw_player(style: Style, params: GrooveParams, rng: np.random.Generator) -> _Player:
    swing = style.swing
    played = swing.written + params.swing * (rng.uniform(swing.low, swing.high) - swing.written)
    bias = {limb: float(rng.normal(0.0, 0.005)) for limb in _LIMBS}
    bias["left"] += style.laid_back_s
    return _Player(
        bias_s=bias,
        drift_s=float(rng.uniform(0.009, 0.019)),
        limb_s=float(rng.uniform(0.004, 0.010)),
        jitter_s=float(rng.uniform(0.004, 0.010)),
        swing=float(np.clip(played, 0.4, 0.8)),
        loudness=float(rng.normal(style.loudness, 0.2)),
        accents=float(rng.uniform(0.05, 0.4)),
        edge=float(rng.choice((0.0, 0.3, 0.8))),
        rim=float(rng.choice((0.05, 0.2, 0.7))),
        notes={
            "kick": int(rng.choice((36, 36, 36, 35))),
            "high_tom": int(rng.choice((48, 50))),
            "mid_tom": int(rng.choice((45, 47))),
            "low_tom": int(rng.choice((41, 43))),
            "crash_ride": int(rng.choice((49, 57))),
        },
    )


def _note_of(sound: str, *, level: float, player: _Player, rng: np.random.Generator) -> int:
    """The MIDI note for a sound: articulations vary from stroke to stroke, drums stay where they stand."""
    chance = rng.random()
    match sound:
        case "snare":
            return 40 if level > 0.7 and chance < player.rim else 38
        case "side_stick":
            return 37
        case "rimshot":
            return 40
        case "closed":
            return 22 if level > 0.4 and chance < player.edge else 42
        case "half" | "open":
            return 26 if chance < 0.2 + 0.5 * player.edge else 46
        case "pedal":
            return 44
        case "ride":
            return 59 if level > 0.7 and chance < 0.06 else 51
        case "bell":
            return 53
        case "crash":
            return int(rng.choice((49, 57, 52, 55), p=(0.50, 0.32, 0.09, 0.09)))
        case _:
            return player.notes[sound]


# --- Strokes and bars -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Stroke:
    """One intended stroke, before a person plays it."""

    beat: float  # quarter notes from the start of the performance
    limb: Limb
    sound: str
    level: float  # of full strength, 0 to 1
    graces: int = 0
    gain: float = 0.0  # log gain from section, phrase and fill


def _stroke(letter: str, beat: float, limb: Limb, *, own: str, gain: float = 0.0) -> _Stroke:
    meaning = LETTERS[letter]
    sound = own if meaning.sound == "own" else meaning.sound
    return _Stroke(beat, limb, sound, meaning.level, meaning.graces, gain)


def _bar_strokes(groove: Groove, *, start: float, steps: int, surface: str, gain: float) -> list[_Stroke]:
    """The strokes of one bar that starts at beat `start`."""
    strokes = []
    cymbal = "crash_ride" if surface == "crash" else surface  # one crash is ridden, not each in turn
    own: dict[Limb, str] = {"right": cymbal, "left": "snare", "kick": "kick", "foot": "pedal"}
    on_hat = surface in ("closed", "half")
    for limb in _LIMBS:
        for step, letter in enumerate(getattr(groove, limb)):
            if letter == "." or (letter == "p" and on_hat and groove.right[step] in "g-xXo"):
                continue  # the pedal is silent under a stick on the hi-hat
            strokes.append(_stroke(letter, start + step / steps, limb, own=own[limb], gain=gain))
    return strokes


def _vary(groove: Groove, style: Style, params: GrooveParams, rng: np.random.Generator) -> Groove:
    """No bar quite like the last: kicks come and go, hats open, ghosts fill gaps, accents get grace notes."""
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


def _with_crash(groove: Groove) -> Groove:
    """Crash and kick on the first step."""
    left = groove.left if groove.left[0] in ".g" else "." + groove.left[1:]
    return replace(groove, right="C" + groove.right[1:], left=left, kick="X" + groove.kick[1:])


# --- Fills: each gives `n` letters, one a slot, "." a rest, "U" floor tom and snare at once --------------------------


def _snare_roll(n: int, rng: np.random.Generator) -> str:
    """One drum, accents every three or four."""
    every = int(rng.choice((3, 4, 8)))
    return "".join("N" if i % every == 0 else "n" for i in range(n))


def _cascade(n: int, rng: np.random.Generator) -> str:
    """Down the kit, an equal share on each drum."""
    drums = str(rng.choice(("nhml", "hml", "hhml", "hmml", "hmm")))
    letters = [drums[i * len(drums) // n] for i in range(n)]
    return "".join(d.upper() if i == 0 or letters[i - 1] != d else d for i, d in enumerate(letters))


def _triplets(n: int, rng: np.random.Generator) -> str:
    """Groups of three, each on another drum or led by one."""
    drums = str(rng.choice(("nhml", "hmln", "nlhm", "lmhn")))
    groups = ((d.upper() + d + d) if rng.random() < 0.6 else (d.upper() + "nn") for d in drums * n)
    return "".join(group for group, _ in zip(groups, range(n), strict=False))[:n]


def _linear(n: int, rng: np.random.Generator) -> str:
    """One limb at a time, kicks between the hands."""
    cells = ("Nk", "hlk", "Nnkk", "Hhkk", "HkMk", "Nnk", "mmLk", "okn")
    return "".join(str(rng.choice(cells)) for _ in range(n))[:n]


def _buildup(n: int, rng: np.random.Generator) -> str:
    """Both hands on floor tom and snare: every other slot, then all of the second half."""
    dense_from = n // 2 if rng.random() < 0.6 else n
    return "".join("U" if i % 2 == 0 or i >= dense_from else "." for i in range(n))


def _stabs(n: int, rng: np.random.Generator) -> str:
    """Crashes with the kick, now and then, and the snare between them."""
    return "".join("C" if i % 3 == 0 else ("N" if rng.random() < 0.35 else ".") for i in range(n))


def _flams(n: int, rng: np.random.Generator) -> str:
    """Flams in eighths, answered by the toms."""
    return "".join("f." if rng.random() < 0.55 else str(rng.choice(("hh", "hm", "mm", "ml"))) for _ in range(n))[:n]


def _melody(n: int, rng: np.random.Generator) -> str:
    """A walk among snare and toms, with breath."""
    kit, letters = "nhhmml", ""
    at = int(rng.integers(len(kit)))
    for slot in range(n):
        at = int(np.clip(at + rng.integers(-2, 3), 0, len(kit) - 1))
        letters += "." if slot and rng.random() < 0.15 else (kit[at].upper() if rng.random() < 0.35 else kit[at])
    return letters


def _barks(n: int, rng: np.random.Generator) -> str:
    """Open hi-hat against snare and kick."""
    return "".join(str(rng.choice(("o.", "Nk", "oN", "nn", "k.", ".N", "hl"))) for _ in range(n))[:n]


_FILLS: dict[str, Callable[[int, np.random.Generator], str]] = {
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


def _fill(
    style: Style, *, start: float, length: float, bpm: float, gain: float, rng: np.random.Generator
) -> list[_Stroke]:
    """Fill the `length` beats from `start` with one of the style's kinds, growing louder."""
    kind = str(rng.choice(style.fills))
    rates = (3, 6) if kind == "triplets" or style.steps == 3 else (2, 4, 4, 8)
    rate = int(rng.choice(rates))
    while rate > min(rates) and 60.0 / bpm / rate < _FASTEST_SLOT_S:
        rate = max(r for r in rates if r < rate)
    letters = _FILLS[kind](max(1, round(length * rate)), rng)
    growth = rng.uniform(-0.1, 0.5)
    strokes = []
    hand = 0
    for slot, letter in enumerate(letters):
        if letter == ".":
            continue
        beat = start + slot / rate
        rise = gain + growth * (slot / len(letters) - 0.6)
        if letter == "k":
            strokes.append(_stroke("k", beat, "kick", own="kick", gain=rise))
        elif letter == "U":
            strokes.append(_stroke("l", beat, "right", own="snare", gain=rise))
            strokes.append(_stroke("n", beat, "left", own="snare", gain=rise))
        else:
            limb: Limb = "left" if hand % 2 else "right"
            hand += 1
            strokes.append(_stroke(letter, beat, limb, own="snare", gain=rise))
            if letter == "C":
                strokes.append(_stroke("X", beat, "kick", own="kick", gain=rise))
    if not {"k", "C"} & set(letters) and rng.random() < 0.5:  # a foot keeps the pulse
        for i in range(int(length / style.pulse)):
            strokes.append(_stroke("x", start + i * style.pulse, "kick", own="kick", gain=gain))
    elif "o" not in letters and rng.random() < 0.6:
        for i in range(int(length / style.pulse)):
            strokes.append(_stroke("p", start + i * style.pulse, "foot", own="pedal", gain=gain))
    return strokes


# --- Form -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Section:
    kind: Literal["intro", "verse", "chorus", "bridge"]
    first_bar: int
    n_bars: int


_DYNAMICS = {"intro": -0.10, "verse": -0.12, "chorus": 0.14, "bridge": 0.0}  # log gain
_FORM: tuple[Literal["verse", "chorus", "bridge"], ...] = ("verse", "chorus", "verse", "chorus", "bridge", "chorus")


def _plan_form(n_bars: int, rng: np.random.Generator) -> list[_Section]:
    """Sections of four or eight bars (the last as many as are left) behind an intro that some performances have."""
    sections = []
    bar = 0
    if n_bars > 6 and rng.random() < 0.4:
        bar = int(rng.choice((1, 2)))
        sections.append(_Section("intro", 0, bar))
    at = int(rng.integers(len(_FORM)))  # recordings need not start with the first verse
    while bar < n_bars:
        length = min(n_bars - bar, 8 if n_bars > 24 and rng.random() < 0.5 else 4)
        sections.append(_Section(_FORM[at % len(_FORM)], bar, length))
        bar += length
        at += 1
    return sections


def _play_form(
    style: Style, *, n_bars: int, bpm: float, params: GrooveParams, rng: np.random.Generator
) -> list[_Stroke]:
    """Every stroke of a performance of `n_bars` bars, and mostly a last crash behind them."""
    strokes: list[_Stroke] = []
    grooves = {kind: style.grooves[int(rng.integers(len(style.grooves)))] for kind in ("verse", "chorus")}
    grooves["intro"] = grooves["verse"]
    grooves["bridge"] = style.bridges[int(rng.integers(len(style.bridges)))]
    surfaces = {kind: str(rng.choice(style.verse)) for kind in ("intro", "verse")}
    surfaces |= {kind: str(rng.choice(style.chorus)) for kind in ("chorus", "bridge")}
    crash_next = False
    for section in _plan_form(n_bars, rng):
        phrase = 4 if section.n_bars % 4 == 0 else section.n_bars
        pedal = bool(rng.random() < 0.7)
        for i in range(section.n_bars):
            start = float((section.first_bar + i) * style.beats)
            gain = _DYNAMICS[section.kind] + 0.10 * ((i % phrase) / phrase - 0.4)
            groove = _vary(grooves[section.kind], style, params, rng)
            if section.kind == "intro":
                groove = replace(groove, left=groove.left.replace("g", "."))
            foot_is_free = section.kind == "bridge" or surfaces[section.kind] in ("ride", "bell", "crash")
            if pedal and foot_is_free and not groove.foot:
                groove = replace(groove, foot=_pedal_row(style))
            if crash_next or (i == 0 and section.first_bar and rng.random() < 0.9):
                groove = _with_crash(groove)
            bar = _bar_strokes(groove, start=start, steps=style.steps, surface=surfaces[section.kind], gain=gain)
            ends_phrase = (i + 1) % phrase == 0
            crash_next = False
            if ends_phrase and rng.random() < params.fills:
                length = _fill_length(style, rng)
                fill_start = start + style.beats - length
                bar = [stroke for stroke in bar if stroke.beat < fill_start - 1e-9]
                bar += _fill(style, start=fill_start, length=length, bpm=bpm, gain=gain, rng=rng)
                crash_next = bool(rng.random() < 0.75)
            strokes += bar
    if rng.random() < 0.7:
        strokes += _final_crash(float(n_bars * style.beats))
    return strokes


def _pedal_row(style: Style) -> str:
    """The left foot on the second and fourth pulse, or on all but the first of three."""
    n_steps = style.beats * style.steps
    per_pulse = round(style.pulse * style.steps)
    weak = [step for step in range(0, n_steps, per_pulse) if step % (2 * per_pulse) or (style.beats == 3 and step)]
    return "".join("p" if step in weak else "." for step in range(n_steps))


def _fill_length(style: Style, rng: np.random.Generator) -> float:
    """One pulse, two, or the whole bar, in beats."""
    return min(float(style.beats), style.pulse * float(rng.choice((1, 2, 2, style.beats), p=(0.2, 0.25, 0.25, 0.3))))


def _final_crash(beat: float) -> list[_Stroke]:
    return [_stroke("C", beat, "right", own="crash"), _stroke("X", beat, "kick", own="kick")]


def _play_fills(style: Style, *, bpm: float, rng: np.random.Generator) -> list[_Stroke]:
    """A short performance: one or two bars of nothing but a fill, and the crash it leads to."""
    n_bars = int(rng.choice((1, 1, 2)))
    strokes = []
    for bar in range(n_bars):
        start = float(bar * style.beats)
        strokes += _fill(style, start=start, length=float(style.beats), bpm=bpm, gain=0.0, rng=rng)
    return strokes + _final_crash(float(n_bars * style.beats))


_EXERCISE_SOUNDS: tuple[tuple[Limb, str], ...] = (
    ("kick", "kick"),
    ("left", "snare"),
    ("left", "side_stick"),
    ("right", "closed"),
    ("right", "open"),
    ("foot", "pedal"),
    ("right", "high_tom"),
    ("right", "mid_tom"),
    ("right", "low_tom"),
    ("right", "crash"),
    ("right", "ride"),
    ("right", "bell"),
)


def _play_exercise(style: Style, *, n_bars: int, rng: np.random.Generator) -> list[_Stroke]:
    """Drum after drum, a few strokes on each from soft to loud or at any strength, some with the kick."""
    strokes: list[_Stroke] = []
    beat, end = 0.0, float(n_bars * style.beats)
    while beat < end:
        limb, sound = _EXERCISE_SOUNDS[int(rng.integers(len(_EXERCISE_SOUNDS)))]
        n_strokes = int(rng.integers(2, 7))
        spacing = float(rng.choice((0.5, 1.0, 1.0, 2.0)))
        ramp = rng.random() < 0.5
        with_kick = limb != "kick" and rng.random() < 0.2
        for i in range(n_strokes):
            level = 0.25 + 0.7 * (i / n_strokes if ramp else float(rng.random()))
            if beat < end:
                strokes.append(_Stroke(beat, limb, sound, level))
                if with_kick:
                    strokes.append(_Stroke(beat, "kick", "kick", level))
            beat += spacing
    return strokes


# --- Playing ----------------------------------------------------------------------------------------------------------


# Feet do not reach what hands do: people's kicks are a good deal softer than their backbeats.
_LIMB_LEVEL: dict[Limb, float] = {"right": 1.0, "left": 1.0, "kick": 0.76, "foot": 0.9}


@dataclass(frozen=True, slots=True)
class Hit:
    """One stroke as played: what sounds, when, and which limb did it."""

    time_s: float
    limb: Limb
    note: int
    velocity: int
    is_grace: bool = False


def _swung(beat: float, *, swing: Swing, played: float) -> float:
    """Move a position within its swing unit: `written` goes to `played`, what lies between in proportion."""
    unit, place = divmod(beat / swing.unit, 1.0)
    if place <= swing.written:
        moved = place * played / swing.written
    else:
        moved = 1.0 - (1.0 - place) * (1.0 - played) / (1.0 - swing.written)
    return (unit + moved) * swing.unit


def _wander(n: int, *, memory: float, rng: np.random.Generator) -> list[float]:
    """`n` values of unit variance, each remembering the last by the factor `memory` (a first-order process)."""
    values = [float(rng.standard_normal())]
    fresh = math.sqrt(1.0 - memory**2)
    for shock in rng.standard_normal(n - 1).tolist():
        values.append(memory * values[-1] + fresh * shock)
    return values


def _humanise(
    strokes: Sequence[_Stroke],
    *,
    style: Style,
    player: _Player,
    bpm: float,
    params: GrooveParams,
    rng: np.random.Generator,
) -> list[Hit]:
    """Play the strokes: times in seconds from the first beat (some a little negative), grace notes included."""
    beats = np.arange(math.ceil(max(stroke.beat for stroke in strokes)) + 2)
    # People drift at several speeds at once: one slow wave and one from beat to beat.
    slow, quick = (_wander(len(beats), memory=memory, rng=rng) for memory in (0.95, 0.6))
    drift = 0.8 * np.asarray(slow) + 0.6 * np.asarray(quick)
    hits: list[Hit] = []
    for limb in _LIMBS:
        own = [stroke for stroke in strokes if stroke.limb == limb]
        own.sort(key=lambda stroke: stroke.beat)
        timing = _wander(len(own) + 1, memory=0.7, rng=rng)
        strength = _wander(len(own) + 1, memory=0.6, rng=rng)
        for stroke, late, strong in zip(own, timing, strength, strict=False):
            deviation = player.bias_s[limb] + player.drift_s * float(np.interp(stroke.beat, beats, drift))
            deviation += player.limb_s * late + player.jitter_s * float(rng.standard_normal())
            time_s = _swung(stroke.beat, swing=style.swing, played=player.swing) * 60.0 / bpm
            time_s += params.timing * deviation
            shape = player.loudness + stroke.gain + player.accents * _metre(stroke.beat, style)
            shape += 0.12 * strong + 0.08 * float(rng.standard_normal())
            level = stroke.level * _LIMB_LEVEL[limb] * math.exp(params.velocity * shape)
            note = _note_of(stroke.sound, level=stroke.level, player=player, rng=rng)
            hits.append(Hit(time_s, limb, note, _velocity(level)))
            hits += _grace_notes(hits[-1], stroke.graces if params.flams else 0, rng)
    return hits


def _metre(beat: float, style: Style) -> float:
    """Weight of a place in the bar: 0.5 on the first beat, less on pulses, below 0 between them."""
    place = round(beat * 48) % (style.beats * 48)  # ticks, in which thirds and eighths of a beat are whole
    pulse = round(style.pulse * 48)
    if place == 0:
        return 0.5
    if place % pulse == 0:
        return 0.3
    return -0.2 if place % (pulse // 2) == 0 else -0.5


def _grace_notes(main: Hit, n_graces: int, rng: np.random.Generator) -> list[Hit]:
    """Softer strokes of the other hand just before `main`: one is a flam, more are the bounces of a drag."""
    if not n_graces:
        return []
    if n_graces > 1 and rng.random() < 1 / 3:
        n_graces = 3  # a ruff
    other: Limb = "right" if main.limb == "left" else "left"
    gap = float(rng.uniform(0.020, 0.040) if n_graces == 1 else rng.uniform(0.027, 0.038))
    level = main.velocity / 127 * float(rng.uniform(0.3, 0.6))
    return [
        Hit(main.time_s - gap * i, other, main.note, _velocity(level), is_grace=True) for i in range(1, n_graces + 1)
    ]


def _velocity(level: float) -> int:
    return int(np.clip(round(127 * level), 1, 127))


# --- Limits of the body -----------------------------------------------------------------------------------------------

_LIMB_GAP_S = 0.080  # a hand or a foot needs this long between two strokes of its own
_BOUNCE_GAP_S = 0.018  # ... but a stick bounces faster on one drum, which is what grace notes are
_LANE_GAP_S = 0.012  # nobody tells two strokes on one drum apart that are nearer


def _clash(a: Hit, b: Hit) -> bool:
    gap = abs(a.time_s - b.time_s)
    same_lane = LANE_OF_NOTE[a.note] == LANE_OF_NOTE[b.note]
    if same_lane and gap < _LANE_GAP_S:
        return True
    if a.limb != b.limb:
        return False
    bounces = same_lane and (a.is_grace or b.is_grace)
    return gap < (_BOUNCE_GAP_S if bounces else _LIMB_GAP_S)


def keep_playable(hits: Sequence[Hit]) -> list[Hit]:
    """Leave out what two hands and two feet cannot play.

    Of two strokes that one limb cannot both make, or that come to one drum at once, the louder stays; a grace note
    stays before any other, since a flam is meant: whoever plays one lets go of the hi-hat.

    Returns
    -------
    list of Hit
        Sorted by time. Any two of one limb are 80 ms apart (bounces on one drum 18 ms), so that no more than two
        strokes of hands fall within 15 ms; any two of one lane are 12 ms apart.
    """
    times: list[float] = []
    kept: list[Hit] = []  # sorted by time, as `times` is
    for hit in sorted(hits, key=lambda hit: (not hit.is_grace, -hit.velocity, hit.time_s)):
        at = bisect(times, hit.time_s)
        first, end = bisect(times, hit.time_s - _LIMB_GAP_S), bisect(times, hit.time_s + _LIMB_GAP_S)
        if not any(_clash(hit, other) for other in kept[first:end]):
            times.insert(at, hit.time_s)
            kept.insert(at, hit)
    return kept


# --- Performances -----------------------------------------------------------------------------------------------------


def generate_performances(params: GrooveParams, *, seed: int) -> list[Performance]:
    """Invent `params.performances` performances, the styles taking turns.

    Each is drawn from a random stream of its own, so that performance i is the same whatever `params.performances`
    is, and no two share more than the patterns of their style.

    Parameters
    ----------
    params : GrooveParams
    seed : int
        Not negative (numpy raises ValueError). The same seed and parameters give the same performances.

    Returns
    -------
    list of Performance
        Ids are "STYLE/NUMBER". Beats last between the two `params.seconds`, rounded down to whole bars (at least one);
        fills are one or two bars. Notes are sorted, the first 0.1 to 0.5 s after the start. Within each style the
        splits take turns in the shares of `params.split`.
    """
    offset = seed % _SPLIT_CYCLE
    performances = []
    turns = _split_turns(params.split, offset + len(params.styles) + params.performances // len(params.styles) + 1)
    for index in range(params.performances):
        turn, style = divmod(index, len(params.styles))
        # A step further for every style and every turn: even few performances get all the splits there are.
        split = turns[offset + style + turn]
        rng = np.random.default_rng(np.random.SeedSequence([seed, index]))
        performances.append(_perform(params.styles[style], index=index, split=split, params=params, rng=rng))
    return performances


def _perform(name: str, *, index: int, split: str, params: GrooveParams, rng: np.random.Generator) -> Performance:
    style = STYLES[name]
    bpm = _draw_tempo(style, params.tempo_bpm, rng)
    player = _draw_player(style, params, rng)
    n_bars = max(1, int(rng.uniform(*params.seconds) * bpm / 60.0 / style.beats))
    is_fill = bool(rng.random() < params.fill_performances)
    if is_fill:
        strokes = _play_fills(style, bpm=bpm, rng=rng)
    elif name == "exercise":
        strokes = _play_exercise(style, n_bars=n_bars, rng=rng)
    else:
        strokes = _play_form(style, n_bars=n_bars, bpm=bpm, params=params, rng=rng)
    hits = keep_playable(_humanise(strokes, style=style, player=player, bpm=bpm, params=params, rng=rng))
    lead_in = float(rng.uniform(0.1, 0.5)) - hits[0].time_s
    return Performance(
        id=f"{name}/{index:04d}",
        drummer="generator",
        session=name,
        style=name,
        bpm=bpm,
        beat_type="fill" if is_fill else "beat",
        time_signature=style.time_signature,
        split=split,
        # Microseconds, lest the last bits of exp() on another machine show in a file.
        notes=tuple(sorted(Note(round(hit.time_s + lead_in, 6), hit.note, hit.velocity) for hit in hits)),
    )


def _draw_tempo(style: Style, bounds: tuple[float, float], rng: np.random.Generator) -> float:
    """A tempo (bpm) of the style within `bounds`; the nearest bound if the style knows none there."""
    low, high = (float(np.clip(tempo, *bounds)) for tempo in style.tempo)
    return float(np.clip(round(rng.uniform(low, high), 1), low, high))


_SPLIT_CYCLE = 20  # after so many turns shares in twentieths come out even


def _split_turns(shares: tuple[float, float, float], n_turns: int) -> list[str]:
    """The split of each turn: always the one that is furthest behind its share."""
    turns: list[str] = []
    for n in range(1, n_turns + 1):
        behind = [share * n - turns.count(name) for share, name in zip(shares, _SPLITS, strict=True)]
        turns.append(_SPLITS[int(np.argmax(np.round(behind, 9)))])
    return turns
