"""A part for a rhythm game's four-lane drums with cymbals (Pro Drums): chords of gems, in four difficulties.

Transcribed onsets are not a part that two hands and a foot can play from a screen. Strokes of one moment must be one
chord, no more than two of them by hand; a colour holds a drum or a cymbal, never both; double kicks are optional notes.
Easier difficulties leave strokes out, never move them, and each is part of the next harder one.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from drum_crnn.formats.dynamics import GHOST, PLAIN, dynamics_of
from drum_crnn.music.lanes import LANES
from drum_crnn.music.tempo_map import TempoMap
from drum_crnn.music.transcription import Transcription

__all__ = ["BLUE", "DIFFICULTIES", "GREEN", "KICK", "RED", "YELLOW", "Chord", "Gem", "drum_parts"]

KICK, RED, YELLOW, BLUE, GREEN = range(5)

_PADS = {  # lane -> colour, and whether it is a cymbal
    "kick": (KICK, False),
    "snare": (RED, False),
    "hihat": (YELLOW, True),
    "high_tom": (YELLOW, False),
    "mid_tom": (BLUE, False),
    "low_tom": (GREEN, False),
    "crash": (GREEN, True),
    "ride": (BLUE, True),
}
# Where a cymbal goes if a drum has its colour. Two hands strike two gems at most, so the other colour is free.
_OTHER_CYMBAL = {YELLOW: BLUE, BLUE: GREEN, GREEN: BLUE}
# Of more than two strokes by hand at once, the first two of these stay. The last is likeliest to be the hi-hat's pedal.
_HANDS_KEEP = ("snare", "crash", "low_tom", "mid_tom", "high_tom", "ride", "hihat")

# Strokes that are this close belong together: a player cannot tell, and a game would show two gems side by side. Two
# strokes of one lane are further apart.
_CHORD_S = 0.025

# Gaps are compared to so much, or equal bars would lose other strokes.
_JITTER_S = 0.001

# Kicks closer than this need two feet if they go on; a pair alone does only if it is closer still.
_DOUBLE_KICK_S, _DOUBLE_KICK_PAIR_S = 0.17, 0.1


@dataclass(frozen=True, slots=True)
class Gem:
    """One stroke: its colour, whether it is a cymbal, and GHOST, PLAIN or ACCENT."""

    lane: str
    colour: int
    is_cymbal: bool
    dynamic: int


@dataclass(frozen=True, slots=True)
class Chord:
    """The strokes of one moment. `kick` is None, or the kick's gem; an optional kick needs a second pedal."""

    time_s: float
    kick: Gem | None
    hands: tuple[Gem, ...]
    is_optional_kick: bool = False


@dataclass(frozen=True, slots=True)
class _Difficulty:
    """What a difficulty leaves out: strokes closer than the gaps, and more than so many hands at once."""

    name: str
    hand_gap_s: float
    kick_gap_s: float
    max_hands: int
    max_limbs: int


_EASIER = (
    _Difficulty("Hard", 0.12, 0.19, 2, 3),
    _Difficulty("Medium", 0.23, 0.38, 2, 2),
    _Difficulty("Easy", 0.42, 0.8, 1, 2),
)
DIFFICULTIES = ("Expert", *(difficulty.name for difficulty in _EASIER))


def drum_parts(transcription: Transcription, *, tempo_map: TempoMap | None = None) -> dict[str, list[Chord]]:
    """The chords of each difficulty, in order of time, from `Expert` to `Easy`.

    Expert has every stroke that can be played. Each easier one keeps the groove first: backbeats and crashes, then
    toms, then those strokes of hi-hat and ride that fall on beats; and of the kicks, those on beats.

    Parameters
    ----------
    tempo_map : TempoMap, optional
        Says which strokes fall on beats. Without it, those that come with a kick or a snare count as such.
    """
    parts = {DIFFICULTIES[0]: _expert(transcription)}
    chords = parts[DIFFICULTIES[0]]
    for difficulty in _EASIER:
        chords = _thinned(chords, difficulty, tempo_map)
        parts[difficulty.name] = chords
    return parts


