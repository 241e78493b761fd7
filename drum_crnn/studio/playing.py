"""Variations of how a performance is played: which notes, how hard, and how fast.

Recorded performances come from a few drummers, each with habits: hi-hat on the beat, few crashes, soft snares. A varied
performance keeps their timing, but changes which drums are struck, and how hard. So a model does not learn the habits
of a few. The labels of a recording are the varied notes.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from drum_crnn.foundation.params import Effect, StrictModel
from drum_crnn.music.lanes import LANE_OF_NOTE, LANES, TOM_LANES
from drum_crnn.music.midi import Note

__all__ = ["Played", "PlayingVariation", "cut", "vary_playing"]

_HIHAT, _KICK, _SNARE, _RIDE = (LANES.index(lane) for lane in ("hihat", "kick", "snare", "ride"))
_NOTE_OF_TOM = (50, 47, 43)
_DROPS = {_HIHAT: "drop_hats", _KICK: "drop_kicks", _SNARE: "drop_snares"}
_CROSS_STICK, _SNARE_NOTE = 37, 38
# Fast playing of the feet. Of steps of a quarter note, one is drawn that gives so many strokes a second.
_STEPS_PER_BEAT = (2, 3, 4, 6, 8)
_STROKES_PER_S = (7.0, 15.0)
_RUN_STEPS = (4, 33)
_RIDE_BOW, _RIDE_BELL, _CRASHES, _OPEN_HAT, _CLOSED_HAT, _PEDAL = 51, 53, (49, 57), 46, 42, 44


class PlayingVariation(StrictModel):
    """Part `playing` of a variation: other notes.

    `probability` is the share of recordings that are varied at all; those of the effects apply to these. The comments
    of `variations.yaml` name the amounts and their units, and docs/studio.md explains the effects.
    """

    enabled: bool
    probability: float = Field(ge=0, le=1)
    tempo: Effect
    velocity_lift: Effect
    crash_ride: Effect
    ride_bell: Effect
    ride_hats: Effect
    crash_hats: Effect
    tom_hats: Effect
    open_hats: Effect
    tight_hats: Effect
    drop_hats: Effect
    drop_pedals: Effect
    drop_kicks: Effect
    drop_snares: Effect
    tom_snares: Effect
    cross_sticks: Effect
    shuffle_toms: Effect
    added_crashes: Effect
    drop_ghosts: Effect
    double_kicks: Effect
    blast_beats: Effect

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in type(self).model_fields:
            effect = getattr(self, name)
            if isinstance(effect, Effect) and name != "tempo" and not 0 <= effect.range[0] <= effect.range[1] <= 1:
                raise ValueError(f"{name}.range is a share: it must lie within [0, 1]")
        if not 0.5 <= self.tempo.range[0] <= self.tempo.range[1] <= 2:
            raise ValueError("tempo.range must lie within [0.5, 2]")
        return self


def cut(notes: Sequence[Note], start_s: float, end_s: float, *, lead_s: float) -> list[Note]:
    """The notes from `start_s` up to `end_s` (exclusive), moved so that `start_s` becomes `lead_s`."""
    shift = lead_s - start_s
    return [replace(note, time_s=note.time_s + shift) for note in notes if start_s <= note.time_s < end_s]


class Played(NamedTuple):
    """Notes as they are played, in order of time, and the factor of their tempo."""

    notes: list[Note]
    tempo: float


def vary_playing(rng: np.random.Generator, notes: Sequence[Note], params: PlayingVariation, *, bpm: float) -> Played:
    """Vary the notes of a performance, whose tempo is `bpm`.

    Every variation draws equally many numbers from `rng` whether it acts or not, in a fixed order. So a switch does not
    change the other variations. Of two notes with one number at one time, the louder stays.
    """
    acts = rng.random() < params.probability and params.enabled
    amounts = {
        name: params_of.draw(rng)
        for name in PlayingVariation.model_fields
        if isinstance(params_of := getattr(params, name), Effect) and name not in ("double_kicks", "blast_beats")
    }
    seed = int(rng.integers(1 << 63))
    chance = np.random.default_rng(seed)
    crash = _CRASHES[int(chance.integers(2))]
    tom_order = chance.permutation(3)
    toms = [_NOTE_OF_TOM[int(index)] for index in chance.permutation(3)]
    if not acts:
        return Played(sorted(notes), 1.0)

    def share(name: str) -> float:
        amount = amounts[name]
        return 0.0 if amount is None else amount

    tempo, lift = amounts["tempo"] or 1.0, share("velocity_lift")
    played: list[Note] = []
    for note in sorted(notes):
        lane = LANE_OF_NOTE.get(note.note)
        numbers = chance.random(4)
        if lane in _DROPS and numbers[0] < share(_DROPS[lane]):
            continue
        if note.note == _PEDAL and numbers[1] < share("drop_pedals"):
            continue
        if lane == _SNARE and note.velocity < 50 and numbers[1] < share("drop_ghosts"):
            continue
        number = note.note
        if lane == _HIHAT:
            number = _hat(number, numbers[2], numbers[3], share, crash)
        elif lane == _RIDE:
            if numbers[2] < share("crash_ride"):
                number = crash
            elif numbers[3] < share("ride_bell"):
                number = _RIDE_BELL
        elif lane == _SNARE:
            if numbers[2] < share("tom_snares"):
                number = toms[int(numbers[3] * 3)]
            elif numbers[3] < share("cross_sticks"):
                number = _CROSS_STICK
        elif lane in TOM_LANES and amounts["shuffle_toms"] is not None:
            number = _NOTE_OF_TOM[int(tom_order[TOM_LANES.index(lane)])]
        velocity = round(note.velocity + lift * (110 - note.velocity))
        time_s = note.time_s / tempo
        played.append(Note(time_s, number, velocity))
        if lane == _KICK and note.velocity >= 40 and numbers[2] < share("added_crashes"):
            played.append(Note(time_s, crash, int(np.clip(velocity + 20 * (numbers[3] - 0.5), 1, 127))))
    runs = np.random.default_rng([seed, 1])  # a stream of their own: these came later than the others
    double_kicks, blast_beats = (effect.draw(runs) or 0.0 for effect in (params.double_kicks, params.blast_beats))
    played = _with_runs(runs, sorted(played), double_kicks, blast_beats, bpm=bpm * tempo)
    loudest: dict[tuple[float, int], Note] = {}
    for note in played:
        place = note.time_s, note.note
        if place not in loudest or loudest[place].velocity < note.velocity:
            loudest[place] = note
    return Played(sorted(loudest.values()), tempo)


def _with_runs(
    rng: np.random.Generator, notes: list[Note], double_kicks: float, blast_beats: float, *, bpm: float
) -> list[Note]:
    """The notes with runs of even strokes, which take the place of the kicks, and in blast beats of the snares."""
    fewest, most = _STROKES_PER_S
    steps_s = [60.0 / bpm / steps for steps in _STEPS_PER_BEAT if fewest <= steps * bpm / 60.0 <= most]
    if not double_kicks or not steps_s:
        return notes
    step_s = float(rng.choice(steps_s))
    level = rng.uniform(70.0, 120.0)
    last_s = notes[-1].time_s if notes else 0.0
    made: list[Note] = []
    spans: dict[int, list[tuple[float, float]]] = {_KICK: [], _SNARE: []}  # from which the other strokes are removed
    until = 0.0
    for note in notes:
        if LANE_OF_NOTE.get(note.note) != _KICK or note.time_s < until or rng.random() >= double_kicks:
            continue
        blast = rng.random() < blast_beats
        n = min(int(rng.integers(*_RUN_STEPS)), int((last_s - note.time_s) / step_s) + 1)
        until = note.time_s + n * step_s
        for index, (jitter, force) in enumerate(rng.standard_normal((n, 2))):
            time_s = note.time_s + max(0.0, index * step_s + 0.003 * jitter)
            weaker = 6.0 * (index % 2)  # the left foot
            velocity = int(np.clip(level - weaker + 6.0 * force, 1, 127))
            made.append(Note(time_s, _SNARE_NOTE if blast and index % 2 else note.note, velocity))
        around = note.time_s - step_s / 2, until - step_s / 2
        for lane in (_KICK, _SNARE) if blast else (_KICK,):
            spans[lane].append(around)
    kept = [
        note
        for note in notes
        if not any(start <= note.time_s < end for start, end in spans.get(LANE_OF_NOTE.get(note.note, -1), ()))
    ]
    return sorted(kept + made)


def _hat(number: int, which: float, opening: float, share: Callable[[str], float], crash: int) -> int:
    """The note that replaces a hi-hat's note."""
    if number != _PEDAL:
        for name, other in (("ride_hats", _RIDE_BOW), ("crash_hats", crash), ("tom_hats", _NOTE_OF_TOM[2])):
            if which < share(name):
                return other
            which = (which - share(name)) / (1.0 - share(name))  # the shares do not depend on one another
    if number in (22, _CLOSED_HAT) and opening < share("open_hats"):
        return _OPEN_HAT
    if number in (26, _OPEN_HAT) and opening < share("tight_hats"):
        return _CLOSED_HAT
    return number
