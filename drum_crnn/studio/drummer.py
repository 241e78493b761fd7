"""The drummer: habits that move written strokes in time and shape their strength."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from drum_crnn.studio.groove_params import GrooveParams
from drum_crnn.studio.strokes import LIMBS, Limb, Stroke
from drum_crnn.studio.styles import Style, Swing

__all__ = [
    "Hit",
    "Player",
    "draw_player",
    "humanise",
]


@dataclass(frozen=True, slots=True)
class Player:
    """The habits of a drummer: drawn once for a performance, constant throughout."""

    bias_s: dict[Limb, float]  # mean lateness of each limb
    drift_s: float  # standard deviation of the timing error that all limbs share
    limb_s: float  # ... of a limb's own error, which lasts for a few strokes
    jitter_s: float  # ... of each stroke's own error
    swing: float  # where the swung stroke is played within its unit, 0 to 1
    loudness: float  # log gain
    accents: float  # log gain between strong and weak places of the bar
    edge: float  # chance that the stick hits the edge of a closed hi-hat
    rim: float  # chance that a backbeat is a rimshot
    notes: dict[str, int]  # MIDI note of each kind of drum, constant in a performance


def draw_player(style: Style, params: GrooveParams, rng: np.random.Generator) -> Player:
    """Draw the habits of a drummer who plays `style`."""
    swing = style.swing
    played = swing.written + params.swing * (rng.uniform(swing.low, swing.high) - swing.written)
    bias = {limb: float(rng.normal(0.0, 0.005)) for limb in LIMBS}
    bias["left"] += style.laid_back_s
    return Player(
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


def _note_of(sound: str, *, level: float, player: Player, rng: np.random.Generator) -> int:
    """The MIDI note of a sound: articulations vary from stroke to stroke, the drums of the kit do not."""
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


# People play kicks much softer than backbeats.
_LIMB_LEVEL: dict[Limb, float] = {"right": 1.0, "left": 1.0, "kick": 0.76, "foot": 0.9}


@dataclass(frozen=True, slots=True)
class Hit:
    """One stroke as played."""

    time_s: float
    limb: Limb
    note: int
    velocity: int
    is_grace: bool = False


def _swung(beat: float, *, swing: Swing, played: float) -> float:
    """Move a position within its swing unit: `written` moves to `played`, the positions between in proportion."""
    unit, place = divmod(beat / swing.unit, 1.0)
    if place <= swing.written:
        moved = place * played / swing.written
    else:
        moved = 1.0 - (1.0 - place) * (1.0 - played) / (1.0 - swing.written)
    return (unit + moved) * swing.unit


def _wander(n: int, *, memory: float, rng: np.random.Generator) -> list[float]:
    """`n` values of unit variance; `memory` is the correlation of neighbours (a first-order autoregressive process)."""
    values = [float(rng.standard_normal())]
    fresh = math.sqrt(1.0 - memory**2)
    for shock in rng.standard_normal(n - 1).tolist():
        values.append(memory * values[-1] + fresh * shock)
    return values


def humanise(
    strokes: Sequence[Stroke],
    *,
    style: Style,
    player: Player,
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
    for limb in LIMBS:
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
    """Weight of a place in the bar: 0.5 on the first beat, less on other pulses, negative between them."""
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
