"""A band under the drums: who plays, how loud, and how it is mixed.

The band is composed to the performance (`drum_crnn.band`): it keeps its tempo and bars, and its bass often sits on the
kick. It is added to the drums before audibility is measured, so that strokes which it hides do not count. Afterwards,
both go through the same mixing desk (`production`).
"""

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

import numpy as np
import scipy.signal
from pydantic import Field, model_validator

from drum_crnn.band.arrangement import Section, arrange
from drum_crnn.band.bass import play_bass
from drum_crnn.band.grid import Grid, strokes
from drum_crnn.band.players import PLAYERS, Part, play
from drum_crnn.band.synthesizer import Synthesizer
from drum_crnn.band.voice import sing
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.foundation.params import Effect, StrictModel
from drum_crnn.music.audio import load_audio
from drum_crnn.music.lanes import LANES
from drum_crnn.music.midi import Note
from drum_crnn.music.recordings import visible_files
from drum_crnn.studio.equaliser import equalised
from drum_crnn.studio.kits import SAMPLE_RATE, FloatArray, resample
from drum_crnn.studio.one_shots import AUDIO_SUFFIXES
from drum_crnn.studio.production import active_level
from drum_crnn.studio.soundfont import samples_of_soundfont
from drum_crnn.studio.sources import font_path

__all__ = ["Accompaniment", "BandVariation", "add_band", "check_band", "check_unheard", "draw_accompaniment"]

_BASSES = PLAYERS["bass"].programs
_DISTORTED = (29, 30)  # overdriven and distortion guitar of General MIDI
_MOST_SHARED = 0.05
_DUCK_S = 0.12  # the band is back at its level after about three times this


class BandVariation(StrictModel):
    """Part `band` of a variation: other instruments.

    `probability` is the share of recordings that have a band at all; those of the effects apply to these. An effect
    that is named like a player says how often the player is in the band, and how loud. The comments of
    `variations.yaml` name the amounts and their units, and docs/studio.md explains the effects.
    """

    enabled: bool
    probability: float = Field(ge=0, le=1)
    material: Literal["heard", "unheard"]
    recordings: str | None
    level: Effect
    bass: Effect
    synthesized_bass: Effect
    guitar: Effect
    distorted_guitar: Effect
    keys: Effect
    strings: Effect
    pad: Effect
    choir: Effect
    brass: Effect
    lead: Effect
    voice: Effect
    pluck: Effect
    alone: Effect
    intro: Effect
    rest: Effect
    eq: Effect
    drive: Effect
    duck: Effect
    recorded: Effect
    written: Effect

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("alone", "rest"):
            if not 0 <= getattr(self, name).range[0] <= getattr(self, name).range[1] <= 1:
                raise ValueError(f"{name}.range is a share: it must lie within [0, 1]")
        for name, most in (("intro", 16), ("eq", 24), ("drive", 60), ("duck", 60), ("written", 24)):
            if not 0 <= getattr(self, name).range[0] <= getattr(self, name).range[1] <= most:
                raise ValueError(f"{name}.range must lie within [0, {most}]")
        if not -24 <= self.recorded.range[0] <= self.recorded.range[1] <= 24:
            raise ValueError("recorded.range is in semitones: it must lie within [-24, 24]")
        if self.recorded.enabled and self.recorded.probability > 0 and self.recordings is None:
            raise ValueError("recorded is enabled, but recordings names no folder")
        return self


@dataclass(frozen=True, eq=False)
class Accompaniment:
    """What the band of one recording will play.

    Attributes
    ----------
    grid : Grid
    sections : list of Section
    gains_db : dict of str to float
        Who is in the band, and how loud.
    level_db : float
        Of the band against the drums.
    drive_db, duck_db, eq_db : float
        0 for none.
    semitones : float or None
        A recording, tuned by this, takes the place of the players; None if they play.
    seed : int
    bass_attack_db : float or None
        Of a synthesized bass, against its tone; None if the bass plays a SoundFont.
    written : sequence of Part
        The parts of a song, which take the place of the players; `gains_db` has them, too.
    """

    grid: Grid
    sections: list[Section]
    gains_db: dict[str, float]
    level_db: float
    drive_db: float
    duck_db: float
    eq_db: float
    semitones: float | None
    seed: int
    bass_attack_db: float | None = None
    written: Sequence[Part] = ()