def _expert(transcription: Transcription) -> list[Chord]:
    rows = zip(
        transcription.time_s.tolist(),
        transcription.lane.tolist(),
        transcription.velocity.tolist(),
        dynamics_of(transcription).tolist(),
        strict=True,
    )
    groups: list[list[tuple[float, int, int, int]]] = []
    for row in rows:
        if groups and row[0] - groups[-1][0][0] <= _CHORD_S:
            groups[-1].append(row)
        else:
            groups.append([row])
    chords = []
    for group in groups:
        loudest = {lane: (velocity, dynamic) for _, lane, velocity, dynamic in sorted(group, key=lambda row: row[2])}
        gems = [Gem(LANES[lane], *_PADS[LANES[lane]], dynamic) for lane, (_, dynamic) in loudest.items()]
        kick = next((gem for gem in gems if gem.colour == KICK), None)
        hands = sorted((gem for gem in gems if gem.colour != KICK), key=lambda gem: _HANDS_KEEP.index(gem.lane))[:2]
        time_s = sum(row[0] for row in group) / len(group)
        chords.append(Chord(time_s, kick, _without_clash(hands)))
    return _with_optional_kicks(chords)


def _without_clash(hands: Sequence[Gem]) -> tuple[Gem, ...]:
    """Move a cymbal to another colour if a drum has its own."""
    drums = {gem.colour for gem in hands if not gem.is_cymbal}
    moved = (
        replace(gem, colour=_OTHER_CYMBAL[gem.colour]) if gem.is_cymbal and gem.colour in drums else gem
        for gem in hands
    )
    return tuple(sorted(moved, key=lambda gem: gem.colour))


def _with_optional_kicks(chords: Sequence[Chord]) -> list[Chord]:
    """Mark every second kick of a fast run as optional."""
    result = list(chords)
    at = [index for index, chord in enumerate(chords) if chord.kick]
    run: list[int] = []
    for place, index in enumerate(at):
        run.append(index)
        following = at[place + 1] if place + 1 < len(at) else None
        if following is not None and chords[following].time_s - chords[index].time_s < _DOUBLE_KICK_S:
            continue
        is_pair = len(run) == 2 and chords[run[1]].time_s - chords[run[0]].time_s < _DOUBLE_KICK_PAIR_S
        if len(run) > 2 or is_pair:
            for optional in run[1::2]:
                result[optional] = replace(result[optional], is_optional_kick=True)
        run = []
    return result


def _thinned(chords: Sequence[Chord], difficulty: _Difficulty, tempo_map: TempoMap | None) -> list[Chord]:
    lighter = [_lighter(chord, difficulty) for chord in chords]
    order = sorted(range(len(lighter)), key=lambda index: (_rank(lighter[index], tempo_map), lighter[index].time_s))
    hands = _apart(order, lighter, [bool(chord.hands) for chord in lighter], difficulty.hand_gap_s)
    kicks = _apart(order, lighter, [bool(chord.kick) for chord in lighter], difficulty.kick_gap_s)
    thinned = [
        replace(chord, kick=chord.kick if index in kicks else None, hands=chord.hands if index in hands else ())
        for index, chord in enumerate(lighter)
    ]
    return [chord for chord in thinned if chord.kick or chord.hands]


def _lighter(chord: Chord, difficulty: _Difficulty) -> Chord:
    """Without ghosts, optional kicks and strokes for which no limb is left; nothing is marked as an accent."""
    strokes = sorted((gem for gem in chord.hands if gem.dynamic != GHOST), key=lambda gem: _HANDS_KEEP.index(gem.lane))
    kick = None if chord.is_optional_kick else chord.kick
    n_hands = min(difficulty.max_hands, difficulty.max_limbs - (kick is not None))
    kept = sorted(strokes[:n_hands], key=lambda gem: gem.colour)
    return Chord(chord.time_s, kick, tuple(replace(gem, dynamic=PLAIN) for gem in kept))


def _rank(chord: Chord, tempo_map: TempoMap | None) -> tuple[int, int]:
    """What matters more to the groove comes first: what is struck, then where in the beat."""
    lanes = {gem.lane for gem in chord.hands}
    if lanes & {"snare", "crash"}:
        kind = 0
    elif any(not gem.is_cymbal for gem in chord.hands):
        kind = 1
    else:
        kind = 2
    if tempo_map is None:
        return kind, 0 if chord.kick or "snare" in lanes else 1
    position = float(tempo_map.beats_of(chord.time_s))
    fits = (
        level
        for level, division in enumerate((1, 2, 4))
        if abs(position * division - round(position * division)) < 0.12
    )
    return kind, next(fits, 3)


def _apart(order: Iterable[int], chords: Sequence[Chord], wanted: Sequence[bool], gap_s: float) -> set[int]:
    """Those of the wanted chords that stay, taken in order, each if none that stays is nearer than the gap."""
    stays: set[int] = set()
    times: list[float] = []
    for index in order:
        if not wanted[index]:
            continue
        time_s = chords[index].time_s
        place = bisect_left(times, time_s)
        if all(abs(other - time_s) >= gap_s - _JITTER_S for other in times[max(place - 1, 0) : place + 1]):
            insort(times, time_s)
            stays.add(index)
    return stays
