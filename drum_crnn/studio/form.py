"""The form of a performance: sections, phrases, fills and crashes; or an exercise, or a fill alone."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from drum_crnn.studio.fills import fill
from drum_crnn.studio.groove_params import GrooveParams
from drum_crnn.studio.strokes import Limb, Stroke, bar_strokes, stroke_of, vary, with_crash
from drum_crnn.studio.styles import Style

__all__ = [
    "play_exercise",
    "play_fills",
    "play_form",
]


@dataclass(frozen=True, slots=True)
class _Section:
    kind: Literal["intro", "verse", "chorus", "bridge"]
    first_bar: int
    n_bars: int


_DYNAMICS = {"intro": -0.10, "verse": -0.12, "chorus": 0.14, "bridge": 0.0}  # log gain
_FORM: tuple[Literal["verse", "chorus", "bridge"], ...] = ("verse", "chorus", "verse", "chorus", "bridge", "chorus")


def _plan_form(n_bars: int, rng: np.random.Generator) -> list[_Section]:
    """Sections of four or eight bars, the last one shorter if need be; some performances begin with an intro."""
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


def play_form(style: Style, *, n_bars: int, bpm: float, params: GrooveParams, rng: np.random.Generator) -> list[Stroke]:
    """All strokes of a performance of `n_bars` bars; most performances end with a crash after the last bar."""
    strokes: list[Stroke] = []
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
            groove = vary(grooves[section.kind], style, params, rng)
            if section.kind == "intro":
                groove = replace(groove, left=groove.left.replace("g", "."))
            foot_is_free = section.kind == "bridge" or surfaces[section.kind] in ("ride", "bell", "crash")
            if pedal and foot_is_free and not groove.foot:
                groove = replace(groove, foot=_pedal_row(style))
            if crash_next or (i == 0 and section.first_bar and rng.random() < 0.9):
                groove = with_crash(groove)
            bar = bar_strokes(groove, start=start, steps=style.steps, surface=surfaces[section.kind], gain=gain)
            ends_phrase = (i + 1) % phrase == 0
            crash_next = False
            if ends_phrase and rng.random() < params.fills:
                length = _fill_length(style, rng)
                fill_start = start + style.beats - length
                bar = [stroke for stroke in bar if stroke.beat < fill_start - 1e-9]
                bar += fill(style, start=fill_start, length=length, bpm=bpm, gain=gain, rng=rng)
                crash_next = bool(rng.random() < 0.75)
            strokes += bar
    if rng.random() < 0.7:
        strokes += _final_crash(float(n_bars * style.beats))
    return strokes


def _pedal_row(style: Style) -> str:
    """The left foot on the second and fourth pulse; in bars of three, on the second and third."""
    n_steps = style.beats * style.steps
    per_pulse = round(style.pulse * style.steps)
    weak = [step for step in range(0, n_steps, per_pulse) if step % (2 * per_pulse) or (style.beats == 3 and step)]
    return "".join("p" if step in weak else "." for step in range(n_steps))


def _fill_length(style: Style, rng: np.random.Generator) -> float:
    """One pulse, two, or the whole bar, in beats."""
    return min(float(style.beats), style.pulse * float(rng.choice((1, 2, 2, style.beats), p=(0.2, 0.25, 0.25, 0.3))))


def _final_crash(beat: float) -> list[Stroke]:
    return [stroke_of("C", beat, "right", own="crash"), stroke_of("X", beat, "kick", own="kick")]


def play_fills(style: Style, *, bpm: float, rng: np.random.Generator) -> list[Stroke]:
    """A short performance: one or two bars of nothing but a fill, and the crash it leads to."""
    n_bars = int(rng.choice((1, 1, 2)))
    strokes = []
    for bar in range(n_bars):
        start = float(bar * style.beats)
        strokes += fill(style, start=start, length=float(style.beats), bpm=bpm, gain=0.0, rng=rng)
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


def play_exercise(style: Style, *, n_bars: int, rng: np.random.Generator) -> list[Stroke]:
    """One drum after the other: a few strokes on each, from soft to loud or at random strengths, some with the kick."""
    strokes: list[Stroke] = []
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
                strokes.append(Stroke(beat, limb, sound, level))
                if with_kick:
                    strokes.append(Stroke(beat, "kick", "kick", level))
            beat += spacing
    return strokes
