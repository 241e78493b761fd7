"""Players: how a bass, a guitar, keys and others make notes of harmony, beats and strokes.

A player has a *manner*, drawn once for a recording, such as a bass that follows the kick. What repeats in a song
repeats here: a rhythm is drawn once, and played in every bar with small changes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from drum_crnn.band.arrangement import Section
from drum_crnn.band.grid import Grid, strokes
from drum_crnn.band.harmony import Chord
from drum_crnn.music.lanes import LANES
from drum_crnn.music.midi import Note

__all__ = ["PLAYERS", "Part", "Tone", "play"]


class Tone(NamedTuple):
    """A note of an instrument: seconds, a MIDI note, and a velocity of 1–127."""

    time_s: float
    duration_s: float
    pitch: int
    velocity: int


@dataclass(frozen=True, slots=True)
class Part:
    """What one player plays: a program of General MIDI, counted from 0, and tones in order of time."""

    player: str
    program: int
    tones: tuple[Tone, ...]


class _Hit(NamedTuple):
    """A place in a bar at which a player plays, in sixteenths, how long, and how strong (0 to 1)."""

    step: float
    length: float
    accent: float


@dataclass(frozen=True)
class _Context:
    """What a manner sees of a bar."""

    rng: np.random.Generator
    grid: Grid
    bar: int
    section: Section
    motif: tuple[_Hit, ...]
    lowest: int  # of the instrument's usual notes
    kicks: Sequence[Note]  # of this bar
    snares: Sequence[Note]
    memory: list[int]  # of a melody: its last note

    def chord(self, step: float) -> Chord:
        place = self.bar - self.section.first_bar + step / self.grid.n_steps
        return self.section.harmony.chord_at(place)

    def step_of(self, note: Note) -> float:
        return (note.time_s - self.grid.time_s(self.bar, 0)) / self.grid.beat_s * 4


# The notes of a bar: place, and pitches that sound together.
_Bar = list[tuple[_Hit, list[int]]]


@dataclass(frozen=True)
class _Player:
    """A kind of instrument.

    Attributes
    ----------
    programs : tuple of int
        General MIDI, counted from 0.
    lowest : tuple of int
        Range of the lowest of its usual notes.
    manners : tuple of callables
        One is drawn for a recording.
    spread_s : float
        From the first to the last string of a strummed chord.
    """

    programs: tuple[int, ...]
    lowest: tuple[int, int]
    manners: tuple[Callable[[_Context], _Bar], ...]
    spread_s: float = 0.0


def play(rng: np.random.Generator, player: str, grid: Grid, sections: Sequence[Section], drums: Sequence[Note]) -> Part:
    """Let a player play a song to the drums of a performance."""
    of = PLAYERS[player]
    program = int(rng.choice(of.programs))
    lowest = int(rng.integers(of.lowest[0], of.lowest[1] + 1))
    manner = of.manners[int(rng.integers(len(of.manners)))]
    motifs = [_motif(rng, grid.n_steps, density=rng.uniform(0.15, 0.8)) for _ in range(2)]
    lag_s, jitter_s, spread_s = rng.normal(0.0, 0.006), rng.uniform(0.0, 0.010), rng.uniform(0.3, 1.0) * of.spread_s
    loudness = rng.uniform(60.0, 110.0)
    kicks, snares = ([*strokes(drums, LANES.index(lane))] for lane in ("kick", "snare"))
    memory: list[int] = []
    tones: list[Tone] = []
    for section in sections:
        if player not in section.players:
            continue
        motif = motifs[int(rng.integers(2))]
        for bar in range(section.first_bar, min(section.first_bar + section.n_bars, grid.n_bars)):
            start_s, stop_s = grid.time_s(bar, 0), grid.time_s(bar + 1, 0)
            context = _Context(
                rng, grid, bar, section, motif, lowest,
                [note for note in kicks if start_s <= note.time_s < stop_s],
                [note for note in snares if start_s <= note.time_s < stop_s],
                memory,
            )  # fmt: skip
            for hit, pitches in manner(context):
                at_s = grid.time_s(bar, hit.step) + lag_s + rng.normal(0.0, jitter_s)
                step_s = spread_s / max(1, len(pitches) - 1)
                strength = loudness * (0.6 + 0.25 * section.energy + 0.3 * hit.accent) + rng.normal(0.0, 4.0)
                ordered = pitches if rng.random() < 0.6 else pitches[::-1]
                for place, pitch in enumerate(ordered):
                    time_s = at_s + place * step_s
                    duration_s = max(0.05, hit.length * grid.beat_s / 4)
                    if 0.0 <= time_s < grid.end_s:
                        tones.append(Tone(time_s, duration_s, pitch, int(np.clip(strength, 1, 127))))
    return Part(player, program, tuple(sorted(tones)))


def _motif(rng: np.random.Generator, n_steps: int, *, density: float) -> tuple[_Hit, ...]:
    """A rhythm of one bar: strong places are likelier, and a note lasts at most until the next one."""
    weights = np.array([1.0 if step % 4 == 0 else 0.55 if step % 2 == 0 else 0.25 for step in range(n_steps)])
    places = np.flatnonzero(rng.random(n_steps) < np.minimum(1.0, weights * density * 2.0))
    if not places.size:
        places = np.array([0])
    gate = rng.uniform(0.3, 1.0)
    lengths = np.diff(places, append=n_steps + places[0])
    return tuple(
        _Hit(float(place), float(length) * gate, float(weights[place]))
        for place, length in zip(places, lengths, strict=True)
    )


def _changed(context: _Context) -> list[_Hit]:
    """The motif with a few notes left out or moved, as players do."""
    hits = []
    for hit in context.motif:
        if context.rng.random() < 0.12 * (1.5 - context.section.energy):
            continue
        moved = hit.step + (2.0 if context.rng.random() < 0.06 else 0.0)
        hits.append(hit._replace(step=moved))
    return hits


def _every(context: _Context, steps: int, gate: float) -> list[_Hit]:
    return [
        _Hit(float(step), steps * gate, 1.0 if step % 4 == 0 else 0.4) for step in range(0, context.grid.n_steps, steps)
    ]


# ---------------------------------------------------------------------------------------------------------------- bass


def _bass_with_kick(context: _Context) -> _Bar:
    """A note with most kicks, and some between them."""
    rng = context.rng
    hits = [_Hit(context.step_of(kick), 2.0, 0.8) for kick in context.kicks if rng.random() < 0.9]
    hits += [hit for hit in context.motif if rng.random() < 0.2 * context.section.energy]
    return [(hit, [_bass_note(context, hit)]) for hit in sorted(hits)]


def _bass_eighths(context: _Context) -> _Bar:
    return [(hit, [_bass_note(context, hit)]) for hit in _every(context, 2, 0.8)]


def _bass_octaves(context: _Context) -> _Bar:
    hits = _every(context, 2, 0.6)
    return [(hit, [context.chord(hit.step).near(context.lowest) + 12 * (n % 2)]) for n, hit in enumerate(hits)]


def _bass_motif(context: _Context) -> _Bar:
    return [(hit, [_bass_note(context, hit)]) for hit in _changed(context)]


def _bass_walking(context: _Context) -> _Bar:
    """A quarter a beat: chord tones, and steps of the scale towards the next root."""
    bar = []
    for hit in _every(context, 4, 0.95):
        chord = context.chord(hit.step)
        if hit.step == 0:
            pitch = chord.near(context.lowest)
        elif hit.step == context.grid.n_steps - 4:
            following = context.chord(context.grid.n_steps).near(context.lowest)
            pitch = following + int(context.rng.choice([-2, -1, 1, 2]))
        else:
            pitch = chord.near(context.lowest) + int(context.rng.choice(chord.tones))
        bar.append((hit, [pitch]))
    return bar


def _bass_long(context: _Context) -> _Bar:
    return [(hit, [context.chord(hit.step).near(context.lowest)]) for hit in _changes(context)]


def _bass_note(context: _Context, hit: _Hit) -> int:
    """Mostly the root, sometimes its octave or another tone of the chord."""
    chord = context.chord(hit.step)
    root = chord.near(context.lowest)
    chance = context.rng.random()
    if chance < 0.75 or hit.step == 0:
        return root
    return root + (12 if chance < 0.87 else int(context.rng.choice(chord.tones)) % 12)


# -------------------------------------------------------------------------------------------------------------- chords


def _changes(context: _Context) -> list[_Hit]:
    """One long note for each chord that begins in this bar, up to the next one or the end of the bar."""
    n = context.grid.n_steps
    per_chord = context.section.harmony.bars_per_chord
    if per_chord >= 1:
        return [_Hit(0.0, float(n), 0.5)]
    return [_Hit(0.0, n / 2, 0.5), _Hit(n / 2, n / 2, 0.4)]


def _chords(context: _Context, hits: Sequence[_Hit], n: int) -> _Bar:
    return [(hit, context.chord(hit.step).voicing(context.lowest, n)) for hit in hits]


def _chords_motif(context: _Context) -> _Bar:
    return _chords(context, _changed(context), 4)


def _chords_long(context: _Context) -> _Bar:
    return _chords(context, _changes(context), 4)


def _chords_eighths(context: _Context) -> _Bar:
    return _chords(context, [hit for hit in _every(context, 2, 0.7) if context.rng.random() < 0.85], 4)


def _chords_muted(context: _Context) -> _Bar:
    """Short sixteenths of two strings."""
    hits = [hit for hit in _every(context, 1, 0.5) if context.rng.random() < 0.35 + 0.5 * context.section.energy]
    return _chords(context, hits, 2)


def _chords_offbeat(context: _Context) -> _Bar:
    return _chords(context, [_Hit(hit.step + 2.0, 1.2, 0.8) for hit in _every(context, 4, 0.4)], 3)


def _chords_with_drums(context: _Context) -> _Bar:
    """Hits on kicks and snares, which hide them."""
    struck = [note for note in (*context.kicks, *context.snares) if note.velocity > 40 and context.rng.random() < 0.5]
    hits = sorted(_Hit(context.step_of(note), 2.0, 1.0) for note in struck)
    return _chords(context, hits, 4)


def _arpeggio(context: _Context) -> _Bar:
    steps = 1 if context.section.energy > 0.7 else 2
    bar = []
    for n, hit in enumerate(_every(context, steps, 1.2)):
        pitches = context.chord(hit.step).voicing(context.lowest, 5)
        bar.append((hit, [pitches[(n, 2 * n, 7 - n % 8)[context.bar % 3] % len(pitches)]]))
    return bar


# -------------------------------------------------------------------------------------------------------------- melody


def _melody(context: _Context) -> _Bar:
    """Two or three bars of tune, then a rest; steps of the scale, and chord tones on strong beats."""
    if (context.bar - context.section.first_bar) % 4 == 3 and context.rng.random() < 0.7:
        return []
    scale = [
        pitch for pitch in range(context.lowest, context.lowest + 20) if pitch % 12 in context.section.harmony.scale
    ]
    place = context.memory[-1] if context.memory else int(context.rng.integers(len(scale)))
    bar = []
    for hit in _changed(context):
        place = int(np.clip(place + context.rng.choice([-3, -2, -1, -1, 0, 1, 1, 2, 3]), 0, len(scale) - 1))
        pitch = scale[place]
        if hit.accent >= 1.0:
            tones = context.chord(hit.step).voicing(context.lowest, 7)
            pitch = min(tones, key=lambda tone: abs(tone - scale[place]))
        bar.append((hit._replace(length=hit.length * 1.1), [pitch]))
    context.memory[:] = [place]
    return bar


PLAYERS: dict[str, _Player] = {
    "bass": _Player(
        tuple(range(32, 40)),
        (28, 36),
        (_bass_with_kick, _bass_with_kick, _bass_eighths, _bass_octaves, _bass_motif, _bass_walking, _bass_long),
    ),
    "guitar": _Player(
        (24, 25, 26, 27, 28),
        (45, 55),
        (_chords_motif, _chords_eighths, _chords_muted, _chords_offbeat, _arpeggio),
        0.03,
    ),
    "distorted_guitar": _Player(
        (29, 30), (40, 50), (_chords_motif, _chords_eighths, _chords_long, _chords_muted, _chords_with_drums), 0.015
    ),
    "keys": _Player(
        (*range(8), *range(16, 22)),
        (48, 60),
        (_chords_motif, _chords_long, _chords_eighths, _chords_offbeat, _arpeggio, _chords_with_drums),
        0.01,
    ),
    "strings": _Player(
        (40, 41, 42, 44, 48, 49, 50, 51), (48, 64), (_chords_long, _chords_long, _chords_motif, _melody)
    ),
    "pad": _Player(tuple(range(88, 96)), (45, 60), (_chords_long,)),
    "choir": _Player((52, 53, 54), (48, 62), (_chords_long, _melody)),
    "brass": _Player((56, 57, 60, 61, 62, 63), (50, 62), (_chords_motif, _chords_with_drums, _melody)),
    "lead": _Player((*range(64, 76), *range(80, 88)), (58, 70), (_melody,)),
    # Sung by `voice`; the program stands for it in a MIDI file.
    "voice": _Player((54,), (45, 62), (_melody,)),
    "pluck": _Player((*range(8, 16), 45, 46, *range(104, 109)), (55, 72), (_arpeggio, _melody, _chords_motif)),
}