def draw_accompaniment(
    rng: np.random.Generator,
    notes: Sequence[Note],
    params: BandVariation,
    *,
    bpm: float,
    n_beats: int,
    parts: Sequence[Part] = (),
) -> tuple[list[Note], Accompaniment | None]:
    """Draw a band for a performance.

    Parameters
    ----------
    bpm, n_beats
        Tempo of the performance, and beats in a bar.
    parts : sequence of Part
        What others play, if it is a song.

    Returns
    -------
    list of Note
        The performance, later by the bars in which the band plays alone, and without the notes of the sections in
        which the drums rest.
    Accompaniment or None
        None if this recording has no band. Both cases draw equally many numbers from `rng`.
    """
    acts = rng.random() < params.probability and params.enabled
    of_players = {player: getattr(params, player).draw(rng) for player in PLAYERS}
    level, alone, intro, rest, eq, drive, duck = (
        effect.draw(rng)
        for effect in (params.level, params.alone, params.intro, params.rest, params.eq, params.drive, params.duck)
    )
    recorded = params.recorded.draw(rng)
    seed = int(rng.integers(1 << 63))
    gains_db = {player: gain for player, gain in of_players.items() if gain is not None}
    most = params.written.draw(np.random.default_rng([seed, 3])) if parts else None
    bass_attack = params.synthesized_bass.draw(np.random.default_rng([seed, 4]))
    if not acts or level is None or not (gains_db or most is not None) or not notes:
        return list(notes), None
    stream = np.random.default_rng([seed, 0])
    if most is not None:
        gains_db = {part.player: float(stream.uniform(-most, most)) for part in parts}
        grid = Grid.of(notes, bpm=bpm, n_beats=n_beats, end_s=notes[-1].time_s)
        notes, sections, written = list(notes), [], parts
    else:
        grid = Grid.of(notes, bpm=bpm, n_beats=n_beats, end_s=notes[-1].time_s + 60.0 / bpm)
        lead_s = round(intro or 0.0) * n_beats * grid.beat_s
        notes = [replace(note, time_s=note.time_s + lead_s) for note in notes]
        grid = replace(grid, end_s=grid.end_s + lead_s)  # bars begin where they did: the shift is one of whole bars
        sections = arrange(stream, grid, sorted(gains_db), alone=alone or 0.0, held_out=params.material == "unheard")
        notes, written = _rested(stream, notes, grid, sections, rest or 0.0), ()
    return notes, Accompaniment(
        grid, sections, gains_db, level, drive or 0.0, duck or 0.0, eq or 0.0, recorded, seed, bass_attack, written
    )


def _rested(
    rng: np.random.Generator, notes: Sequence[Note], grid: Grid, sections: Sequence[Section], share: float
) -> list[Note]:
    """The notes without those of some sections in which others play; the first one with drums stays."""
    left = list(notes)
    for section in sections:
        rests = rng.random() < share
        start_s = grid.time_s(section.first_bar, 0)
        end_s = grid.time_s(section.first_bar + section.n_bars, 0)
        remaining = [note for note in left if not start_s <= note.time_s < end_s]
        if rests and section.players and len(remaining) > len(notes) / 2:
            left = remaining
    return left


def check_band(params: BandVariation, fonts: Sequence[str], programs: Iterable[int] = ()) -> None:
    """Look whether a band could play, and these programs of General MIDI besides.

    Parameters
    ----------
    fonts : sequence of str
        References of SoundFonts, as `font_path` reads them.

    Raises
    ------
    DrumCrnnError
        If FluidSynth is not installed, a SoundFont is missing or lacks an instrument, or there are no recordings.
    """
    if params.recordings is not None:
        _files_of(Path(params.recordings))
    needed = {*programs, *(program for player in PLAYERS.values() for program in player.programs)}
    for reference in fonts:
        font = font_path(reference)
        with Synthesizer(font, sample_rate=SAMPLE_RATE) as synthesizer:
            if missing := synthesizer.missing(sorted(needed)):
                raise DrumCrnnError(
                    f"{font}: lacks program {missing[0]} of General MIDI, so a band cannot use it; see render.fonts"
                )


def check_unheard(fonts: Sequence[str], heard: Sequence[str]) -> None:
    """Look whether training hears fonts that are to be unheard, under other names.

    Raises
    ------
    DrumCrnnError
        If a heard font has more than a twentieth of the samples of an unheard one, or a font cannot be read. Fonts that
        have nothing to do with each other may share a few.
    """
    for reference in fonts:
        samples = samples_of_soundfont(font_path(reference))
        for other in heard:
            shared = len(samples & samples_of_soundfont(font_path(other)))
            if shared > len(samples) * _MOST_SHARED:
                raise DrumCrnnError(
                    f"render.unheard_fonts: {shared} of {len(samples)} samples of {reference} are in {other}, which "
                    "training hears; leave one of the two out"
                )


def add_band(
    drums: FloatArray,
    notes: Sequence[Note],
    params: BandVariation,
    accompaniment: Accompaniment,
    *,
    fonts: Sequence[str],
) -> FloatArray:
    """The drums with their band, shape (n_samples,).

    Parameters
    ----------
    drums : float32 array, shape (n_samples,)
    notes : sequence of Note
        What the drums play.
    params : BandVariation
        Its recordings are used.
    fonts : sequence of str
        References of SoundFonts, as `font_path` reads them; each player has a random one.

    Raises
    ------
    DrumCrnnError
        If FluidSynth is not installed, or cannot read a SoundFont.
    """
    of = accompaniment
    if of.semitones is not None and params.recordings is not None:
        rng = np.random.default_rng([of.seed, 2])
        band = _recording(rng, Path(params.recordings), drums.size, of.semitones)
    else:
        band = _played(notes, [font_path(reference) for reference in fonts], of, n_samples=drums.size)
    if of.duck_db:
        band *= _ducking(strokes(notes, LANES.index("kick")), drums.size, of.duck_db)
    level = active_level(drums) * 10 ** (of.level_db / 20)
    return drums + _levelled(band, 0.0) * np.float32(level)


def _played(notes: Sequence[Note], fonts: Sequence[Path], of: Accompaniment, *, n_samples: int) -> FloatArray:
    """All players together."""
    band = np.zeros(n_samples, np.float32)
    written = {part.player: part for part in of.written}
    for number, (player, gain_db) in enumerate(sorted(of.gains_db.items())):
        rng = np.random.default_rng([of.seed, 1, number])
        part = written[player] if written else play(rng, player, of.grid, of.sections, notes)
        font = fonts[int(rng.integers(len(fonts)))]
        if not part.tones:
            continue
        if player == "voice":
            audio = sing(rng, part, n_samples=n_samples, sample_rate=SAMPLE_RATE)
        elif part.program in _BASSES and of.bass_attack_db is not None:
            audio = play_bass(rng, part, attack_db=of.bass_attack_db, n_samples=n_samples, sample_rate=SAMPLE_RATE)
        else:
            audio = _mono(rng, _synthesizer(font).play(part, n_samples=n_samples))
        if (player == "distorted_guitar" or part.program in _DISTORTED) and of.drive_db:
            audio = np.tanh(audio / np.float32(max(active_level(audio), 1e-9)) * np.float32(10 ** (of.drive_db / 20)))
        if of.eq_db:
            audio = equalised(rng, audio, of.eq_db)
        band += _levelled(audio, gain_db)
    return band


@functools.cache
def _files_of(folder: Path) -> list[Path]:
    files = [path for path in visible_files(folder) if path.suffix.lower() in AUDIO_SUFFIXES]
    if not files:
        raise DrumCrnnError(f"{folder}: holds no recording; see `recordings` in variations.yaml")
    return files


def _recording(rng: np.random.Generator, folder: Path, n_samples: int, semitones: float) -> FloatArray:
    """A random stretch of a random recording, tuned as on tape; again from its beginning where it ends."""
    files = _files_of(folder)
    audio = _loaded(files[int(rng.integers(len(files)))])
    faster = 2 ** (semitones / 12)
    needed = math.ceil(n_samples * faster) + 1
    start = int(rng.integers(max(1, audio.size - needed + 1)))
    cut = np.resize(audio[start:], needed) if audio.size else np.zeros(needed, np.float32)
    return np.resize(resample(cut, sample_rate=SAMPLE_RATE * faster), n_samples)


@functools.lru_cache(maxsize=4)
def _loaded(file: Path) -> FloatArray:
    return load_audio(file, sample_rate=SAMPLE_RATE)


@functools.cache
def _synthesizer(font: Path) -> Synthesizer:
    return Synthesizer(font, sample_rate=SAMPLE_RATE)


def _mono(rng: np.random.Generator, stereo: FloatArray) -> FloatArray:
    """One channel, from a random place between left and right."""
    left = rng.uniform(0.0, 1.0)
    mono: FloatArray = stereo[0] * np.float32(left) + stereo[1] * np.float32(1.0 - left)
    return mono


def _levelled(audio: FloatArray, level_db: float) -> FloatArray:
    """The audio at a level, where it sounds; silence stays silent."""
    level = active_level(audio[np.abs(audio) > 1e-5])
    return audio * np.float32(10 ** (level_db / 20) / level) if level > 0 else audio


def _ducking(kicks: Sequence[Note], n_samples: int, amount_db: float) -> FloatArray:
    """The gain of a compressor that the kick steers: down by `amount_db` at a full stroke, then back."""
    strength = np.zeros(n_samples)
    for kick in kicks:
        if (start := round(kick.time_s * SAMPLE_RATE)) < n_samples:
            strength[start] = kick.velocity / 127
    decay = np.exp(-1.0 / (_DUCK_S * SAMPLE_RATE))
    envelope = np.minimum(scipy.signal.lfilter([1.0], [1.0, -decay], strength), 1.0)
    return np.asarray(10 ** (-amount_db * envelope / 20), dtype=np.float32)
